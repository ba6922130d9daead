# SPDX-License-Identifier: MIT
"""The private apt state, against a small archive on this disk."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from email.utils import formatdate
from pathlib import Path

import pytest

from harness.builders import apt, sources_list
from harness.builders.cache import BuildDirectory, Cache
from harness.errors import BuildError, UserError

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="this is no Debian"
)

CODENAME = "bookworm"


def make_deb(directory: Path, package: str, version: str) -> Path:
    root = directory / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "busybox").write_text(f"{package} {version}")
    control = f"Package: {package}\nVersion: {version}\nArchitecture: armhf\n"
    control += "Maintainer: nobody <noreply@example.com>\nDescription: test\n"
    (root / "DEBIAN" / "control").write_text(control)
    deb = directory / f"{package}_{version}_armhf.deb"
    subprocess.run(["dpkg-deb", "-b", root, deb], check=True, capture_output=True)
    shutil.rmtree(root)
    return deb


def publish(archive: Path, suite: str, debs: list[Path]) -> None:
    """An archive without signature, as apt wants it. Format: wiki of Debian, RepositoryFormat."""
    index = archive / "dists" / suite / "main" / "binary-armhf"
    index.mkdir(parents=True)
    paragraphs = []
    for deb in debs:
        content = deb.read_bytes()
        control = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True)
        paragraphs.append(
            control.stdout.decode()
            + f"Filename: {deb.relative_to(archive)}\nSize: {len(content)}\n"
            + f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    plain = "\n".join(paragraphs).encode()
    packed = gzip.compress(plain)
    (index / "Packages.gz").write_bytes(packed)
    lines = [
        f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-armhf/{name}\n"
        for name, content in (("Packages", plain), ("Packages.gz", packed))
    ]
    (archive / "dists" / suite / "Release").write_text(
        f"Date: {formatdate(usegmt=True)}\nSuite: {suite}\nCodename: {suite}\n"
        "Architectures: armhf\nComponents: main\n"
        f"SHA256:\n{''.join(lines)}"
    )


class Machine:
    """A machine's apt configuration, an archive, and a cache."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.archive = root / "debian"
        self.archive.mkdir()
        self.etc = root / "etc"
        (self.etc / "sources.list.d").mkdir(parents=True)
        self.said: list[str] = []
        self.cache = Cache(root / "cache", self.said.append)
        release = {"ID": "debian", "VERSION_CODENAME": CODENAME, "PRETTY_NAME": "Test 1"}
        monkeypatch.setattr(sources_list, "os_release", lambda: release)
        own = sources_list.read_sources
        monkeypatch.setattr(sources_list, "read_sources", lambda: own(self.etc))

    def configure(self, *suites: str) -> None:
        lines = [f"deb [trusted=yes] file:{self.archive} {suite} main\n" for suite in suites]
        (self.etc / "sources.list").write_text("".join(lines))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_package_is_found_and_fetched(machine: Machine) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    version = apt.pinned_version(machine.cache, "busybox-static")
    assert version == "1.2-3"
    deb = apt.fetch(machine.cache, "busybox-static", version)
    assert deb.read_bytes() == next(machine.archive.glob("*.deb")).read_bytes()
    assert apt.PrivateApt(machine.cache).candidate("no-such-package") is None
    assert apt.PrivateApt(machine.cache).names("busy") == ["busybox-static"]


def test_a_pin_asks_nobody_until_it_is_forgotten(machine: Machine) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-3"
    shutil.rmtree(machine.archive / "dists")
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-4")])
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-3"
    apt.unpin(machine.cache)
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-4"


def test_one_broken_suite_does_not_sink_the_fetch(machine: Machine) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    publish(
        machine.archive,
        f"{CODENAME}-security",
        [make_deb(machine.archive, "busybox-static", "1.2-3+deb12u1")],
    )
    broken = machine.archive / "dists" / f"{CODENAME}-security" / "main" / "binary-armhf"
    (broken / "Packages.gz").write_bytes(b"not what Release says")
    machine.configure(CODENAME, f"{CODENAME}-security", f"{CODENAME}-updates")
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-3"
    said = "\n".join(machine.said)
    assert f"going on without file:{machine.archive} {CODENAME}-" in said
    assert f"{CODENAME}-security" in said
    assert f"{CODENAME}-updates" in said


def test_no_suite_left_is_an_error_with_apts_words(machine: Machine) -> None:
    machine.configure(CODENAME)
    with pytest.raises(BuildError, match=r"(?s)could not fetch.*E: .*HARNESS_ARM_MIRROR"):
        apt.pinned_version(machine.cache, "busybox-static")
    assert apt.pinned(machine.cache) == {}


def test_no_source_of_the_distribution(machine: Machine) -> None:
    machine.configure("trixie")
    with pytest.raises(UserError, match="no apt source of Test 1 itself"):
        apt.pinned_version(machine.cache, "busybox-static")


def test_a_version_that_is_gone_is_forgotten(machine: Machine) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-3"
    next(machine.archive.glob("*.deb")).unlink()
    with pytest.raises(BuildError, match=r"downloading busybox-static 1\.2-3 failed"):
        apt.fetch(machine.cache, "busybox-static", "1.2-3")
    assert apt.pinned(machine.cache) == {}


def test_nothing_outside_the_cache_is_written(machine: Machine) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    system = [Path("/var/lib/apt/lists"), Path("/var/cache/apt")]
    before = [(path.stat().st_mtime_ns, sorted(path.iterdir())) for path in system]
    apt.pinned_version(machine.cache, "busybox-static")
    assert [(path.stat().st_mtime_ns, sorted(path.iterdir())) for path in system] == before


def test_the_machines_own_settings_do_not_get_in(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    hooked = tmp_path / "hooked"
    settings = tmp_path / "apt.conf"
    settings.write_text(
        'APT::Architectures { "amd64"; "s390x"; };\n'
        f'APT::Update::Post-Invoke {{ "touch {hooked}"; }};\n'
        f'APT::Update::Pre-Invoke {{ "touch {hooked}"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    assert apt.pinned_version(machine.cache, "busybox-static") == "1.2-3"
    assert not hooked.exists()
    conf = machine.cache.root / "apt" / "apt.conf"
    shown = subprocess.run(["apt-config", "-c", conf, "dump"], check=True, capture_output=True)
    lines = [line for line in shown.stdout.decode().splitlines() if "Architectures::" in line]
    assert lines == ['APT::Architectures:: "armhf";']


def test_room_is_used_for_the_download(machine: Machine, tmp_path: Path) -> None:
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    with (tmp_path / "lock").open("w") as lock:
        build_dir = BuildDirectory(
            tmp_path / "out", tmp_path / "tmp", tmp_path / "log", lock.fileno()
        )
        apt.PrivateApt(machine.cache).download("busybox-static", "1.2-3", build_dir)
    assert len(list(build_dir.out.glob("*.deb"))) == 1


def test_a_copied_cache_has_a_configuration_of_its_own(machine: Machine, tmp_path: Path) -> None:
    """The copy may share its files, as hard links."""
    publish(machine.archive, CODENAME, [make_deb(machine.archive, "busybox-static", "1.2-3")])
    machine.configure(CODENAME)
    apt.PrivateApt(machine.cache).refresh()
    before = (machine.cache.root / "apt" / "apt.conf").read_text()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-al", machine.cache.root, copy], check=True)
    (copy / "apt" / "updated").unlink()
    apt.PrivateApt(Cache(copy)).refresh()
    assert (machine.cache.root / "apt" / "apt.conf").read_text() == before


def test_another_packages_version_is_not_taken(machine: Machine) -> None:
    debs = [make_deb(machine.archive, name, "1.2-3") for name in ("linux-source-6.12", "plus-x")]
    publish(machine.archive, CODENAME, debs)
    machine.configure(CODENAME)
    client = apt.PrivateApt(machine.cache)
    assert client.candidate("linux-source-6.1") is None
    assert client.candidate("linux-source-6.12") == "1.2-3"
    assert client.candidate("plus-.") is None
    assert client.names("linux-source-6.1") == ["linux-source-6.12"]


SHOWN = """\
Package: linux-source-6.12
Source: linux
Version: 6.12.117-1

Package: linux-source-6.1
Version: 6.1.192-2
"""


def test_of_several_packages_shown_the_right_one_counts() -> None:
    """apt 3 takes a name for a pattern where there is no such package."""
    assert apt.shown_version(SHOWN, "linux-source-6.12") == "6.12.117-1"
    assert apt.shown_version(SHOWN, "linux-source-6.1") == "6.1.192-2"
    assert apt.shown_version(SHOWN, "linux-source-6") is None
    assert apt.shown_version("", "linux-source-6.1") is None
