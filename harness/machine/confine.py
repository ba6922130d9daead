# SPDX-License-Identifier: MIT
"""Confines QEMU: whoever breaks out of the guest finds nothing of the host.

QEMU gets descriptors of the files that it needs, and no paths: it sees the system's programs and
libraries, read only, and itself in ``/proc``; no home, no network but for machines with ssh, a bare
environment, another uid where root runs us, no new privileges, and QEMU's own filter of system
calls (``-sandbox``, QEMU ``softmmu/qemu-seccomp.c``).
"""

from __future__ import annotations

import enum
import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.host import confine, programs
from harness.host.tool import UNCONFINED, unconfined_allowed

FILTER = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""QEMU's arguments that make it filter its own system calls."""
_DEVICES = ("/dev/null", "/dev/urandom")
_KEPT_VARIABLES = ("PATH",)
_DIE = ("setpriv", "--pdeathsig", "KILL")
_FIRST = ("sh", "-c", '"$@"; exit $?', "first")
_TRY_SECONDS = 20.0


class Means(enum.Enum):
    """What QEMU can be confined by here, the best first."""

    NAMESPACES = "namespaces"
    UID = "another uid alone: this host allows no namespaces"
    NONE = "nothing: this host allows no confinement, and --unconfined was given"


def allow_unconfined() -> None:
    """From now on, in this process and its children, all is run unconfined where it must be."""
    os.environ[UNCONFINED] = "1"
    means.cache_clear()


def uid() -> int | None:
    """The uid of QEMU's process; None: our own."""
    return None if means() is Means.NONE else confine.other_uid()


@functools.cache
def means() -> Means:
    """The best that works here, tried with what will be done.

    Raises `UserError` where nothing does.
    """
    programs.require("bwrap", "setpriv")
    tried = []
    for one in (Means.NAMESPACES, Means.UID):
        if one is Means.UID and confine.other_uid() is None:
            continue
        complaint = _complaint(one)
        if not complaint:
            return one
        tried.append(complaint)
    if unconfined_allowed():
        return Means.NONE
    raise UserError(
        f"QEMU cannot be confined on this host: {'; '.join(tried)}\n"
        "Unprivileged user namespaces must be allowed: see sysctl user.max_user_namespaces,"
        " kernel.unprivileged_userns_clone (Debian) and"
        " kernel.apparmor_restrict_unprivileged_userns (Ubuntu); in a container, its seccomp"
        f" profile. Where you trust the kernels that you boot, --unconfined ({UNCONFINED}=1 in the"
        " environment) runs QEMU as any program of yours"
    )


def remark() -> str:
    """What is to be said of hosts on which QEMU has less than all. Raises `UserError`."""
    return "" if means() is Means.NAMESPACES else f"QEMU is confined by {means().value}"


def _complaint(one: Means) -> str:
    """What goes wrong when a program is confined so; empty where it works."""
    try:
        done = subprocess.run(
            _command(one, ["test", "-r", "/proc/self/exe"], network=False),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRY_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    said = done.stderr.decode(errors="replace").strip()
    return "" if done.returncode == 0 else said or f"exit status {done.returncode}"


def command(argv: Sequence[str], network: bool, gate: Sequence[str] = ()) -> list[str]:
    """QEMU's command, confined, behind the words `gate`, which are confined too. The kernel kills
    it when its parent dies, and bubblewrap when we do.

    With namespaces the process that is started is bubblewrap, and it waits for QEMU; its exit
    status is QEMU's, or 128 and the signal that killed it. `network`: it may use the host's.
    Raises `UserError` where this host allows no confinement.
    """
    one = means()
    filtered = [*argv, *FILTER] if one is not Means.NONE else argv
    return _command(one, [*gate, *filtered], network, argv[0])


def _command(one: Means, argv: Sequence[str], network: bool, qemu: str = "") -> list[str]:
    becoming = confine.becoming(confine.other_uid())
    if one is Means.NONE:
        return [*_DIE, *argv]
    if one is Means.UID:
        # A change of the uid takes the death signal back: here it comes after that.
        return [*_DIE, *becoming[1:], *argv]
    words = [*_DIE, *confine.namespaces(confine.other_uid()), "--as-pid-1"]
    if network:
        words.remove("--unshare-net")
    words += [*confine.system_mounts(), "--proc", "/proc"]
    words += confine.directories([Path("/dev")])
    for name in _DEVICES:
        words += ["--dev-bind", name, name]
    place = Path(shutil.which(qemu) or "/usr/bin/qemu").resolve().parent
    if not any(str(place).startswith(f"{system}/") for system in confine.SYSTEM):
        # Built by hand: what belongs to it is beside it.
        words += confine.directories(reversed(place.parent.parents))
        words += ["--ro-bind", str(place.parent), str(place.parent)]
    words += ["--remount-ro", "/", "--chdir", "/", "--"]
    # Who has dropped all rights may not signal another uid, but an end of the first process ends
    # its process space.
    return [*words, *(_FIRST if becoming else ()), *becoming, *argv]


def environment(mark: dict[str, str]) -> dict[str, str]:
    """All of the environment that QEMU gets: ours may hold secrets."""
    if means() is Means.NONE:
        return {**os.environ, **mark}
    return {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | mark
