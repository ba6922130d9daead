# SPDX-License-Identifier: MIT
"""The default CMA area as asked for on the kernel command line or by the kernel's configuration.

``cma=size[@base[-limit]]`` is read as early_cma() in kernel/dma/contiguous.c reads it, with
memparse() of lib/cmdline.c and the quotes of lib/cmdline.c's next_arg(): nothing is refused that
the kernel takes, and what it does not understand ends the number. The kernel names this area
``reserved`` and rounds its size up to the CMA alignment.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from harness.memory.dmesg import DEFAULT_AREA
from harness.memory.model import Claim, Coverage, Failure, Reading, Windowed
from harness.memory.ranges import AddressRange

_NUMBER = re.compile(r"0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*)")
_WORDS = re.compile(r'(?:[^\t-\r \xa0"]|"[^"]*(?:"|$))+')
"""Between what isspace() of lib/ctype.c takes for a space."""
_SUFFIXES = "kmgtpe"
_WORD = 1 << 64
_ALL = 1 << 40
"""The end (exclusive) of what an ARM32 kernel can address, with LPAE."""
_PER_BLOCK = re.compile(r"^Pages per block: +(\d+)$", re.MULTILINE)
_ORDERS = re.compile(r"^Free pages count per migrate type at order((?: +\d+)+)", re.MULTILINE)


def memparse(text: str) -> tuple[int, str]:
    """The number at the start of `text`, with its unit, and what follows: never refuses any.

    It may have more bits than the kernel's; what becomes of them there depends on the version.
    """
    match = _NUMBER.match(text)
    if match is None:
        return 0, text
    if match[1]:
        value = int(match[1], 16)
    elif match[3]:
        value = int(match[3])
    else:
        value = int(match[2] or "0", 8)
    rest = text[match.end() :]
    unit = _SUFFIXES.find(rest[:1].lower()) if rest else -1
    if unit >= 0:
        value, rest = value << 10 * (unit + 1), rest[1:]
    return value, rest


def kernel_arguments(text: str) -> Iterator[tuple[str, str | None]]:
    """Name and value of each argument that the kernel takes for its own (up to ``--``)."""
    for word in _WORDS.findall(text):
        bare = word[1:].removesuffix('"') if word.startswith('"') else word
        name, equals, value = bare.partition("=")
        if name == "--" and not equals:
            return
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        yield name, value if equals else None


@dataclasses.dataclass
class _Asked:
    """What early_cma() keeps from one ``cma=`` to the next."""

    size: int | None = None
    base: int = 0
    limit: int = 0
    text: str = ""

    def take(self, value: str) -> None:
        self.text = value
        self.size, rest = memparse(value)
        if not rest.startswith("@"):
            return
        base, rest = memparse(rest[1:])
        self.base = base % _WORD
        if rest.startswith("-"):
            self.limit = memparse(rest[1:])[0] % _WORD
        else:
            self.limit = self.base + self.size


def read_command_line(
    text: str, *, alignment: int | None = None, source: str = "/proc/cmdline"
) -> Reading | None:
    """What ``cma=`` asks for, as a witness; None where there is none or its size is 0.

    ``alignment`` is the kernel's CMA alignment in bytes, where it is known (`cma_alignment`). A
    request that the kernel must refuse is a failure of the reading.
    """
    asked = _Asked()
    for name, value in kernel_arguments(text):
        if name == "cma" and value is not None:
            asked.take(value)
    if asked.size is None:
        return None
    if not asked.size:
        if not asked.text.strip() or asked.text.startswith("0"):
            return None
        return _refused(
            f"cma={asked.text}: the kernel reads a size of 0, and makes no area", source
        )
    if asked.size >> 32:
        note = f"cma={asked.text}: more than 32 bits: it depends on the kernel what it makes of it"
        return Reading("command line", source, Coverage.DECLARED, notes=(note,))
    if asked.limit and asked.base + asked.size > asked.limit:
        return _refused(f"cma={asked.text}: it does not fit below its limit", source)
    windows: tuple[AddressRange, ...] = ()
    if asked.base or asked.limit:
        windows = (AddressRange(asked.base, asked.limit or max(_ALL, asked.base + asked.size)),)
    return _reading(asked.size, alignment, windows, "command line", source)


def read_configured_size(
    mebibytes: int, *, alignment: int | None = None, source: str = "CONFIG_CMA_SIZE_MBYTES"
) -> Reading | None:
    """The area that the configuration asks for, as a witness; None for a size of 0.

    Only true of a kernel without ``cma=`` and without an enabled ``linux,cma-default`` node.
    """
    if mebibytes <= 0:
        return None
    return _reading(mebibytes << 20, alignment, (), "kernel configuration", source)


def cma_alignment(pagetypeinfo: str, page_size: int = 4096) -> int | None:
    """The CMA alignment in bytes by ``/proc/pagetypeinfo``; None where it does not follow from it.

    It is a page block, before 5.18 the larger of a page block and the largest order's block
    (CMA_MIN_ALIGNMENT_PAGES in include/linux/cma.h): known where both are the same.
    """
    block, orders = _PER_BLOCK.search(pagetypeinfo), _ORDERS.search(pagetypeinfo)
    if block is None or orders is None:
        return None
    pages = int(block[1])
    return pages * page_size if pages == 1 << int(orders[1].split()[-1]) else None


def _refused(why: str, source: str) -> Reading:
    failure = Failure(DEFAULT_AREA, why, source)
    return Reading("command line", source, Coverage.DECLARED, failures=(failure,))


def _reading(
    size: int,
    alignment: int | None,
    windows: tuple[AddressRange, ...],
    witness: str,
    source: str,
) -> Reading:
    rounded = -(-size // (alignment or 1)) * (alignment or 1)
    claim: Claim = Windowed(DEFAULT_AREA, rounded, windows, source, rounds_up=alignment is None)
    return Reading(witness, source, Coverage.DECLARED, (claim,))
