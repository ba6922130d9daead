# SPDX-License-Identifier: MIT
"""The kernel log as a witness of CMA areas.

The strings are those of kernel/dma/contiguous.c, drivers/of/of_reserved_mem.c, drivers/of/fdt.c and
mm/cma.c in Linux 5.0, 6.1 and 6.12. A pool is announced without its name; the name is in the line
after it. Sizes in MiB are rounded down by the kernel. Lines that say nothing of reserved memory, or
that are damaged, are passed over: a log is a witness of what it does say.
"""

from __future__ import annotations

import dataclasses
import re

from harness.memory.model import Based, Claim, Coverage, Failure, Placed, Reading, RoundedSize
from harness.memory.ranges import AddressRange, InvalidRange

MIB = 1 << 20
DEFAULT_AREA = "reserved"
"""The area of ``cma=`` or CONFIG_CMA_SIZE_MBYTES (kernel/dma/contiguous.c)."""

_PREFIX = re.compile(
    r"(?:<\d+>|\d+,\d+,\d+,[^;]*;)?"  # syslog level, or the fields of /dev/kmsg
    r"(?:\[ *\d+\.\d+\] ?(?:\[ *[TC]\d+\] ?)?)?"  # PRINTK_TIME, PRINTK_CALLER
)
_HEX = r"0x([0-9a-f]{8}|[0-9a-f]{16})"
_BOOT = re.compile(r"Booting Linux on physical CPU ")
_VERSION = re.compile(r"Linux version \d")
_POOL = re.compile(rf"Reserved memory: created CMA memory pool at {_HEX}, size (\d+) MiB")
_OTHER_POOL = re.compile(r"Reserved memory: created (?!CMA)\w+ memory pool at ")
_CUT_POOL = re.compile(r"created CMA memory|cma: Reserved \d")
_NAMED = re.compile(r"OF: reserved mem: initialized node (.+), compatible id (\S+)")
_MAPPED = re.compile(
    rf"OF: reserved mem: {_HEX}\.\.{_HEX} \(\d+ KiB\) (?:map|nomap) (?:reusable|non-reusable) (.+)"
)
_DEFAULT = re.compile(rf"cma: Reserved (\d+) MiB at {_HEX}(?: on node -?\d+)?")
_MEMORY = re.compile(r"Memory: \d+K/\d+K available \(.*?(\d+)K cma-reserved")

_MATCHING_FAIL = re.compile(r"OF: reserved mem: node (?P<area>.+) compatible matching fail")
_FAILURES = (
    _MATCHING_FAIL,
    *(
        re.compile(pattern)
        for pattern in (
            r"Reserved memory: bypass (?P<area>.+) node, using cmdline CMA params instead",
            r"cma: CMA area (?P<area>.+) could not be activated",
            r"OF: reserved mem: failed to allocate memory for node '(?P<area>.+?)'.*",
            r"(?:OF: (?:fdt|reserved mem): )?Reserved memory: failed to reserve memory for node "
            r"'(?P<area>.+?)'.*",
            r"(?:OF: (?:fdt|reserved mem): )?(?:Reserved memory: )?invalid "
            r"(?:size|alignment|alloc-ranges|reg) property in '(?P<area>.+?)'.*",
            r"OF: reserved mem: too many defined dynamic regions, skip '(?P<area>.+?)'",
            r"OF: reserved mem: not enough space for all defined regions\.",
            r"(?:OF: (?:fdt|reserved mem): )?Reserved memory: unsupported node format, ignoring",
            r"Reserved memory: incorrect alignment of CMA region",
            r"Reserved memory: unable to setup CMA region",
            r"cma: Not enough slots for CMA reserved regions!",
            r"cma: Failed to reserve \d+ MiB(?: on node -?\d+)?",
            r"cma: Region at 0x[0-9a-f]+ must be aligned to 0x[0-9a-f]+ bytes",
            r"cma: Region at 0x[0-9a-f]+ defined on low/high memory boundary \(0x[0-9a-f]+\)",
            r"cma: Size \(0x[0-9a-f]+\) of region at 0x[0-9a-f]+ exceeds limit \(0x[0-9a-f]+\)",
            r"cma: Config string not provided",
        )
    ),
)
_OVERLAP = "OF: reserved mem: OVERLAP DETECTED!"
_OVERLAPPING = re.compile(r"(.+) \(0x[0-9a-f]+--0x[0-9a-f]+\) overlaps with .+")


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
    ``damaged`` is True where a line on a pool is cut: in both cases nothing follows from silence.
    ``cma_kib`` is the total of ``Memory: … cma-reserved``, where printed.
    """

    pools: tuple[Pool, ...]
    failures: tuple[Failure, ...]
    from_boot: bool
    damaged: bool = False
    cma_kib: int | None = None
    source: str = "dmesg"

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
            else:
                claims.append(Based(pool.name, pool.base, pool.size, where))
        whole = self.from_boot and not self.damaged and not notes
        return Reading(
            witness="dmesg",
            source=self.source,
            coverage=Coverage.CREATED if whole else Coverage.SOME,
            claims=tuple(claims),
            failures=self.failures,
            notes=tuple(notes),
        )


def strip_prefix(line: str) -> str:
    """A log line without carriage return, level, time and caller."""
    line = line.strip("\r\n")
    match = _PREFIX.match(line)
    return line[match.end() :] if match else line


def parse_dmesg(text: str, source: str = "dmesg") -> KernelLog:
    """The CMA areas and failures in a kernel log; of several boots, the last. Never raises."""
    state = _Parser(source)
    for number, raw in enumerate(text.split("\n"), start=1):
        state.feed(number, strip_prefix(raw))
    return state.result()


class _Parser:
    """Pairs each pool, and each failure without a name, with the name in the line after it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._from_boot = False
        self._reset()

    def _reset(self) -> None:
        self._pools: list[Pool] = []
        self._failures: list[Failure] = []
        self._cma_kib: int | None = None
        self._damaged = False
        self._awaited: str | None = (
            None  # whose name comes next: a "cma" pool's or an "other" one's
        )
        self._nameless = 0  # failures without a name, just before this line
        self._overlap = False

    def result(self) -> KernelLog:
        return KernelLog(
            pools=tuple(self._pools),
            failures=tuple(self._failures),
            from_boot=self._from_boot,
            damaged=self._damaged,
            cma_kib=self._cma_kib,
            source=self._source,
        )

    def feed(self, number: int, line: str) -> None:
        if _BOOT.match(line):
            self._reset()
            self._from_boot = True
        elif _VERSION.match(line) and not self._pools:
            self._from_boot = True
        elif match := _MEMORY.match(line):
            self._cma_kib = int(match[1])
        elif self._pool(number, line) or self._name(line) or self._mapped(line):
            self._nameless = 0
        else:
            self._failure(line)

    def _pool(self, number: int, line: str) -> bool:
        if match := _POOL.fullmatch(line):
            base, size = int(match[1], 16), RoundedSize(int(match[2]), MIB)
            self._pools.append(Pool(None, base, size, number))
            self._awaited = "cma"
        elif match := _DEFAULT.fullmatch(line):
            base, size = int(match[2], 16), RoundedSize(int(match[1]), MIB)
            self._pools.append(Pool(DEFAULT_AREA, base, size, number))
            self._awaited = None
        elif _OTHER_POOL.match(line):
            self._awaited = "other"
        elif _CUT_POOL.search(line):
            self._damaged = True
            self._awaited = None
        else:
            return False
        return True

    def _name(self, line: str) -> bool:
        match = _NAMED.fullmatch(line)
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
        match = _MAPPED.fullmatch(line)
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

    def _failure(self, line: str) -> None:
        if self._overlap:
            self._overlap = False
            if match := _OVERLAPPING.fullmatch(line):
                self._failures.append(Failure(match[1], f"OVERLAP DETECTED! {line}", self._source))
                return
        self._overlap = line == _OVERLAP
        for pattern in _FAILURES:
            if match := pattern.fullmatch(line):
                area = match.groupdict().get("area")
                self._failures.append(Failure(area, line, self._source))
                if area is None:
                    self._nameless += 1
                else:
                    self._attribute(area, names_previous=pattern is _MATCHING_FAIL)
                self._awaited = None
                return

    def _attribute(self, area: str, *, names_previous: bool) -> None:
        """``node X compatible matching fail`` names the area of the failures just before it."""
        if names_previous:
            before = len(self._failures) - 1
            for index in range(before - self._nameless, before):
                self._failures[index] = dataclasses.replace(self._failures[index], area=area)
        self._nameless = 0
