# SPDX-License-Identifier: MIT
"""The default CMA area as asked for on the kernel command line or by the kernel's configuration.

``cma=size[@base[-limit]]``: early_cma() in kernel/dma/contiguous.c; the last one counts. The
kernel names this area ``reserved`` and rounds its size up to the CMA alignment (4 MiB on ARM32
with 4 KiB pages).
"""

from __future__ import annotations

import re

from harness.memory.dmesg import DEFAULT_AREA
from harness.memory.errors import MalformedCommandLine
from harness.memory.model import Claim, Coverage, Reading, Windowed
from harness.memory.ranges import AddressRange, InvalidRange

_NUMBER = r"(0x[0-9a-f]+|[0-9]+)([kmgt]?)"
_CMA = re.compile(rf"{_NUMBER}(?:@{_NUMBER}(?:-{_NUMBER})?)?", re.IGNORECASE)
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def read_command_line(
    text: str, *, alignment: int = 4 << 20, source: str = "/proc/cmdline"
) -> Reading | None:
    """What ``cma=`` asks for, as a witness; None where there is none or its size is 0.

    ``alignment`` is the kernel's CMA alignment in bytes. Raises `MalformedCommandLine`.
    """
    values = [word[4:] for word in text.split() if word.startswith("cma=")]
    if not values:
        return None
    match = _CMA.fullmatch(values[-1])
    if match is None:
        raise MalformedCommandLine(source, "cma= is not size[@base[-limit]]", text=values[-1])
    size, base, limit = (_memparse(match[i], match[i + 1]) for i in (1, 3, 5))
    if not size:
        return None
    windows: tuple[AddressRange, ...] = ()
    if base is not None:
        try:
            windows = (AddressRange(base, base + size if limit is None else limit),)
        except InvalidRange as error:
            problem = "the limit of cma= is not above its base"
            raise MalformedCommandLine(source, problem, text=values[-1]) from error
    return _reading(size, alignment, windows, "command line", source)


def read_configured_size(
    mebibytes: int, *, alignment: int = 4 << 20, source: str = "CONFIG_CMA_SIZE_MBYTES"
) -> Reading | None:
    """The area that the configuration asks for, as a witness; None for a size of 0.

    Only true of a kernel without ``cma=`` and without an enabled ``linux,cma-default`` node.
    """
    if mebibytes <= 0:
        return None
    return _reading(mebibytes << 20, alignment, (), "kernel configuration", source)


def _reading(
    size: int, alignment: int, windows: tuple[AddressRange, ...], witness: str, source: str
) -> Reading:
    rounded = -(-size // alignment) * alignment
    claim: Claim = Windowed(DEFAULT_AREA, rounded, windows, source)
    return Reading(witness, source, Coverage.DECLARED, (claim,))


def _memparse(number: str | None, suffix: str | None) -> int | None:
    """As memparse() of lib/cmdline.c: decimal, 0x… or octal with a leading 0, and a unit."""
    if number is None:
        return None
    octal = len(number) > 1 and number[0] == "0" and number[1] not in "xX"
    base = 8 if octal else 0
    try:
        return int(number, base) << _SHIFT[(suffix or "").lower()]
    except ValueError:
        raise MalformedCommandLine("kernel command line", "not a number", text=number) from None
