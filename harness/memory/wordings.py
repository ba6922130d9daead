# SPDX-License-Identifier: MIT
"""What kernels print of CMA areas while they boot, each wording with the versions that have it.

Read from ``mm/cma.c``, ``kernel/dma/contiguous.c`` (``drivers/base/dma-contiguous.c`` before 5.0),
``drivers/of/of_reserved_mem.c`` and ``drivers/of/fdt.c`` of Linux 4.4, 5.0, 5.10, 5.15, 6.1, 6.12,
6.19 and 7.3. Distributions carry changes back and forth, so a wording is read in a log of any
version; what is in none of these tables and yet speaks of CMA is unknown, and said to be.
"""

from __future__ import annotations

import dataclasses
import re

Version = tuple[int, int]
ANY: Version = (0, 0)

HEX = r"0x([0-9a-f]{8}|[0-9a-f]{16})"
_OF = r"(?:OF: (?:fdt|reserved mem): )?(?:Reserved memory: )?"


@dataclasses.dataclass(frozen=True)
class Wording:
    """One line. ``(?P<area>…)`` in it is the name of the area that it speaks of."""

    pattern: re.Pattern[str]
    since: Version = ANY
    """The oldest of the versions above that has it; `ANY` for the oldest of all."""
    until: Version | None = None
    """The oldest of the versions above that has it no more."""
    default_node: bool = False
    """It speaks of the node with ``linux,cma-default``, without its name."""
    names_previous: bool = False
    """It names the area of the failures without a name just before it."""


def _line(
    pattern: str,
    since: Version = ANY,
    until: Version | None = None,
    *,
    default_node: bool = False,
    names_previous: bool = False,
) -> Wording:
    return Wording(re.compile(pattern), since, until, default_node, names_previous)


POOL = re.compile(rf"Reserved memory: created CMA memory pool at {HEX}, size (\d+) MiB")
OTHER_POOL = re.compile(r"Reserved memory: created (?!CMA)\w+ memory pool at ")
NAMED = re.compile(
    r"(?:OF: reserved mem|Reserved memory): initialized node (.+), compatible id (\S+)"
)
"""``Reserved memory`` before 4.8."""
MAPPED = re.compile(
    rf"OF: reserved mem: {HEX}\.\.{HEX} \(\d+ KiB\) (?:map|nomap) (?:reusable|non-reusable) (.+)"
)
"""From 6.12 on."""
DEFAULT = re.compile(rf"cma: Reserved (\d+) MiB at {HEX}(?: on node -?\d+)?")
LOGS_THE_REQUEST: Version = (6, 15)
"""From here on `DEFAULT` has the size that was asked for; before, what it was rounded up to."""
RANGES = re.compile(r"cma: Reserved (\d+) MiB in (\d+) ranges?")
"""From 6.15 on: an area of several ranges, without a name or an address."""
CUT_POOL = re.compile(r"created CMA memory|cma: Reserved \d")
MEMORY = re.compile(r"Memory: \d+K/\d+K available \(.*?(\d+)K cma-reserved")
OVERLAP = re.compile(r"(?:OF: reserved mem|Reserved memory): OVERLAP DETECTED!")
OVERLAPPING = re.compile(r"(.+) \(0x[0-9a-f]+--0x[0-9a-f]+\) overlaps with .+")

FAILURES = (
    _line(
        r"OF: reserved mem: node (?P<area>.+) compatible matching fail",
        (5, 10),
        names_previous=True,
    ),
    _line(
        r"Reserved memory: bypass (?P<area>.+) node, using cmdline CMA params instead",
        (5, 10),
        (7, 3),
    ),
    _line(
        r'OF: reserved mem: Skipping dt linux,cma-default for "cma=" kernel param\.',
        (6, 19),
        (7, 3),
        default_node=True,
    ),
    _line(
        r'Skipping dt linux,cma-default node in favor for "cma=" kernel param\.',
        (7, 3),
        default_node=True,
    ),
    _line(r"cma: CMA area (?P<area>.+) could not be activated", (5, 0)),
    _line(r"cma: CMA area could not be activated", until=(5, 0)),
    _line(_OF + r"failed to allocate memory for node '(?P<area>.+?)'.*"),
    _line(_OF + r"failed to reserve memory for node '(?P<area>.+?)'.*"),
    _line(_OF + r"invalid (?:size|alignment|alloc-ranges|reg) property in '(?P<area>.+?)'.*"),
    _line(r"OF: reserved mem: too many defined dynamic regions, skip '(?P<area>.+?)'", (6, 12)),
    _line(
        r"OF: reserved mem: not enough space for all defined regions, skip '(?P<area>.+?)'",
        (7, 3),
    ),
    _line(_OF + r"not enough space (?:for )?all defined regions\.", until=(7, 3)),
    _line(
        r"OF: reserved mem: Failed to allocate memory for reserved_mem array with err: -?\d+",
        (6, 12),
    ),
    _line(_OF + r"unsupported node format, ignoring"),
    _line(r"Reserved memory: incorrect alignment of CMA region"),
    _line(r"Reserved memory: unable to setup CMA region"),
    _line(r"cma: Not enough slots for CMA reserved regions!"),
    _line(r"cma: pageblock_order not yet initialized\. Called during early boot\?", (6, 19)),
    _line(r"cma: Failed to reserve \d+ MiB(?: on node -?\d+)?"),
    _line(r"cma: Region at 0x[0-9a-f]+ must be aligned to 0x[0-9a-f]+ bytes", (5, 10)),
    _line(r"cma: Region at 0x[0-9a-f]+ defined on low/high memory boundary \(0x[0-9a-f]+\)"),
    _line(
        r"cma: Size \(0x[0-9a-f]+\) of region at 0x[0-9a-f]+ exceeds limit \(0x[0-9a-f]+\)",
        (5, 10),
    ),
    _line(r"cma: Config string not provided"),
    _line(r"cma: \w+: reservation failed: err -?\d+, node \d+", (5, 10)),
)

HARMLESS = (
    _line(r"(?:OF: reserved mem|Reserved memory): initialized node .+, compatible id \S+"),
    _line(r"(?:OF: reserved mem: )?Reserved memory: No reserved-memory node in the DT", (6, 12)),
    _line(r"OF: reserved mem: \w+\(\) ignores -?\d+ regions in node '.+'", (6, 12), (7, 3)),
    _line(_OF + r"node '.+' has \d+ <base size> entries, only the first is used", (7, 3)),
    _line(_OF + r"(?:reserved region for node '.+'|allocated memory for '.+' node): base .+"),
    _line(r"cma: (?:\w+\(|\w+: reserving \d+ MiB for|consider |added |deleted |total |created ).*"),
    _line(r"cma: (?:number of available pages|range \d+): .*|cma: "),
    _line(r"cma: \w+: (?:[^:]+: )?alloc failed, req-size: \d+ pages, ret: -?\d+"),
    _line(r"cma: \w+: .+: skipping incompatible area \[0x[0-9a-f]+-0x[0-9a-f]+\]", (7, 3)),
    _line(r"cma: \w+: reserved \d+ MiB on node \d+", (5, 10), (6, 12)),
    _line(r"cma: invalid node \d+ specified", (6, 12)),
    _line(r"(?:cma: )?Couldn't (?:queue default CMA region|store CMA reserved area).*", (7, 3)),
    _line(r"(?:Unknown k|K)ernel command line.*"),
)
"""Lines on reserved memory from which nothing follows for an area."""

_OF_CMA = re.compile(
    r"cma: |OF: reserved mem: |OF: fdt: Reserved memory|Reserved memory: "
    r"|.*\bCMA\b|.*\b(?:linux,cma\b|dma[-_]contiguous)|contiguous: "
)
_BEGINNINGS = (
    "Reserved memory: created CMA memory pool",
    "OF: reserved mem: initialized node ",
    "cma: Reserved ",
)
_SHORTEST = 6
"""Characters by which a line that is cut is still told from others."""
USERLAND = re.compile(r"Run \S+ as init process|Freeing (?:unused kernel|init) memory|init: ")
"""From here on, drivers and programs write too."""


def unknown(line: str) -> bool:
    """Whether the line speaks of CMA, or of reserved memory, in words of none of the tables, or is
    the beginning of one that would.
    """
    if len(line) >= _SHORTEST and any(words.startswith(line) for words in _BEGINNINGS):
        return True
    known = any(wording.pattern.fullmatch(line) for wording in HARMLESS)
    return not known and _OF_CMA.match(line) is not None
