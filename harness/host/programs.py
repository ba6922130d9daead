# SPDX-License-Identifier: MIT
"""The programs of the host that builds need, their Debian packages and versions."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from harness.errors import UserError
from harness.host.project import ROOT

PACKAGES = ROOT / "scripts" / "packages.txt"
CROSS = "arm-linux-gnueabihf-"


@functools.cache
def packages() -> dict[str, str]:
    """Program (or file) -> Debian package, from ``scripts/packages.txt``."""
    lines = (line.split("#", 1)[0].split() for line in PACKAGES.read_text().splitlines())
    return {words[0]: words[1] for words in lines if words}


def missing(program: str) -> UserError:
    """The error that says that a program is not there, and which package has it."""
    package = packages().get(Path(program).name)
    hint = f": install the Debian package {package}" if package else ""
    return UserError(f"{program} is not installed{hint}")


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
        names = " ".join(sorted({packages().get(name, name) for name in absent}))
        raise UserError(
            f"these programs are not installed: {', '.join(absent)}\n"
            f"install them: apt-get install {names}"
        )


def check_installed() -> None:
    """Raises `UserError` that names every program of ``scripts/packages.txt`` that is not here,
    and the packages that bring them.
    """
    absent = {
        name: package
        for name, package in packages().items()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name))
    }
    if absent:
        raise UserError(
            f"these programs are missing: {', '.join(absent)}\n"
            "on Debian and Ubuntu: sudo apt-get install --no-install-recommends "
            + " ".join(sorted(set(absent.values())))
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
