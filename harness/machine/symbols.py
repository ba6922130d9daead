# SPDX-License-Identifier: MIT
"""Names for the addresses in a trace, from the kernel's own ``System.map`` or ``vmlinux``.

A patch may have made both, so nothing in them is trusted: what cannot be read names nothing, and
binutils read a ``vmlinux`` confined.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
import shutil
import subprocess
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.host import confine, tool

ADDRESS = re.compile(
    r"\[<([0-9a-f]{8})>\](?: \((?![0-9a-f]{8}\)))?|\b(?:PC|LR|pc|lr) ?[:=] ?\[?<?([0-9a-f]{8})\b"
)

_MOST_SYMBOLS = 500_000
"""A kernel of this board has some 40,000."""
_MAP_BYTES = 64 * 2**20
_LINE = re.compile(r"([0-9a-f]{8,16}) ([tTwW]) (\S{1,512})")
_ADDR2LINE_SECONDS = 20.0


class Symbols:
    """Looks addresses up. Empty where neither file is there: then a trace stays as it is."""

    def __init__(self, system_map: Path | None = None, vmlinux: Path | None = None) -> None:
        self._map = system_map
        self._vmlinux = vmlinux

    @functools.cached_property
    def _table(self) -> tuple[list[int], list[str]]:
        rows: list[tuple[int, str]] = []
        if self._map is not None and self._map.is_file():
            with self._map.open("rb") as file:
                text = file.read(_MAP_BYTES).decode(errors="replace")
            for line in text.splitlines():
                if match := _LINE.match(line):
                    rows.append((int(match[1], 16), match[3]))
        elif self._vmlinux is not None and self._vmlinux.is_file():
            rows = _functions(self._vmlinux)
        rows.sort()
        return [address for address, _ in rows], [name for _, name in rows]

    @functools.cached_property
    def _addr2line(self) -> list[str] | None:
        """The command that knows source lines, where `vmlinux` has them."""
        if self._vmlinux is None or not self._vmlinux.is_file():
            return None
        try:
            with self._vmlinux.open("rb") as file:
                if ELFFile(file).get_section_by_name(".debug_line") is None:
                    return None
        except Exception:  # a made-up file makes elftools raise whatever there is
            return None
        for name in ("arm-linux-gnueabihf-addr2line", "arm-linux-gnueabi-addr2line"):
            if shutil.which(name):
                return [name, "-e", str(self._vmlinux.resolve())]
        return None

    def name(self, address: int) -> str | None:
        """``function+0xoffset`` for a kernel text address, or None."""
        addresses, names = self._table
        at = bisect.bisect_right(addresses, address) - 1
        if at < 0 or address - addresses[at] > 0x10000:
            return None
        return f"{names[at]}+{address - addresses[at]:#x}"

    def lines(self, addresses: list[int]) -> dict[int, str]:
        """``file:line`` of each address, where the kernel was built with debug information."""
        if self._addr2line is None or not addresses:
            return {}
        command = [*self._addr2line, *(f"{address:#x}" for address in addresses)]
        try:
            done = tool.run(command, [Path(self._addr2line[-1])], _ADDR2LINE_SECONDS)
        except (confine.NoMeans, OSError, subprocess.SubprocessError):
            return {}
        answer = done.stdout.decode(errors="replace").splitlines()
        return {a: line for a, line in zip(addresses, answer, strict=False) if "?" not in line}

    def symbolise(self, trace: str) -> str:
        """The trace with a line of names (and source lines) under each line that has bare
        addresses.
        """
        wanted = [int(one or other, 16) for one, other in ADDRESS.findall(trace)]
        places = self.lines(sorted(set(wanted)))
        result = []
        for line in trace.splitlines():
            result.append(line)
            notes = []
            for match in ADDRESS.finditer(line):
                address = int(match[1] or match[2], 16)
                named = None if match[0].endswith("(") else self.name(address)
                parts = [part for part in (named, places.get(address)) if part]
                if parts:
                    notes.append(f"{address:08x} {' '.join(parts)}")
            if notes:
                result.append("    = " + "; ".join(notes))
        return "\n".join(result)


def _functions(vmlinux: Path) -> list[tuple[int, str]]:
    """Addresses and names of its functions; none where it is damaged."""
    rows: list[tuple[int, str]] = []
    try:
        with vmlinux.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            if isinstance(table, SymbolTableSection):
                for symbol in itertools.islice(table.iter_symbols(), _MOST_SYMBOLS):
                    if symbol["st_info"]["type"] == "STT_FUNC":
                        rows.append((symbol["st_value"], symbol.name))
    except Exception:  # a made-up file makes elftools raise whatever there is
        return []
    return rows
