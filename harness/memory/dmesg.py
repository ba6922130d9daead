# SPDX-License-Identifier: MIT
"""The kernel log as a witness of CMA areas; its words are in `harness.memory.wordings`.

A pool is announced without its name; the name is in the line after it. Sizes in MiB are rounded
down by the kernel. Lines that say nothing of reserved memory are passed over. From what a log does
not say, something follows only where it is known to be whole.
"""

from __future__ import annotations

import dataclasses
import re

from harness.memory import wordings
from harness.memory.model import (
    Based,
    Claim,
    Coverage,
    Exists,
    Failure,
    Placed,
    Reading,
    RoundedSize,
)
from harness.memory.ranges import AddressRange, InvalidRange

MIB = 1 << 20
DEFAULT_AREA = "reserved"
"""The area of ``cma=`` or CONFIG_CMA_SIZE_MBYTES (kernel/dma/contiguous.c)."""

_PREFIX = re.compile(
    r"(?:<\d+>|\d+,\d+,\d+,[^;]*;)?"  # syslog level, or the fields of /dev/kmsg
    r"(?:\[ *\d+\.\d+\] ?(?:\[ *[TC]\d+\] ?)?)?"  # PRINTK_TIME, PRINTK_CALLER
)
_BOOT = re.compile(r"Booting Linux on physical CPU ")
_VERSION = re.compile(r"Linux version (\d+)\.(\d+)")
_DROPPED = re.compile(
    r"\*\* (\d+) (?:printk )?messages? dropped \*\* ?|\*\* replaying previous printk message \*\*"
    r"|.*\bMissed \d+ kernel messages?\b"
)
"""kernel/printk/printk.c; before 4.15 the rest of the line is a message. The last: journald."""
_COMMAND_LINE = re.compile(r"Kernel command line: (.*)")
_LEVEL = re.compile(r"(?:^|\s)(?:loglevel=(\d+)|(quiet)|(debug|ignore_loglevel))(?=\s|$)")
_INFO = 6
"""``KERN_INFO``, the level of most lines on CMA: shown on a console from loglevel 7 on."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """A CMA area that the log says was created. ``name`` is None where the line with it is missing.

    ``range`` is exact where the kernel printed both ends (6.12), otherwise None. ``line`` counts
    from 1.
    """

    name: str | None
    base: int
    size: RoundedSize
    line: int
    range: AddressRange | None = None


@dataclasses.dataclass(frozen=True)
class KernelLog:
    """What the log of one boot says of CMA areas.

    ``from_boot`` is False where the beginning is missing (the ring buffer has wrapped),
    ``damaged`` is True where a line on a pool is cut, ``gaps`` are the other reasons why it may not
    be whole: in all of these cases nothing follows from silence. ``cma_kib`` is the total of
    ``Memory: … cma-reserved``, where printed; ``version`` the kernel's, where it is known.
    """

    pools: tuple[Pool, ...]
    failures: tuple[Failure, ...]
    from_boot: bool
    damaged: bool = False
    cma_kib: int | None = None
    source: str = "dmesg"
    gaps: tuple[str, ...] = ()
    version: wordings.Version | None = None

    def reading(self) -> Reading:
        """What it says, as a witness. A pool without a name is a note, not a claim."""
        claims: list[Claim] = []
        notes: list[str] = []
        for pool in self.pools:
            where = f"{self.source} line {pool.line}"
            if pool.name is None:
                notes.append(
                    f"{where}: a CMA area at 0x{pool.base:08x}, {pool.size}, without a name"
                )
            elif pool.range is not None:
                claims.append(Placed(pool.name, pool.range, where))
            elif not pool.base:  # early 6.15 logs what was asked for, and that was anywhere
                claims.append(Exists(pool.name, where))
            else:
                claims.append(Based(pool.name, pool.base, pool.size, where))
        notes += self.gaps
        if not self.from_boot:
            notes.append(f"{self.source}: it does not begin with the boot")
        if self.damaged:
            notes.append(f"{self.source}: a line on a CMA area is cut or missing")
        return Reading(
            witness="dmesg",
            source=self.source,
            coverage=Coverage.SOME if notes else Coverage.CREATED,
            claims=tuple(claims),
            failures=self.failures,
            notes=tuple(notes),
        )


def strip_prefix(line: str) -> str:
    """A log line without carriage return, level, time and caller."""
    line = line.strip("\r\n")
    match = _PREFIX.match(line)
    return line[match.end() :] if match else line


def parse_dmesg(text: str, source: str = "dmesg", *, console: bool = False) -> KernelLog:
    """The CMA areas and failures in a kernel log; of several boots, the last. Never raises.

    `console`: it is what a serial line showed, where ``loglevel=`` and ``quiet`` hide lines and
    the end may be missing, and not what ``dmesg`` printed in the guest.
    """
    state = _Parser(source, console)
    for number, raw in enumerate(text.split("\n"), start=1):
        state.feed(number, strip_prefix(raw))
    return state.result()


class _Parser:
    """Pairs each pool, and each failure without a name, with the name in the line after it."""

    def __init__(self, source: str, console: bool) -> None:
        self._source = source
        self._console = console
        self._from_boot = False
        self._reset()

    def _reset(self) -> None:
        self._pools: list[Pool] = []
        self._failures: list[Failure] = []
        self._cma_kib: int | None = None
        self._damaged = False
        self._gaps: list[str] = []
        self._version: wordings.Version | None = None
        self._command_line: str | None = None
        self._userland = False
        self._ranges = False
        self._awaited: str | None = (
            None  # whose name comes next: a "cma" pool's or an "other" one's
        )
        self._nameless = 0  # failures without a name, just before this line
        self._overlap = False

    def result(self) -> KernelLog:
        gaps = [*self._gaps, *self._total()]
        if self._console:
            gaps += self._hidden()
        return KernelLog(
            pools=tuple(self._pools),
            failures=tuple(self._failures),
            from_boot=self._from_boot,
            damaged=self._damaged,
            cma_kib=self._cma_kib,
            source=self._source,
            gaps=tuple(dict.fromkeys(gaps)),
            version=self._version,
        )

    def _total(self) -> list[str]:
        """The kernel's own word on how much CMA there is, against what the log shows."""
        log_the_request = self._version is None or self._version >= wordings.LOGS_THE_REQUEST
        rounded = log_the_request and any(pool.name == DEFAULT_AREA for pool in self._pools)
        if self._cma_kib is None or self._damaged or self._ranges or rounded:
            return []
        most = sum(pool.size.high for pool in self._pools)
        if self._cma_kib << 10 < max(most, 1):
            return []
        shown = " + ".join(str(pool.size.quantity) for pool in self._pools) or "no"
        return [
            f"{self._source}: it shows {shown} MiB of CMA, and has {self._cma_kib} KiB reserved"
        ]

    def _hidden(self) -> list[str]:
        """Whether a console shows lines of the level that those on CMA have."""
        if self._command_line is None:
            return [
                f"{self._source}: it ends before the kernel's command line, or does not show it"
            ]
        shown = 7
        for level, quiet, all_ in _LEVEL.findall(self._command_line):
            shown = int(level or (4 if quiet else 10 if all_ else shown))
        if shown > _INFO:
            return []
        return [
            f"{self._source}: the console shows no more than level {shown - 1} (loglevel, quiet)"
        ]

    def feed(self, number: int, line: str) -> None:
        if match := _DROPPED.match(line):
            self._gap(number, line)
            line = strip_prefix(line[match.end() :])
        if _BOOT.match(line):
            self._reset()
            self._from_boot = True
        elif match := _VERSION.match(line):
            self._version = int(match[1]), int(match[2])
            self._from_boot = self._from_boot or not self._pools
        elif match := wordings.MEMORY.match(line):
            self._cma_kib = int(match[1])
        elif match := _COMMAND_LINE.match(line):
            self._command_line = match[1]
        elif wordings.USERLAND.match(line):
            self._userland = True
        elif self._pool(number, line) or self._name(line) or self._mapped(line):
            self._nameless = 0
        elif not self._failure(line) and not self._userland and wordings.unknown(line):
            self._gaps.append(f"{self._source} line {number}: unknown words on CMA: {line[:120]!r}")

    def _gap(self, number: int, line: str) -> None:
        """Lines are missing here: the next name may be another pool's."""
        self._awaited, self._nameless, self._overlap = None, 0, False
        if not self._userland:
            self._gaps.append(f"{self._source} line {number}: {line.strip()[:80]}")

    def _pool(self, number: int, line: str) -> bool:
        if match := wordings.POOL.fullmatch(line):
            base, size = int(match[1], 16), RoundedSize(int(match[2]), MIB)
            self._pools.append(Pool(None, base, size, number))
            self._awaited = "cma"
        elif match := wordings.DEFAULT.fullmatch(line):
            base, size = int(match[2], 16), RoundedSize(int(match[1]), MIB)
            self._pools.append(Pool(DEFAULT_AREA, base, size, number))
            self._awaited = None
        elif match := wordings.RANGES.fullmatch(line):
            self._ranges = True
            self._gaps.append(
                f"{self._source} line {number}: an area of {match[1]} MiB in {match[2]} ranges,"
                " without a name"
            )
            self._awaited = None
        elif wordings.OTHER_POOL.match(line):
            self._awaited = "other"
        elif wordings.CUT_POOL.search(line):
            self._damaged = True
            self._awaited = None
        else:
            return False
        return True

    def _name(self, line: str) -> bool:
        match = wordings.NAMED.fullmatch(line)
        if match is None or match[2] != "shared-dma-pool":
            return False
        if self._awaited == "cma":
            self._pools[-1] = dataclasses.replace(self._pools[-1], name=match[1])
        elif self._awaited is None:
            self._damaged = True  # the pool's own line is missing: it may be any kind of pool
        self._awaited = None
        return True

    def _mapped(self, line: str) -> bool:
        """6.12 prints both ends of every reserved node after its name; CMA areas among them."""
        match = wordings.MAPPED.fullmatch(line)
        if match is None:
            return False
        try:
            place = AddressRange.from_inclusive(int(match[1], 16), int(match[2], 16))
        except InvalidRange:
            self._damaged = True
            return True
        last = self._pools[-1] if self._pools else None
        if last is not None and last.base == place.start and last.name in (None, match[3]):
            self._pools[-1] = dataclasses.replace(last, name=match[3], range=place)
        self._awaited = None
        return True

    def _failure(self, line: str) -> bool:
        if self._overlap:
            self._overlap = False
            if match := wordings.OVERLAPPING.fullmatch(line):
                text = f"OVERLAP DETECTED! {line}"
                self._failures.append(Failure(match[1], text, self._source, decisive=False))
                return True
        self._overlap = wordings.OVERLAP.fullmatch(line) is not None
        for wording in wordings.FAILURES:
            if match := wording.pattern.fullmatch(line):
                area = match.groupdict().get("area")
                failure = Failure(area, line, self._source, default_node=wording.default_node)
                if wording.default_node:
                    self._failures += [failure] if failure not in self._failures else []
                    return True
                self._failures.append(failure)
                if area is None:
                    self._nameless += 1
                else:
                    self._attribute(area, names_previous=wording.names_previous)
                self._awaited = None
                return True
        return self._overlap

    def _attribute(self, area: str, *, names_previous: bool) -> None:
        """``node X compatible matching fail`` names the area of the failures just before it."""
        if names_previous:
            before = len(self._failures) - 1
            for index in range(before - self._nameless, before):
                self._failures[index] = dataclasses.replace(self._failures[index], area=area)
        self._nameless = 0
