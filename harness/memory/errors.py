# SPDX-License-Identifier: MIT
"""Errors of reading, reconciling and judging memory. The facts are fields, ``str()`` the message.

Who is at fault follows from the base: `JudgementError` is the system under test, `UserError` a file
or option of the user. A witness whose text is not in its format is the system's fault too: what is
read from a guest comes with a checksum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import HarnessError, JudgementError, UserError, Verdict

if TYPE_CHECKING:
    from harness.memory.model import CmaArea, Failure
    from harness.memory.ranges import AddressRange


def quoted(text: object, limit: int = 120) -> str:
    """``text`` as one short printable line, for messages that show what was read."""
    shown = repr(text)
    return shown if len(shown) <= limit else shown[:limit] + "…"


class WitnessUnreadable(HarnessError):
    """A witness gave text that is not in its format: nothing is known from it."""

    verdict = Verdict.PRODUCT

    def __init__(
        self, source: str, problem: str, *, line: int | None = None, text: str = ""
    ) -> None:
        where = source if line is None else f"{source} line {line}"
        super().__init__(f"{where}: {problem}" + (f": {quoted(text)}" if text else ""))
        self.source, self.problem, self.line, self.text = source, problem, line, text


class MalformedIomem(WitnessUnreadable):
    """A line of ``/proc/iomem`` is not ``start-end : name`` or does not nest."""


class ZeroedIomem(WitnessUnreadable):
    """Every range of ``/proc/iomem`` is 0-0: the reader lacks CAP_SYS_ADMIN."""

    verdict = Verdict.INFRASTRUCTURE


class MalformedDebugfs(WitnessUnreadable):
    """A file below ``/sys/kernel/debug/cma`` does not hold what the kernel writes there."""


class MalformedCounter(WitnessUnreadable):
    """A line of ``/proc/meminfo``, ``/proc/vmstat`` or a sysfs counter is not a number."""


class DeviceTreeError(UserError):
    """The device tree cannot be used. ``source`` is its path or ``/proc/device-tree``."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source, self.problem = source, problem


class NotADeviceTree(DeviceTreeError):
    """The bytes do not begin as a flattened device tree does."""


class TruncatedDeviceTree(DeviceTreeError):
    """The blob is shorter than its own header says."""


class MalformedDeviceTree(DeviceTreeError):
    """The blob's structure, or the cells of a property, contradict the specification."""


class NoReservedMemory(DeviceTreeError):
    """The tree has no ``/reserved-memory`` node, or one that the kernel ignores as a whole."""


class AreaNotInDeviceTree(DeviceTreeError):
    """The tree has reserved memory, but no CMA area of that name."""

    def __init__(self, source: str, problem: str, *, area: str, present: Sequence[str]) -> None:
        super().__init__(source, problem)
        self.area, self.present = area, tuple(present)


class AppOutputError(JudgementError):
    """The application's output does not give the addresses it promises."""

    def __init__(self, problem: str, *, line: int | None = None, text: str = "") -> None:
        where = "application output" if line is None else f"application output line {line}"
        super().__init__(f"{where}: {problem}" + (f": {quoted(text, 400)}" if text else ""))
        self.problem, self.line, self.text = problem, line, text


class MissingAppLine(AppOutputError):
    """``CMA region:``, ``Phys:`` or ``Virt:`` was not printed."""


class UnparsableAddress(AppOutputError):
    """An address line was printed, but what follows is not two hexadecimal addresses."""


class EmptyAllocation(AppOutputError):
    """The printed end is not above the printed start."""


class ContradictoryAppOutput(AppOutputError):
    """Two different ranges for one region, or a virtual range of another length."""


class WitnessDisagreement(JudgementError):
    """Two witnesses say different things of one area; no address is judged on such a map.

    ``first`` and ``second`` are ``(witness, source, value)``.
    """

    def __init__(
        self,
        area: str,
        first: tuple[str, str, str],
        second: tuple[str, str, str],
        problem: str = "the witnesses disagree",
    ) -> None:
        lines = [f"{who} ({source}) says {value}" for who, source, value in (first, second)]
        super().__init__(f"{area}: {problem}: {lines[0]}, but {lines[1]}")
        self.area, self.first, self.second, self.problem = area, first, second, problem


class SizeMismatch(WitnessDisagreement):
    """An area is not as large as it was declared to be."""


class AreaOutsideWindow(WitnessDisagreement):
    """An area lies outside the ``alloc-ranges`` (or ``cma=`` range) that it was declared with."""


class AreaOutsideRam(WitnessDisagreement):
    """An area lies, wholly or partly, outside the RAM of the machine."""


class AreasOverlap(JudgementError):
    """Two CMA areas share memory."""

    def __init__(self, first: CmaArea, second: CmaArea) -> None:
        shared = first.range.intersection(second.range)
        super().__init__(
            f"CMA areas overlap in {shared}: {first.name} ({first.range}, according to "
            f"{', '.join(first.witnesses)}) and {second.name} ({second.range}, according to "
            f"{', '.join(second.witnesses)})"
        )
        self.first, self.second, self.shared = first, second, shared


class MissingIomemLine(JudgementError):
    """The kernel has the patch that lists CMA areas in ``/proc/iomem``; this one is not there."""

    def __init__(self, area: str, source: str, listed: Sequence[str], reason: str = "") -> None:
        super().__init__(
            f"{source} has no line for CMA area {area}, although this kernel lists them there; "
            + (reason or f"it lists {', '.join(listed) if listed else 'none'}")
        )
        self.area, self.source, self.listed, self.reason = area, source, tuple(listed), reason


class AreaNotCreated(JudgementError):
    """The running kernel has no such CMA area. ``failures`` are the reasons that witnesses gave."""

    def __init__(self, area: str, reason: str, failures: Sequence[Failure] = ()) -> None:
        words = "".join(f"; {failure.source}: {quoted(failure.text, 200)}" for failure in failures)
        super().__init__(f"the kernel has no CMA area {area}: {reason}{words}")
        self.area, self.reason, self.failures = area, reason, tuple(failures)


class AmbiguousArea(JudgementError):
    """One witness lists two different areas under one name."""

    def __init__(self, area: str, witness: str, source: str, values: Sequence[str]) -> None:
        super().__init__(
            f"{witness} ({source}) lists {len(values)} CMA areas named {area}: {', '.join(values)}"
        )
        self.area, self.witness, self.source, self.values = area, witness, source, tuple(values)


class CannotPlace(HarnessError):
    """No witness, and no combination of them, says exactly where an area is."""

    def __init__(self, area: str, reason: str) -> None:
        super().__init__(f"cannot place CMA area {area}: {reason}")
        self.area, self.reason = area, reason


class MisplacedAllocation(JudgementError):
    """The allocation is not wholly in the expected area.

    ``found`` are the areas it touches, in address order; ``distance`` is the shift in bytes that
    would bring it to the nearest place inside: positive when it must move up (it is below).
    """

    def __init__(
        self,
        message: str,
        *,
        allocation: AddressRange,
        expected: CmaArea,
        found: Sequence[CmaArea],
        distance: int,
    ) -> None:
        super().__init__(message)
        self.allocation, self.expected = allocation, expected
        self.found, self.distance = tuple(found), distance


class WrongArea(MisplacedAllocation):
    """The whole allocation is in another CMA area."""


class StraddlesAreas(MisplacedAllocation):
    """The allocation touches more than one CMA area."""


class PartlyOutside(MisplacedAllocation):
    """The allocation is partly in one CMA area and partly in none."""


class OutsideAreas(MisplacedAllocation):
    """The allocation touches no CMA area."""


class OutsideRam(OutsideAreas):
    """The allocation touches no CMA area, and is not (wholly) in RAM either."""
