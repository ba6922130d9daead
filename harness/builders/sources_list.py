# SPDX-License-Identifier: MIT
"""Reads the machine's apt sources, both forms, and keeps those that serve the distribution itself.

Formats: sources.list(5).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
_ALIASES = ("stable", "testing", "unstable", "sid", "oldstable")
_OFFICIAL = re.compile(r"/(debian|debian-security|ubuntu|ubuntu-ports)/?$")
NEWER = "trixie-backports"
"""Debian's suite with the newest kernel sources; a source package suits every release."""
# What the harness takes from a distribution; the rest only makes the lists longer.
_COMPONENTS = ("main", "universe")


@dataclasses.dataclass(frozen=True)
class Source:
    """One apt source: one URI, one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    """Fields as in a deb822 file, such as ``("Signed-By", "/usr/share/keyrings/…")``."""

    def stanza(self) -> str:
        """As one deb822 paragraph."""
        lines = [
            "Types: deb",
            f"URIs: {self.uri}",
            f"Suites: {self.suite}",
            *([f"Components: {' '.join(self.components)}"] if self.components else []),
            *(f"{name}: {value}" for name, value in self.options),
        ]
        return "\n".join(lines) + "\n"


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary sources of a ``.sources`` file."""
    found = []
    for paragraph in re.split(r"\n[ \t]*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace() and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().title()
                fields[name] = value.strip()
        if "deb" not in fields.get("Types", "").split():
            continue
        if fields.get("Enabled", "yes").lower() in ("no", "false"):
            continue
        options = tuple(
            (key, value)
            for key, value in fields.items()
            if key not in ("Types", "Uris", "Suites", "Components", "Enabled", "Architectures")
        )
        for uri in fields.get("Uris", "").split():
            for suite in fields.get("Suites", "").split():
                components = tuple(fields.get("Components", "").split())
                found.append(Source(uri, suite, components, options))
    return found


def parse_list(text: str) -> list[Source]:
    """The binary sources of a ``.list`` file (one line each)."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>[^#]*)", line)
        if match is None or len(words := match["rest"].split()) < 2:
            continue
        options = []
        for option in (match["options"] or "").split():
            name, _, value = option.partition("=")
            # An architecture that is named here is the machine's, and ours is another.
            if name.lower() not in ("arch", "arch+", "arch-"):
                options.append((name.title(), value.replace(",", " ")))
        found.append(Source(words[0], words[1], tuple(words[2:]), tuple(options)))
    return found


def read_sources(apt: Path = APT) -> list[Source]:
    """All sources that the machine is configured with. Files that cannot be read are left out."""
    found = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            found += parse_deb822(text)
        elif path.suffix == ".list":
            found += parse_list(text)
    return found


def os_release(path: Path = OS_RELEASE) -> dict[str, str]:
    """The fields of an os-release file; empty where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def distribution_sources(sources: list[Source], release: Mapping[str, str]) -> list[Source]:
    """Those of `sources` that serve the distribution of `release` itself, not a third party.

    A third party's suite is named otherwise (``bookworm-pgdg``), or has no component ``main``.
    Names such as ``stable`` are everybody's: they count only where the path is a distribution's.
    """
    codename = release.get("VERSION_CODENAME", "")
    suffixes = ("", "-updates", "-security", "/updates")
    own = {codename + suffix for suffix in suffixes} if codename else set()
    aliases = {alias + suffix for alias in _ALIASES for suffix in suffixes}
    found = []
    for source in sources:
        official = _OFFICIAL.search(source.uri) is not None
        # apt cannot read a disc that is not inserted.
        if "main" not in source.components or source.uri.startswith("cdrom:"):
            continue
        if source.suite in own or (source.suite in aliases and official):
            components = tuple(name for name in source.components if name in _COMPONENTS)
            found.append(dataclasses.replace(source, components=components))
    return found


def with_newer_kernels(sources: list[Source], release: Mapping[str, str]) -> list[Source]:
    """`sources` of a Debian with the suite that has newer kernels, from the same mirror.

    Its packages of kernel sources are for all architectures and need only tar and xz. On another
    distribution `sources` as they are.
    """
    names = (release.get("VERSION_CODENAME", ""), *_ALIASES)
    main = next((source for source in sources if source.suite in names), None)
    known = any(source.suite == NEWER for source in sources)
    if release.get("ID") != "debian" or main is None or known:
        return sources
    return [*sources, dataclasses.replace(main, suite=NEWER, components=("main",))]


def for_arm(sources: list[Source], release: Mapping[str, str], override: str = "") -> list[Source]:
    """`sources` with the mirror that has ARM packages.

    Debian's have all architectures. Ubuntu serves ARM from the host ``ports`` of the same domain;
    `override` (a URL) is for private mirrors of either.
    """
    found = []
    for source in sources:
        uri = source.uri
        if override:
            uri = override
        elif release.get("ID") == "ubuntu":
            uri = re.sub(
                r"^(\w+)://(?:[\w-]+\.)*?(?:archive|security)\.([^/]+)/ubuntu/?$",
                r"\1://ports.\2/ubuntu-ports",
                uri,
            )
        moved = dataclasses.replace(source, uri=uri)
        if moved not in found:
            found.append(moved)
    return found
