# SPDX-License-Identifier: MIT
"""Which apt sources serve the distribution itself, and where they keep ARM packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders import apt
from harness.builders.sources_list import (
    Source,
    distribution_sources,
    for_arm,
    os_release,
    parse_deb822,
    parse_list,
    read_sources,
    with_newer_kernels,
)

BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
NOBLE = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}

DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

types: deb
uris: http://mirror.example/debian-security
suites: bookworm-security
components: main
Architectures: amd64
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: https://third.example/node
Suites: nodistro
Components: main

Types: deb
URIs: https://third.example/pg
Suites: bookworm-pgdg
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
"""

LIST = """\
# deb http://comment.example/debian bookworm main
deb http://mirror.example/debian bookworm main non-free # trailing
deb [arch=amd64 signed-by=/usr/share/x.gpg trusted=yes] http://m.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb https://third.example/linux/debian bookworm stable
deb https://third.example/browser stable main
deb http://flat.example/repo ./
deb cdrom:[Debian]/ bookworm main
nonsense
"""


def test_deb822_for_the_distribution() -> None:
    found = distribution_sources(parse_deb822(DEB822), BOOKWORM)
    assert [(source.uri, source.suite, source.components) for source in found] == [
        ("http://mirror.example/debian", "bookworm", ("main",)),
        ("http://mirror.example/debian", "bookworm-updates", ("main",)),
        ("http://mirror.example/debian-security", "bookworm-security", ("main",)),
    ]
    assert dict(found[0].options) == {"Signed-By": "/usr/share/keyrings/debian-archive-keyring.gpg"}


def test_a_key_inside_the_file_is_kept_and_the_architecture_is_not() -> None:
    stanza = distribution_sources(parse_deb822(DEB822), BOOKWORM)[2].stanza()
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n" in stanza
    assert "amd64" not in stanza
    assert parse_deb822(stanza)[0].suite == "bookworm-security"


def test_one_line_form_for_the_distribution() -> None:
    found = distribution_sources(parse_list(LIST), BOOKWORM)
    assert [source.uri for source in found] == [
        "http://mirror.example/debian",
        "http://m.example/debian",
    ]
    assert found[0].components == ("main",)
    assert dict(found[1].options) == {
        "Signed-By": "/usr/share/x.gpg",
        "Trusted": "yes",
    }


def test_an_alias_counts_only_on_a_distributions_path() -> None:
    found = parse_list(
        "deb http://mirror.example/debian/ testing main\ndeb http://third.example/apt stable main\n"
    )
    assert [source.suite for source in distribution_sources(found, BOOKWORM)] == ["testing"]


def test_a_mirror_list_counts() -> None:
    found = parse_list("deb mirror+file:/etc/apt/mirrors/debian.list bookworm main")
    assert len(distribution_sources(found, BOOKWORM)) == 1


def test_files_of_both_forms_are_read_and_others_are_not(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (parts / "b.sources").write_text(DEB822)
    (parts / "c.list").write_text("deb http://c.example/debian bookworm main\n")
    (parts / "d.list.disabled").write_text("deb http://d.example/debian bookworm main\n")
    uris = {source.uri for source in read_sources(tmp_path)}
    assert {"http://a.example/debian", "http://c.example/debian"} < uris
    assert "http://d.example/debian" not in uris


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://archive.u.example/ubuntu", "http://ports.u.example/ubuntu-ports"),
        ("http://de.archive.u.example/ubuntu/", "http://ports.u.example/ubuntu-ports"),
        ("http://security.u.example/ubuntu", "http://ports.u.example/ubuntu-ports"),
        ("http://ports.u.example/ubuntu-ports", "http://ports.u.example/ubuntu-ports"),
        ("http://mirror.company.example/ubuntu", "http://mirror.company.example/ubuntu"),
    ],
)
def test_ubuntu_has_arm_elsewhere(uri: str, expected: str) -> None:
    found = for_arm([Source(uri, "noble", ("main",))], NOBLE)
    assert [source.uri for source in found] == [expected]


def test_debian_stays_and_an_override_wins() -> None:
    source = Source("http://archive.x.example/ubuntu", "bookworm", ("main",))
    assert for_arm([source], BOOKWORM) == [source]
    moved = for_arm([source, source], BOOKWORM, "http://own.example/d")
    assert [item.uri for item in moved] == ["http://own.example/d"]


def test_a_debian_gets_the_suite_with_newer_kernels_from_its_own_mirror() -> None:
    own = distribution_sources(parse_deb822(DEB822), BOOKWORM)
    *same, newer = with_newer_kernels(own, BOOKWORM)
    assert same == own
    assert (newer.uri, newer.suite) == ("http://mirror.example/debian", "trixie-backports")
    assert newer.options == own[0].options
    assert with_newer_kernels([*own, newer], BOOKWORM) == [*own, newer]
    testing = [Source("http://mirror.example/debian", "testing", ("main",))]
    assert len(with_newer_kernels(testing, {"ID": "debian", "VERSION_CODENAME": "forky"})) == 2
    assert with_newer_kernels([Source("http://u.example/ubuntu", "noble", ("main",))], NOBLE) == [
        Source("http://u.example/ubuntu", "noble", ("main",))
    ]


def test_os_release_with_and_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text("# x\nID=debian\nPRETTY_NAME=\"Debian 12\"\nVERSION_CODENAME='bookworm'\n")
    found = os_release(path)
    assert found == {"ID": "debian", "PRETTY_NAME": "Debian 12", "VERSION_CODENAME": "bookworm"}
    assert os_release(tmp_path / "gone") == {}


UPDATE = """\
Get:1 http://mirror.example/debian bookworm InRelease [151 kB]
Err:5 http://mirror.example/debian-security bookworm-security/main armhf Packages
E: Failed to fetch http://mirror.example/debian-security/dists/bookworm-security/main/Packages.xz \
 File has unexpected size (1 != 2). Mirror sync in progress?
E: Some index files failed to download. They have been ignored, or old ones used instead.
"""


def test_the_suite_that_failed_is_found_and_no_other() -> None:
    main = Source("http://mirror.example/debian", "bookworm", ("main",))
    security = Source("http://mirror.example/debian-security", "bookworm-security", ("main",))
    assert [apt.failed(source, UPDATE) for source in (main, security)] == [False, True]
    none = "E: The repository 'http://mirror.example/debian bookworm-updates Release' does not have"
    updates = Source("http://mirror.example/debian/", "bookworm-updates", ("main",))
    assert [apt.failed(source, none) for source in (main, updates)] == [False, True]


def test_apts_first_error() -> None:
    assert "unexpected size" in apt.apt_error(UPDATE)
    assert apt.apt_error("W: careful\nlast") == "W: careful"
    assert apt.apt_error("last") == "last"
    assert apt.apt_error("") == "apt said nothing"
