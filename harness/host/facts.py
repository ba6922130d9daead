# SPDX-License-Identifier: MIT
"""What a night ran on: the project's commit, and the host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from harness.board import QEMU
from harness.host.project import ROOT

DIRTY = "-dirty"
UNKNOWN = "unknown"


def project_commit(root: Path = ROOT) -> str:
    """The checkout's commit, with `DIRTY` where tracked files were changed since."""
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    if not commit:
        return UNKNOWN
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}{DIRTY if changed else ''}"


def comparable(commit: str) -> bool:
    """Whether two nights of this commit ran the same project."""
    return commit != UNKNOWN and not commit.endswith(DIRTY)


def host_facts() -> dict[str, str]:
    """Versions of kernel, QEMU and Python, for a reader who compares two nights."""
    qemu = re.search(r"version (\S+)", _output(QEMU, "--version"))
    return {
        "QEMU": qemu[1] if qemu else "none",
        "system": _system(),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "Python": platform.python_version(),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _output(*argv: str) -> str:
    """What a program printed; empty where it failed or is not there."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
