# SPDX-License-Identifier: MIT
"""Debian's Chromium, which sees no network, and what it is asked of a page."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

PROGRAMS = ("chromium", "chromedriver")
_FLAGS = (
    "--headless=new",
    # Root has no other way; what it shows is this project's own.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
TABS = 60
"""How far a page is walked through with the tab key."""


def missing() -> str:
    """Which program is not here; empty where all are."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return (
        f"not installed: {', '.join(absent)} (Debian: chromium chromium-driver)" if absent else ""
    )


def _script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.js").read_text()


@dataclasses.dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    width: int
    """CSS pixels."""
    scheme: str
    """``light`` or ``dark``."""

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


class Browser:
    """One Chromium; `open` a page, then ask of it."""

    def __init__(self) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))

    def close(self) -> None:
        """Ends it."""
        self._driver.quit()

    def open(self, page: Path, look: Look) -> None:
        """Loads a page of the disk."""
        tell = self._driver.execute_cdp_cmd
        size = {"width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        tell("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": look.scheme}
        tell("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._log("performance")
        self._log("browser")
        self._driver.get(page.as_uri())

    def errors(self) -> list[str]:
        """What the page had the console say."""
        return [str(entry["message"]) for entry in self._log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened."""
        entries = (json.loads(e["message"])["message"] for e in self._log("performance"))
        sent = [e for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [str(entry["params"]["request"]["url"]) for entry in sent]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def ask(self, script: str) -> Any:
        """What a script gives."""
        return self._driver.execute_script(script)

    def too_wide(self) -> list[str]:
        """What makes the page scroll sideways."""
        return [str(found) for found in self.ask(_script("wide"))]

    def unreadable(self) -> list[str]:
        """Text with less contrast than WCAG 2.2 asks for (1.4.3, AA), or smaller than 11 pixels."""
        return [str(found) for found in self.ask(_script("contrast"))]

    def tabbed(self) -> Iterator[Mapping[str, Any]]:
        """What has the focus after each press of the tab key, to the page's end or `TABS`."""
        self.ask("document.activeElement.blur(); window.scrollTo(0, 0);")
        seen = set()
        for _ in range(TABS):
            self._driver.switch_to.active_element.send_keys(Keys.TAB)
            found = self.ask(_script("focus"))
            if found is None or (key := json.dumps(found)) in seen:
                return
            seen.add(key)
            yield found

    def picture(self, to: Path) -> None:
        """Keeps a screenshot."""
        self._driver.save_screenshot(str(to))


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The ids of a page's elements."""
    return frozenset(re.findall(r'\bid="([^"]+)"', page.read_text()))


def dead_links(page: Path, hrefs: list[str]) -> list[str]:
    """Links that lead to no file or no element of it; others' sites are not asked."""
    dead = []
    for href in hrefs:
        address = urllib.parse.urlsplit(href)
        if address.scheme in ("http", "https", "mailto"):
            continue
        target = page.parent / urllib.parse.unquote(address.path) if address.path else page
        within = urllib.parse.unquote(address.fragment) if target.suffix == ".html" else ""
        if not target.exists() or (within and within not in anchors(target.resolve())):
            dead.append(href)
    return dead
