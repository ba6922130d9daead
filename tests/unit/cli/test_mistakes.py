# SPDX-License-Identifier: MIT
"""The commonest mistakes, each with the message that it gets: what is wrong, where, what to do.

A message is told before anything is built or booted, with exit status 2 and no traceback.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.builders import imageset
from harness.builders.cache import Cache, Key
from harness.cli import app
from harness.errors import UserError
from harness.host import programs
from harness.host.project import IMAGES
from harness.host.tool import UNCONFINED
from harness.imageset.model import ImageSet
from harness.machine import confine

pytest_plugins = ["pytester"]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """What was typed, and patterns that must be in the message."""

    words: str
    """Arguments of ``harness``; a name in braces is a file that `files` makes."""
    said: tuple[str, ...]

    @property
    def id(self) -> str:
        """For pytest's list."""
        return self.words or "(nothing)"


def mistake(words: str, *said: str) -> Mistake:
    return Mistake(words, said)


def zimage(mark: tuple[int, bytes]) -> bytes:
    content = bytearray(1024)
    content[mark[0] : mark[0] + len(mark[1])] = mark[1]
    return bytes(content)


def elf(machine: int, bits: int) -> bytes:
    """The header of an ELF file (System V ABI, chapter 4), without sections."""
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    form = "<HHIIIIIHHHHHH" if bits == 1 else "<HHIQQQIHHHHHH"
    sizes = (52, 32, 0, 40, 0, 0) if bits == 1 else (64, 56, 0, 64, 0, 0)
    return head + struct.pack(form, 1, machine, 1, 0, 0, 0, 0, *sizes)


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, Path]]:
    """What users have lying about, by name; in no checkout, where pytest's own directory may be."""
    with tempfile.TemporaryDirectory() as place:
        yield lying_about(Path(place))


def lying_about(place: Path) -> dict[str, Path]:
    made: dict[str, bytes] = {
        "text": b"some text\n",
        "nothing": b"",
        "vmlinux": elf(40, 1),
        "bzImage": zimage((0x202, b"HdrS")),
        "arm64-Image": zimage((0x38, b"ARM\x64")),
        "uImage": zimage((0, b"\x27\x05\x19\x56")),
        "x86.ko": elf(62, 2),
        "arm64.ko": elf(183, 2),
        "board.dts": b"/dts-v1/;\n/ { };\n",
        "disk.qcow2": b"QFI\xfb" + bytes(600),
        "no-diff.patch": b"From: a <a@b>\nSubject: x\n\nno change\n",
    }
    for name, content in made.items():
        (place / name).write_bytes(content)
    for name in ("empty", "precious", "repository", "no-git"):
        (place / name).mkdir()
    (place / "precious" / "thesis.txt").write_text("")
    subprocess.run(["git", "init", "-q", place / "repository"], check=True)
    (place / "no-area.dtb").write_bytes(blob("/dts-v1/; / { };"))
    found = {path.name: path for path in place.iterdir()}
    return {**found, "nowhere": place / "nowhere", "place": place}


ROOT_NODE = """/ {
    #address-cells = <1>;
    #size-cells = <1>;
    memory@60000000 { device_type = "memory"; reg = <0x60000000 0x20000000>; };
    reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; };
};"""


def blob(text: str) -> bytes:
    done = subprocess.run(["dtc", "-q", "-O", "dtb"], input=text.encode(), capture_output=True)
    return done.stdout


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What would be built is there; nothing is built, nothing boots."""
    text = (IMAGES / "dts" / "multi-cma.dtsi").read_text()
    (tmp_path / "built.dtb").write_bytes(blob(f"/dts-v1/; {ROOT_NODE} {text}"))
    kernel = bytearray(4096)
    struct.pack_into("<III", kernel, 0x24, 0x016F2818, 0, 4096)
    (tmp_path / "zImage").write_bytes(kernel)
    built = ImageSet(tmp_path / "zImage", tmp_path / "built.dtb", release="6.1.0")
    monkeypatch.setattr(imageset, "build_image_set", lambda *words, **more: built)
    monkeypatch.setattr(programs, "check_installed", lambda: None)


COMMAND_LINES = [
    # Names that are nearly right.
    mistake("rnu", r"No such command 'rnu'\. Did you mean run\?"),
    mistake("run --kernal 6.1", r"No such option '--kernal'.*Did you mean.*--kernel"),
    mistake("gate --ouput x {text}", r"No such option '--ouput'.*--output"),
    mistake("test --kernel 6.1", "arguments go to pytest, where it is --qemu-kernel-version"),
    mistake("test --jobs 4", "arguments go to pytest, where it is -n"),
    mistake("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    # Values out of range, or of another kind.
    mistake("run --memory 2048", "2048 is not in the range 64<=x<=1024"),
    mistake("run --memory lots", "'lots' is not a valid integer"),
    mistake("run --append", "'--append' requires an argument"),
    mistake("nightly --shard 5/4", "5/4: expected I/N with I from 1 to N"),
    mistake("run --kernel v6.1", "v6.1: neither a version.*did you mean 6.1\\?"),
    mistake(
        "run --kernel {nowhere}", "nowhere: neither a version .6.1., nor newest, nor a kernel tree"
    ),
    mistake("run --kernel 6.1 --kernel 6.12", "it was given more than once"),
    mistake("gate --whole --select x {text}", "--whole and --select.*give one of them"),
]
KERNELS = [
    mistake(
        "run --kernel {vmlinux}", "no ARM zImage but an ELF file .vmlinux", "arch/arm/boot/zImage"
    ),
    mistake("run --kernel {bzImage}", "no ARM zImage but an x86 bzImage", "arch/arm/boot/zImage"),
    mistake("run --kernel {arm64-Image}", "no ARM zImage but an arm64 Image"),
    mistake("run --kernel {uImage}", "no ARM zImage but an image for U-Boot"),
    mistake("build --kernel {text}", "a version or a kernel tree is needed here"),
    mistake("run --unpatched --kernel {text}", "no ARM zImage"),
]
PARTS = [
    mistake("run --dtb {nowhere}", "--dtb .*nowhere: no such file"),
    mistake("run --memory 128", "RAM ends at 0x67ffffff, and BiscuitOS_cma", "160 or more"),
    mistake("run --dts {nowhere}", "--dts .*nowhere: no such file"),
    mistake("run --dts {board.dts} --dtb {no-area.dtb}", "give --dtb, or --dts alone"),
    mistake("run --dtb {board.dts}", "device tree source text", "dtc -I dts -O dtb"),
    mistake("run --dtb {no-area.dtb}", "no CMA area BiscuitOS_cma; add one"),
    mistake(
        "run --area biscuitos_cma", "no CMA area biscuitos_cma", "it has linux,cma, BiscuitOS_cma"
    ),
    mistake(
        "run --module {x86.ko}", "built for x86-64, not for 32-bit ARM", "ARCH=arm CROSS_COMPILE="
    ),
    mistake("run --module {arm64.ko}", "built for 64-bit ARM, not for 32-bit ARM"),
    mistake("run --module {text}", "text is no kernel module"),
    mistake("run --initrd {text}", "neither a file system nor an initramfs"),
    mistake("run --disk {disk.qcow2}", "a qcow2 image; make it raw: qemu-img convert -O raw"),
    mistake("run --disk {nothing}", "nothing"),
    mistake("run --biscuitos {empty}", "is no BiscuitOS tree: it has neither linux/linux nor"),
    mistake("run --biscuitos {nowhere}", "nowhere: there is no such directory"),
]
GATE = [
    mistake("gate", "no patch was given|nothing"),
    mistake("gate --output {place}/1 {nowhere}", "cannot read .*nowhere: No such file"),
    mistake("gate --output {place}/2 {nothing}", "is empty: expected a patch, a mail or a mailbox"),
    mistake("gate --output {place}/3 {no-diff.patch}", "no-diff.patch"),
    mistake(
        "gate --output {precious} {text}", "holds files that are not this harness's", "name a new"
    ),
    mistake("gate --output {place}/4 --kernel {no-git} --range A..B", "is no git tree"),
    mistake("gate --output {place}/5 --kernel {repository} --range A..B", "has no commit A"),
]
OTHERS = [
    mistake("gate --at-once 2 {text}", "--at-once goes with --queue DIR"),
    mistake("mutants --generate mm/cma.c --shard 1/2", "go without --generate"),
    mistake("mutants --generate mm/cma.c --selected", "go without --generate"),
    mistake("mutants --generate mm/cma.c --coverage {nowhere}", "cannot read .*nowhere"),
    mistake("cluster worker local:2", "local:2: name a scheduler, HOST:PORT"),
    mistake("cluster scheduler local:2", "local:2: name a scheduler, HOST:PORT"),
    mistake("bisect", "name a GOOD and a BAD commit"),
    mistake(
        "bisect a b --kernel {no-git}", "no-git is no git tree: name the one that has the commits"
    ),
    mistake("bisect a b --kernel {repository}", "repository has no commit a"),
    mistake("shell", "standard input is no terminal", r"harness run -- COMMAND"),
    mistake("parse-log {nowhere}", "cannot read .*nowhere: No such file"),
    mistake("parse-log {nothing}", "nothing is empty: expected the log of a kernel"),
    mistake(
        "coverage {nowhere}", "cannot read .*nowhere", "pytest --qemu --qemu-coverage writes it"
    ),
    mistake("coverage {text}", "is no record of coverage"),
    mistake("explore --replay {nowhere}", "cannot read .*nowhere"),
    mistake("mutants --only nonsense", "no mutant is called nonsense"),
    mistake("nightly --only nonsense", "no job is called so; --list prints all"),
]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    "made", [*COMMAND_LINES, *KERNELS, *PARTS, *GATE, *OTHERS], ids=lambda made: made.id
)
def test_the_message_says_what_is_wrong_and_what_to_do(
    made: Mistake, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [_filled(word, files) for word in made.words.split()]
    assert app.main(words) == 2
    captured = capsys.readouterr()
    said = captured.err + captured.out
    for pattern in made.said:
        assert re.search(pattern, said, re.DOTALL), said
    assert "Traceback" not in said
    assert "changes nothing that is built" not in said
    assert "0 patches" not in said
    assert "\x1b" not in said
    assert re.search(r"(?m)^(?:error: |Error: |NOT JUDGED )", said)


def _filled(word: str, files: dict[str, Path]) -> str:
    return re.sub(r"\{([\w.-]+)\}", lambda match: str(files[match[1]]), word)


def test_a_directory_that_is_no_kernel_tree(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["build", "--kernel", str(files["empty"])]) == 2
    said = capsys.readouterr().err
    assert re.search("empty is no kernel tree: Makefile: .*; name the top directory of Linux", said)


@pytest.mark.parametrize(
    ("system", "install", "names"),
    [
        (
            "ID=debian\n",
            "on Debian and Ubuntu: sudo apt-get install",
            "device-tree-compiler xz-utils",
        ),
        ("ID=ubuntu\nID_LIKE=debian\n", "sudo apt-get install", "device-tree-compiler xz-utils"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "sudo apt-get install", "bubblewrap"),
        ("ID=fedora\n", "on Fedora: sudo dnf install", "bubblewrap dtc xz"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "sudo dnf install", "dtc xz"),
        ("ID=arch\n", "on Arch: sudo pacman -S --needed", "bubblewrap dtc xz"),
        ("ID=manjaro\nID_LIKE=arch\n", "sudo pacman -S --needed", "dtc xz"),
        ("ID=alpine\n", "on Alpine: doas apk add", "bubblewrap dtc xz"),
        ("ID=gentoo\n", "on Debian and Ubuntu: sudo apt-get install", "device-tree-compiler"),
    ],
)
def test_programs_that_are_missing_are_told_with_the_packages_of_the_distribution(
    system: str,
    install: str,
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "os-release").write_text(system)
    monkeypatch.setattr(programs, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert app.main(["run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: these programs are missing: ")
    (line,) = (line for line in said.splitlines() if install in line)
    assert set(names.split()) <= set(line.split())
    assert ("no package of" in said) is ("apt-get" not in install)
    assert " - " not in line


def test_a_host_that_can_confine_nothing_is_told_what_to_switch_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        confine, "_complaint", lambda one: "bwrap: No permissions to create new namespace"
    )
    monkeypatch.delenv(UNCONFINED, raising=False)
    confine.means.cache_clear()
    try:
        with pytest.raises(UserError) as raised:
            confine.means()
    finally:
        confine.means.cache_clear()
    said = str(raised.value)
    for word in (
        "No permissions to create new namespace",
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone (Debian)",
        "kernel.apparmor_restrict_unprivileged_userns (Ubuntu)",
        "--unconfined",
    ):
        assert word in said


@pytest.mark.parametrize(
    ("place", "said"),
    [("text", "is not a directory"), ("text/cache", "is not a directory")],
)
def test_a_cache_that_cannot_be_one(
    place: str,
    said: str,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(files["place"] / place))
    assert app.main(["build"]) == 2
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert "name another directory in HARNESS_CACHE" in told


def test_no_room_is_told_with_how_to_make_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5 << 20))
    with pytest.raises(UserError) as raised:
        cache.entry(Key("kernel", {}), lambda made: None, needs=2 << 30)
    said = str(raised.value)
    assert "has 5 MiB free, and building kernel " in said
    assert "takes about 2048 MiB" in said
    assert "`harness cache prune`" in said
    assert "HARNESS_CACHE" in said


# As early as by an installed package's entry point. Where it is one, it is imported by now.
EARLY = ("-p", "harness.pytest_plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--qemu", "--qemu-kernal", "x"], "no option --qemu-kernal: did you mean --qemu-kernel"),
        (["--qemu", "--qemu-kernal=x"], "no option --qemu-kernal: did you mean --qemu-kernel"),
        (["--qemu", "--qemu-xyzzy"], "no option --qemu-xyzzy: pytest --help has all"),
        (["--qemu-memory", "256"], "--qemu-memory without --qemu: nothing would be tested with it"),
        (["--qemu", "--qemu-kernel", "nowhere"], "--qemu-kernel: there is no file .*nowhere"),
        (["--qemu", "--qemu-select", "nowhere"], "--qemu-select: there is no file .*nowhere"),
    ],
)
def test_an_option_of_pytest_s(pytester: pytest.Pytester, words: list[str], said: str) -> None:
    pytester.makepyfile("def test_x(guest):\n    pass\n")
    result = pytester.runpytest_inprocess(*EARLY, "-p", "no:hypothesispytest", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(f"ERROR: .*{said}", result.stderr.str())


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('machine("colt")', "there is no kind of machine 'colt': did you mean cold?"),
        ('machine("cold", apend="x")', "it takes no keyword 'apend'"),
        ('needs("debugf")', "there is no feature 'debugf': did you mean debugfs?"),
    ],
)
def test_a_mark(pytester: pytest.Pytester, mark: str, said: str) -> None:
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_x():\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "no:hypothesispytest")
    assert said in result.stderr.str()


@pytest.mark.parametrize("option", ["--dtb", "--initrd", "--disk", "--module", "--app", "--config"])
@pytest.mark.parametrize("content", [b"\0" * 4096, b"gr\xfc\xdfe\n" * 9, bytes(range(256)) * 9])
def test_a_file_that_cannot_be_used_is_told_before_anything_is_built(
    option: str,
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(*words: object, **more: object) -> None:
        raise AssertionError("it is built")

    monkeypatch.setattr(imageset, "build_image_set", build)
    monkeypatch.setattr("harness.builders.kernel_source.resolve", build)
    monkeypatch.setattr(programs, "check_installed", lambda: None)
    monkeypatch.setattr("harness.cli.systems.say", lambda text: None)
    (tmp_path / "x").write_bytes(content)
    assert app.main(["run", option, str(tmp_path / "x"), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: .*\n", said)
    assert len(said) < 500


def test_a_sequence_that_cannot_be_read_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.cli.systems.chosen", lambda options: pytest.fail("it is built"))
    assert app.main(["explore", "--replay", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
