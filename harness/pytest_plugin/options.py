# SPDX-License-Identifier: MIT
"""The plugin's options: each can be given on the command line or in ``pytest.ini``."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from harness.board import RAM_MIB
from harness.errors import UserError
from harness.host.userpath import expanded, usable
from harness.imageset.linetable import TRACED
from harness.imageset.model import PARTS


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: ``--qemu-NAME``, and ``qemu_NAME`` in ``pytest.ini``."""

    name: str
    default: str
    meta: str
    help: str

    @property
    def ini(self) -> str:
        """Its name in ``pytest.ini``."""
        return f"qemu_{self.name.replace('-', '_')}"


_NUMBER = re.compile(r"[0-9]{1,6}")
DEFAULT_KERNEL = "default"
"""In place of a version: the default one, or the next one that apt has."""
VALUES = (
    Option("image-set", "", "FILE", "manifest of an image set: nothing is built (ImageSet.write)"),
    Option("biscuitos", "", "DIR", "BiscuitOS output tree to test as it is: nothing is built"),
    Option("kernel-source", "", "DIR", "kernel tree (5.0 or later) to build; it is only read"),
    Option("kernel", "", "FILE", "zImage to test instead of the one that is built"),
    Option("dtb", "", "FILE", "device tree blob"),
    Option(
        "dts", "", "FILE", "device tree source to build, with the kernel's own files to include"
    ),
    Option("initrd", "", "FILE", "initramfs or ramdisk"),
    Option("disk", "", "FILE", "raw ext4 root disk, never written"),
    Option("module", "", "FILE", "cma.ko to test"),
    Option("app", "", "FILE", "CMA_area_app-0.0.1 to test"),
    Option("append", "", "WORDS", "words to add to the kernel command line"),
    Option("memory", "", "MIB", "RAM of the machine in MiB, 64 to 1024 (512)"),
    Option("area", "BiscuitOS_cma", "NAME", "CMA area that the driver's memory must come from"),
    Option(
        "kernel-version",
        "6.1 6.12",
        "VERSIONS",
        "Debian kernels to build: the first for all tests, the others for those on every kernel;"
        " default is 6.1, or the next one that apt has here",
    ),
    Option("select", "", "FILE", "run only the tests that this file names (gates name them so)"),
    Option("ktap-timeout", "240", "SECONDS", "time for each command of --qemu-ktap"),
    Option(
        "coverage-files",
        " ".join(TRACED),
        "PATTERNS",
        "the kernel's files for --qemu-coverage, as far as the kernel has line tables for them",
    ),
    Option(
        "variant",
        "",
        "NAME",
        "build kernels that check themselves: kasan, ubsan, lockdep, debug, preempt",
    ),
    Option(
        "hold",
        "",
        "shell|gdb",
        "open the last machine of each test on the terminal when the test has ended, however",
    ),
    Option("artifacts", "artifacts", "DIR", "where the transcripts of each test go"),
)
FLAGS = (
    Option("unpatched", "false", "", "build kernels as they are, without what this project adds"),
    Option("console", "false", "", "show what the guests' serial lines say, live"),
    Option("shell", "false", "", "open the failed test's machine on the terminal (leave: Ctrl-])"),
    Option("coverage", "false", "", "note which lines of kernel and driver each test executes"),
    Option("strict", "false", "", "a test of the system that would be skipped fails"),
    Option(
        "unconfined",
        "false",
        "",
        "boot what you trust where this host can confine nothing",
    ),
    Option("gdb", "false", "", "wait for gdb at each machine; no deadline ends meanwhile"),
)


def register(parser: pytest.Parser) -> None:
    """Adds all options to pytest's parser."""
    group = parser.getgroup("qemu", "CMA tests in QEMU's vexpress-a9")
    group.addoption("--qemu", action="store_true", help="run the tests that need QEMU")
    group.addoption(
        "--qemu-default-tests",
        metavar="PATH",
        help="tests to run where no path is given, wherever pytest is started",
    )
    group.addoption(
        "--qemu-ktap",
        action="append",
        metavar="COMMAND",
        help="command in the guest that prints KTAP, such as kselftest's (may be repeated)",
    )
    group.addoption("--ktap", metavar="FILE", help="write all results to FILE as KTAP")
    group.addoption(
        "--qemu-results",
        metavar="FILE",
        type=Path,
        help="write each test's result to FILE when it is there, a line of JSON each",
    )
    parser.addini("qemu_ktap", "commands in the guest that print KTAP", type="linelist", default=[])
    for option in VALUES:
        group.addoption(f"--qemu-{option.name}", metavar=option.meta, help=option.help)
        parser.addini(option.ini, option.help, default=option.default)
    for option in FLAGS:
        group.addoption(f"--qemu-{option.name}", action="store_true", help=option.help)
        parser.addini(option.ini, option.help, type="bool", default=False)


def check_names(words: Iterable[str], config: pytest.Config) -> None:
    """Raises `UserError` for a misspelt ``--qemu-NAME``; pytest would not say what is near."""
    start = "--qemu-"
    names = [name for name in vars(config.known_args_namespace) if name.startswith("qemu_")]
    known = [name.removeprefix("qemu_").replace("_", "-") for name in names]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith(start) and name.removeprefix(start) not in known:
            near = difflib.get_close_matches(name.removeprefix(start), known, 2)
            meant = " or ".join(f"{start}{one}" for one in near)
            hint = f"did you mean {meant}?" if near else "pytest --help has all"
            raise UserError(f"there is no option {name}: {hint}")


def without_qemu(config: pytest.Config) -> list[str]:
    """The options that were given on a command line without ``--qemu``, where they do nothing."""
    names = [option.name for option in (*VALUES, *FLAGS)] + ["ktap"]
    return [f"--qemu-{name}" for name in names if config.getoption(f"--qemu-{name}")]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options' values, checked."""

    enabled: bool
    image_set: Path | None
    biscuitos: Path | None
    kernel_source: Path | None
    given: Mapping[str, Path]
    """The parts of the image set that the user brings (`harness.imageset.model.PARTS`)."""
    append: str
    memory: int | None
    """MiB; None: 512, or what the BiscuitOS tree says."""
    area: str
    versions: tuple[str, ...]
    select: Path | None
    """A file that names the tests to run; None: all."""
    ktap: tuple[str, ...]
    """Commands that print KTAP."""
    ktap_timeout: float
    """Seconds for each of them."""
    artifacts: Path
    console: bool
    shell: bool
    gdb: bool
    strict: bool
    """Whether a test of the system that cannot run on it fails."""
    default_versions: bool = False
    """Whether nobody asked for `versions`."""
    coverage: bool = False
    coverage_files: tuple[str, ...] = ()
    """Patterns of the kernel's source files, ``mm/cma*.c``."""
    unpatched: bool = False
    """Kernels are built without our additions."""
    unconfined: bool = False
    """What this host cannot confine runs all the same."""
    dts: Path | None = None
    """Source of the device tree to build."""
    variant: str = ""
    """The variant of the kernels that are built."""
    hold: str = ""
    """What opens each test's machine at its end: ``shell``, ``gdb``, or nothing."""

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Reads and checks them. Raises `UserError` that names the option."""

        def value(name: str) -> str:
            given = config.getoption(f"--qemu-{name}")
            return str(
                given if given is not None else config.getini(f"qemu_{name}".replace("-", "_"))
            )

        def flag(name: str) -> bool:
            return bool(config.getoption(f"--qemu-{name}") or config.getini(f"qemu_{name}"))

        def path(name: str, kind: str = "file") -> Path | None:
            if not value(name):
                return None
            on_line = config.getoption(f"--qemu-{name}") is not None
            # As pytest's own: what an ini-file names is beside it.
            start = Path.cwd() if on_line or not config.inipath else config.inipath.parent
            path = usable(start / expanded(value(name)))
            if not (path.is_dir() if kind == "directory" else path.is_file()):
                raise UserError(f"--qemu-{name}: there is no {kind} {path}")
            return path

        if value("variant") and flag("unpatched"):
            raise UserError("--qemu-variant and --qemu-unpatched: give one of them")
        memory = value("memory")
        if memory and (not _NUMBER.fullmatch(memory) or int(memory) not in RAM_MIB):
            raise UserError(
                f"--qemu-memory: {memory!r} is not a number of MiB"
                f" from {RAM_MIB[0]} to {RAM_MIB[-1]}"
            )
        versions = tuple(value("kernel-version").replace(",", " ").split())
        if not versions:
            raise UserError("--qemu-kernel-version: name at least one version, such as 6.1")
        dts = path("dts")
        if dts and value("dtb"):
            raise UserError("--qemu-dts and --qemu-dtb: give one of them")
        seconds = value("ktap-timeout")
        if not _NUMBER.fullmatch(seconds) or not int(seconds):
            raise UserError(f"--qemu-ktap-timeout: {seconds!r} is not a number of seconds")
        return cls(
            bool(config.getoption("--qemu")),
            path("image-set"),
            path("biscuitos", "directory"),
            path("kernel-source", "directory"),
            {name: file for name in PARTS if (file := path(name)) is not None},
            value("append"),
            int(memory) if memory else None,
            value("area"),
            versions,
            path("select"),
            _commands(config),
            float(seconds),
            config.rootpath / value("artifacts"),
            flag("console"),
            flag("shell"),
            flag("gdb"),
            flag("strict"),
            value("kernel-version") == _default("kernel-version"),
            flag("coverage"),
            tuple(value("coverage-files").replace(",", " ").split()),
            flag("unpatched"),
            flag("unconfined"),
            dts,
            value("variant"),
            _hold(value("hold")),
        )


def _default(name: str) -> str:
    return next(option.default for option in VALUES if option.name == name)


def _hold(word: str) -> str:
    """That of ``--qemu-hold``. Raises `UserError` for another word."""
    if word not in ("", "shell", "gdb"):
        raise UserError(f"--qemu-hold: {word!r} is neither shell nor gdb")
    return word


def _commands(config: pytest.Config) -> tuple[str, ...]:
    """Those of ``--qemu-ktap``. Raises `UserError` where one is empty."""
    commands = tuple(config.getoption("--qemu-ktap") or config.getini("qemu_ktap"))
    if not all(command.strip() for command in commands):
        raise UserError("--qemu-ktap: the command is empty")
    return commands
