# SPDX-License-Identifier: MIT
"""What a BiscuitOS ``RunBiscuitOS.sh`` tells QEMU: bash itself is asked.

Users edit that script, and only bash knows what an edit means. So it is run as it is, confined
(`harness.host.tool`), with stand-ins for QEMU, ``sudo`` and what else starts programs
(`harness.imageset.standins`): they start nothing, and QEMU's prints its arguments. A script that
only defines ``do_running``, as BiscuitOS's own documentation calls it, has that called.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.board import MACHINE, RAM_MIB
from harness.errors import HarnessError, UserError
from harness.host import confine, tool
from harness.imageset.standins import PRELUDE

SECONDS = 20.0
"""For a script that needs milliseconds."""
_MARK = "\x01"
# Called by its own name where it can be read, for scripts ask for it.
_BEGIN = 'if [ -r "$_h_own" ]; then . "$_h_own"; else . "$_h_copy"; fi; exit'
_SIZE = re.compile(r"(?:size=)?(\d+)([KMGT]?)B?(?:,.*)?", re.IGNORECASE)
_TAKEN = frozenset({"-M", "-machine", "-m", "-kernel", "-dtb", "-append", "-initrd", "-drive"})
_SHOWN = frozenset({"-nographic", "-D", "-serial", "-display", "-monitor", "-s", "-S", "-device"})
"""What changes nothing that is tested here, or has its place here anyway."""
_FLAGS = frozenset({"-nographic", "-s", "-S", "-no-reboot", "-enable-kvm", "-nodefaults"})


@dataclasses.dataclass(frozen=True)
class Launch:
    """What the script starts. A path is as the script has it."""

    append: str
    """The kernel command line."""
    memory_mib: int | None
    """RAM in MiB; None where the script does not say."""
    kernel: Path | None = None
    dtb: Path | None = None
    initrd: Path | None = None
    disks: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be known, or is not taken over, a line each."""


def read_script(path: Path) -> Launch:
    """What a script starts when it is called without arguments.

    Raises `UserError` where that is no vexpress-a9 with a kernel command line, with what bash said
    of it; `HarnessError` where nothing can be confined on this host.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return launch(text, path)


def launch(text: str, path: Path) -> Launch:
    """The same for a script's text; `path` is what it takes for its own."""
    linux, said = _calls(text, path)
    if not linux:
        # Some scripts end where root does not run them.
        linux, said = _calls(text, path, as_root=True)
    if not linux:
        ends = "\n  its lines end in CR LF, which bash does not take" if "\r\n" in text else ""
        raise UserError(
            f"{path}: bash comes to no QEMU command with -append in it"
            + "".join(f"\n  {line}" for line in said[:5])
            + f"{ends}\n  make it start the system when it is called without arguments"
        )
    notes = _complaints(said)
    if any(call != linux[0] for call in linux[1:]):
        notes.append(f"it starts QEMU {len(linux)} times, in different ways: the first is taken")
    return _read(linux[0], path, notes)


def _complaints(said: list[str]) -> list[str]:
    """What was said, for people: bash's own words, and one line of what its commands said."""
    own = [line for line in said if re.search(r": line \d+: ", line)]
    others = [line for line in said if line not in own]
    notes = [f"bash says: {line}" for line in own[:5]]
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        notes.append(f"a command of it says: {others[0]}{more}")
    return notes


def _calls(text: str, path: Path, as_root: bool = False) -> tuple[list[list[str]], list[str]]:
    """The arguments of each QEMU that the script starts Linux with, and what bash complains of."""
    mark = _MARK + secrets.token_hex(8)
    there = os.access(path, os.R_OK) and path.read_text(errors="replace") == text
    with tempfile.TemporaryDirectory(prefix="runscript-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "standins").write_text(PRELUDE)
        (place / "script").write_text(text)
        (place / "tmp").mkdir()
        words = ["bash", "--norc", "-c", _BEGIN, str(path)]
        variables = {
            "BASH_ENV": str(place / "standins"),
            "_h_own": str(path) if there else "",
            "_h_copy": str(place / "script"),
            "_h_place": str(path.parent),
            "TMPDIR": str(place / "tmp"),
            "_h_mark": mark,
            "_h_root": "1" if as_root else "",
        }
        # What it looks at in its own tree it shall find.
        own = [path.parent] if os.access(path.parent, os.R_OK) else []
        try:
            done = tool.run(
                words,
                [place, *own],
                SECONDS,
                writable=[place / "tmp"],
                cwd=place,
                environment=variables,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"{path}: it does not come to an end within {SECONDS:.0f} s") from None
        except confine.NoMeans as error:
            raise HarnessError(
                f"{path} is run confined, which fails on this host: {error}"
            ) from None
    calls: list[list[str]] = []
    for part in done.stdout.decode(errors="replace").split(f"{mark}\0")[1::2]:
        calls.append(part.split("\0")[:-1])
    complaints = done.stderr.decode(errors="replace").splitlines()
    names = re.compile(f"^(?:{re.escape(str(path))}|{re.escape(name)}/script): ")
    said = [names.sub("", line) for line in complaints if line.strip()]
    return [call for call in calls if {"-append", "--append"} & set(call)], said


def _read(call: Sequence[str], path: Path, notes: list[str]) -> Launch:
    """A QEMU command's arguments."""
    values: dict[str, list[str]] = {}
    words = list(call)
    while words:
        name = words.pop(0)
        if name.startswith("--"):
            name = name[1:]
        has_value = words and name not in _FLAGS and name.startswith("-")
        value = words.pop(0) if has_value else ""
        values.setdefault(name, []).append(value)
        if name not in _TAKEN | _SHOWN:
            notes.append(f"not taken over: {name} {value}".rstrip())
    machine = [*values.get("-M", []), *values.get("-machine", [])]
    kind = machine[0].partition(",")[0].removeprefix("type=") if machine else ""
    if kind and kind != MACHINE:
        raise UserError(f"{path} starts QEMU's machine {kind}; here there is {MACHINE} alone")

    def last(name: str) -> Path | None:
        return Path(values[name][-1]) if name in values else None

    files = (re.search(r"(?:^|,)file=([^,]+)", drive) for drive in values.get("-drive", []))
    return Launch(
        append=values["-append"][-1],
        memory_mib=_memory(values["-m"][-1], path) if "-m" in values else None,
        kernel=last("-kernel"),
        dtb=last("-dtb"),
        initrd=last("-initrd"),
        disks=tuple(Path(match[1]) for match in files if match),
        notes=tuple(notes),
    )


def _memory(value: str, path: Path) -> int:
    """RAM in MiB (QEMU's ``-m``: MiB without a unit). Raises `UserError`."""
    match = _SIZE.fullmatch(value)
    unit = {"K": 1, "": 1 << 10, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
    mib = int(match[1]) * unit[match[2].upper()] >> 10 if match else 0
    if mib not in RAM_MIB:
        raise UserError(
            f"{path}: -m {value or '(nothing)'} (RAM_SIZE): vexpress-a9 takes"
            f" {RAM_MIB[0]} to {RAM_MIB[-1]} MiB"
        )
    return mib
