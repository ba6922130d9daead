# SPDX-License-Identifier: MIT
"""The programs of the host that builds need, their Debian packages and versions."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from harness.errors import UserError
from harness.host.project import ROOT

PACKAGES = ROOT / "scripts" / "packages.txt"
CROSS = "arm-linux-gnueabihf-"


FAMILIES = {
    "debian": ("Debian and Ubuntu", "sudo apt-get install --no-install-recommends"),
    "fedora": ("Fedora", "sudo dnf install"),
    "arch": ("Arch", "sudo pacman -S --needed"),
    "alpine": ("Alpine", "doas apk add"),
}
"""Families of distributions, in the order of their columns in ``scripts/packages.txt``: what they
are called, and how they install a package."""
_LIKE = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora"}
OS_RELEASE = Path("/etc/os-release")
NONE = "-"
"""Stands for a package in a column of a family that has none."""


@functools.cache
def packages(family: str = "debian") -> dict[str, str]:
    """Program (or file) -> package of a family, from ``scripts/packages.txt``; `NONE` where it has
    none.
    """
    column = 1 + list(FAMILIES).index(family)
    lines = (line.split("#", 1)[0].split() for line in PACKAGES.read_text().splitlines())
    return {words[0]: words[column] for words in lines if words}


def family() -> str:
    """The family of this host's distribution, by os-release(5); empty for another."""
    try:
        text = OS_RELEASE.read_text(errors="replace")
    except OSError:
        return ""
    found = re.findall(r"""(?m)^ID(?:_LIKE)?=["']?([^"'\n]*)""", text)
    names = [_LIKE.get(name, name) for words in found for name in words.split()]
    return next((name for name in names if name in FAMILIES), "")


def how_to_install(programs: Collection[str]) -> str:
    """What a user types to get programs, for the distribution that this is, in one or two lines."""
    here = family()
    name, install = FAMILIES[here or "debian"]
    known = packages(here or "debian")
    wanted = {program: known[program] for program in programs if program in known}
    there = sorted({package for package in wanted.values() if package != NONE})
    none = [program for program, package in wanted.items() if package == NONE]
    lines = [f"on {name}: {install} {' '.join(there)}"] if there else []
    if none:
        lines.append(
            f"no package of {name} has {', '.join(none)}: a container of Debian 12 or later has all"
        )
    return "\n".join(lines)


def missing(program: str) -> UserError:
    """The error that says that a program is not there, and which package has it."""
    hint = how_to_install([Path(program).name])
    return UserError(f"{program} is not installed" + (f"; {hint}" if hint else ""))


def locate(program: str) -> str | None:
    """Where a program is; None where it is not there. Also where only root looks by default."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def path_of(program: str) -> str:
    """Where a program is. Raises `UserError` where it is not there."""
    where = locate(program)
    if where is None:
        raise missing(program)
    return where


def require(*programs: str) -> None:
    """Raises `UserError` for programs that are not there, all at once."""
    absent = [name for name in programs if locate(name) is None]
    if len(absent) == 1:
        raise missing(absent[0])
    if absent:
        raise UserError(
            f"these programs are not installed: {', '.join(absent)}\n{how_to_install(absent)}"
        )


def check_installed() -> None:
    """Raises `UserError` that names every program of ``scripts/packages.txt`` that is not here,
    and the packages that bring them.
    """
    absent = [
        name
        for name in packages()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name))
    ]
    if absent:
        raise UserError(
            f"these programs are missing: {', '.join(absent)}\n{how_to_install(absent)}"
        )


@functools.cache
def toolchain() -> str:
    """Versions of the cross compiler and linker. Raises `UserError` without them."""
    require(f"{CROSS}gcc", f"{CROSS}ld")
    words = []
    for command, first in (([f"{CROSS}gcc", "-v"], "gcc version"), ([f"{CROSS}ld", "-v"], "")):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=None,
            check=False,
        )
        words += [line for line in done.stdout.splitlines() if line.startswith(first)][:1]
    return "; ".join(words)
