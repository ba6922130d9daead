# SPDX-License-Identifier: MIT
"""The pages as a person has them: in a browser, narrow and wide, light and dark, by keyboard."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.gate.report import html
from harness.host.project import ROOT
from harness.nightly.database import Database
from harness.nightly.report import write_report
from harness.report import coverage_page
from tests.browser.browser import Browser, Look, dead_links, missing
from tests.unit.gate.report import samples
from tests.unit.nightly.test_report import a_history
from tests.unit.report.test_coverage_page import RECORD

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
LOOKS = [Look(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]
DOCS = sorted(
    path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all pages."""
    found = Browser()
    yield found
    found.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gate's page of each kind of result, and a night's."""
    place = tmp_path_factory.mktemp("reports")
    for make in samples.ALL:
        (place / f"{make.__name__}.html").write_text(html.render(make(), place))
    (place / "coverage.html").write_text(coverage_page.render(RECORD))
    a_history(place / "nightly.sqlite")
    with Database(place / "nightly.sqlite") as database:
        write_report(database, place / "night.html")
    return place


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of ``docs``."""
    place = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-W", "-q", str(ROOT / "docs"), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def judge(browser: Browser, page: Path, look: Look, below: Path) -> None:
    """What holds of every page; it may load what is in `below`, and nothing else."""
    browser.open(page, look)
    assert browser.errors() == []
    strange = [url for url in browser.requests() if not url.startswith((below.as_uri(), "data:"))]
    assert strange == []
    assert browser.too_wide() == []
    assert browser.unreadable() == []
    hrefs = browser.ask(
        "return [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))"
    )
    assert dead_links(page, hrefs) == []


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("name", [*(make.__name__ for make in samples.ALL), "coverage", "night"])
def test_a_report(browser: Browser, reports: Path, name: str, look: Look) -> None:
    judge(browser, reports / f"{name}.html", look, reports)


@pytest.mark.parametrize("page", DOCS, ids=str)
def test_a_page_of_the_site_on_a_phone_and_at_a_desk(
    browser: Browser, site: Path, page: Path
) -> None:
    judge(browser, site / page, Look(390, "light"), site)
    judge(browser, site / page, Look(1280, "dark"), site)


@pytest.mark.parametrize("name", ["rejected", "coverage", "night"])
def test_a_report_by_keyboard(browser: Browser, reports: Path, name: str) -> None:
    browser.open(reports / f"{name}.html", Look(1280, "light"))
    stops = list(browser.tabbed())
    assert stops[0]["href"] == "#main", "the first stop passes over what is on every page"
    assert [stop["name"] for stop in stops if not stop["seen"]] == []
    scrolling = browser.ask("return document.querySelectorAll('.scroll').length")
    assert sum(stop["name"].startswith("DIV") for stop in stops) >= min(scrolling, 3)


def test_the_site_by_keyboard(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html", Look(1280, "light"))
    stops = list(browser.tabbed())
    assert stops[0]["href"] == "#furo-main-content"
    assert [stop["name"] for stop in stops if not stop["seen"]] == []
    assert len(stops) > 20


def test_reports_have_pictures_with_names(browser: Browser, reports: Path) -> None:
    for name, least in (("rejected", 4), ("coverage", 4), ("night", 2)):
        browser.open(reports / f"{name}.html", Look(390, "light"))
        boxes = browser.ask(
            "return [...document.querySelectorAll('svg[role=img]')].map(s => ["
            "s.getBoundingClientRect().width,"
            " !!(s.getAttribute('aria-label') || s.querySelector('title'))])"
        )
        assert len(boxes) >= least
        assert all(28 <= width <= 390 and named for width, named in boxes)


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<p id="here">x</p>')
    (tmp_path / "a b.txt").write_text("")
    good = ["#here", "./a%20b.txt", "page.html#here", "https://example.org/x", "mailto:a@b"]
    assert dead_links(page, good) == []
    bad = ["#there", "gone.html", "page.html#there"]
    assert dead_links(page, bad) == bad
