# SPDX-License-Identifier: MIT
"""Reconciles what independent witnesses say into one memory map, or says who contradicts whom.

No address is judged on a map that the witnesses do not agree on: `reconcile` raises first.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable

from harness.memory.agreement import Statement, check_agreement
from harness.memory.errors import (
    AmbiguousArea,
    AreaNotCreated,
    AreaOutsideRam,
    AreasOverlap,
    CannotPlace,
    MissingIomemLine,
    WitnessDisagreement,
)
from harness.memory.model import (
    MAX_NAME,
    Absent,
    Based,
    Claim,
    CmaArea,
    Coverage,
    Exists,
    Failure,
    NamedRange,
    Placed,
    Reading,
    Windowed,
)
from harness.memory.ranges import AddressRange, merged

IOMEM_FEATURE = "iomem-cma"


@dataclasses.dataclass(frozen=True)
class Unplaced:
    """An area that was declared or named, and is not on the map; and why.

    ``refused``: the running kernel is known not to have it; otherwise too little is known of it.
    """

    name: str
    reason: str
    failures: tuple[Failure, ...] = ()
    refused: bool = False


@dataclasses.dataclass(frozen=True)
class MemoryMap:
    """Physical memory as the witnesses agree on it. ``areas`` are in address order.

    ``ram_source`` says who gave the RAM banks; they are empty where nobody did. ``incomplete`` says
    why areas may exist that no witness knows; it is empty where they are known to be all.
    """

    areas: tuple[CmaArea, ...]
    ram: tuple[AddressRange, ...] = ()
    kernel: tuple[NamedRange, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    absent: tuple[Absent, ...] = ()
    ram_source: str = ""
    incomplete: str = ""

    def area(self, name: str) -> CmaArea:
        """The area of that name. Raises `AreaNotCreated` or `CannotPlace` where it is not there."""
        for area in self.areas:
            if area.name == name[:MAX_NAME]:
                if not area.exact:
                    raise CannotPlace(name, f"its size is rounded; at least {area.range}")
                return area
        for unplaced in self.unplaced:
            if unplaced.name == name[:MAX_NAME]:
                if unplaced.refused:
                    raise AreaNotCreated(name, unplaced.reason, unplaced.failures)
                raise CannotPlace(name, unplaced.reason)
        if self.incomplete:
            raise CannotPlace(name, f"no witness knows it; {self.incomplete}")
        raise AreaNotCreated(name, f"the areas are {_names(self.areas)}")

    def overlapping(self, place: AddressRange) -> tuple[CmaArea, ...]:
        """The areas that share memory with ``place``, in address order."""
        return tuple(area for area in self.areas if area.range.overlaps(place))


def reconcile(
    witnesses: Iterable[Reading | Absent],
    *,
    require: Collection[str] = (),
    features: Collection[str] = (),
) -> MemoryMap:
    """The map that all witnesses agree on.

    ``require``: areas that must exist and be placed exactly. ``features``: what this kernel offers;
    with ``iomem-cma`` each area must have its line in ``/proc/iomem``. An area that nobody of the
    running kernel has seen is left off the map (`MemoryMap.unplaced`) unless it is required.

    Raises `WitnessDisagreement` (`SizeMismatch`, `AreaOutsideWindow`, `AreaOutsideRam`),
    `MissingIomemLine`, `AmbiguousArea`, `AreasOverlap`, `AreaNotCreated` or `CannotPlace`.
    """
    witnesses = list(witnesses)
    readings = [item for item in witnesses if isinstance(item, Reading)]
    absent = tuple(item for item in witnesses if isinstance(item, Absent))
    required = {name[:MAX_NAME]: None for name in require}
    if IOMEM_FEATURE in features:
        _require_iomem(required, absent)
    evidence = _Evidence(readings, absent, features)
    areas: list[CmaArea] = []
    unplaced: list[Unplaced] = []
    for name in [*evidence.names, *(name for name in required if name not in evidence.names)]:
        placed = evidence.place(name, must=name in required)
        if isinstance(placed, CmaArea):
            areas.append(placed)
        else:
            unplaced.append(placed)
    ram, ram_source = _ram(readings)
    areas.sort(key=lambda area: area.range)
    _check_ram(areas, readings)
    _check_overlaps(areas)
    kernel = tuple(part for reading in readings for part in reading.kernel)
    incomplete = evidence.incomplete()
    return MemoryMap(tuple(areas), ram, kernel, tuple(unplaced), absent, ram_source, incomplete)


class _Evidence:
    """All statements by area name, and the witnesses whose silence means something."""

    def __init__(
        self, readings: list[Reading], absent: tuple[Absent, ...], features: Collection[str]
    ) -> None:
        self._readings, self._absent = readings, absent
        self._iomem_lists = IOMEM_FEATURE in features
        self._by_name: dict[str, list[Statement]] = {}
        for reading in readings:
            for claim in reading.claims:
                statements = self._by_name.setdefault(claim.name[:MAX_NAME], [])
                statements.append(Statement(reading, claim))

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def place(self, name: str, *, must: bool) -> CmaArea | Unplaced:
        """The area, or why it is not on the map; raises where ``must``, or on a contradiction."""
        statements = self._by_name.get(name, [])
        ambiguous = _ambiguous(name, statements)
        if ambiguous is not None:
            if must:
                raise ambiguous
            return Unplaced(name, str(ambiguous))
        check_agreement(name, statements)
        failures = self._failures(name)
        inactive = any(_NOT_ACTIVATED in failure.text for failure in failures)
        inactive = inactive or self._listed_by_none(statements)
        if inactive or not any(item.reading.observes for item in statements):
            return self._not_created(name, statements, failures, must=must)
        self._check_silence(name, statements)
        area = _placed(name, statements)
        if area is None or (must and not area.exact):
            if must:
                raise CannotPlace(name, self._why_unplaced(statements))
            if area is None:
                return Unplaced(name, self._why_unplaced(statements))
        return area

    def _listed_by_none(self, statements: list[Statement]) -> bool:
        """Whether two witnesses that list the areas in use, each in its own way, both have not
        listed it: it was reserved, and could not be activated, in whatever words the log says so.
        """
        silent = [
            reading.witness
            for reading in self._readings
            if self._lists_active(reading)
            and all(item.reading is not reading for item in statements)
        ]
        return len(silent) > 1

    def _lists_active(self, reading: Reading) -> bool:
        return reading.witness == "debugfs" or (reading.witness == "iomem" and self._iomem_lists)

    def _failures(self, name: str) -> tuple[Failure, ...]:
        default = any(name in reading.default_areas for reading in self._readings)
        return tuple(
            failure
            for reading in self._readings
            for failure in reading.failures
            if (failure.area or "")[:MAX_NAME] == name or (failure.default_node and default)
        )

    def incomplete(self) -> str:
        """Why nothing follows from the silence of all; empty where something does."""
        if any(reading.coverage in (Coverage.CREATED, Coverage.ALL) for reading in self._readings):
            return ""
        return f"no witness is known to list all areas{self._partial()}{self._missing()}"

    def _not_created(
        self,
        name: str,
        statements: list[Statement],
        failures: tuple[Failure, ...],
        *,
        must: bool,
    ) -> Unplaced:
        silent = [
            reading
            for reading in self._readings
            if reading.coverage in (Coverage.CREATED, Coverage.ALL)
            and not any(item.reading is reading for item in statements)
        ]
        declared = [item.text for item in statements if not item.reading.observes]
        if not silent and not any(failure.decisive for failure in failures):
            reason = self._unseen(declared)
            if must:
                raise CannotPlace(name, reason)
            return Unplaced(name, reason)
        words = "; ".join(declared) or "no device tree or command line read here declares it"
        if silent:
            words += "; not listed by " + ", ".join(f"{r.witness} ({r.source})" for r in silent)
        if must:
            nameless = tuple(f for r in self._readings for f in r.failures if f.area is None)
            raise AreaNotCreated(name, words, failures or nameless)
        return Unplaced(name, words, failures, refused=True)

    def _unseen(self, declared: list[str]) -> str:
        seen = "; ".join(declared) or f"no witness knows it, they know {_names(self.names)}"
        return (
            f"{seen}; no witness of the running kernel says that it exists"
            f"{self._partial()}{self._missing()}"
        )

    def _partial(self) -> str:
        return "".join(
            f"; {reading.witness} is partial ({'; '.join(reading.notes)})"
            for reading in self._readings
            if reading.coverage is Coverage.SOME and reading.notes
        )

    def _missing(self) -> str:
        if not self._absent:
            return ""
        return " (absent: " + ", ".join(f"{a.witness}: {a.reason}" for a in self._absent) + ")"

    def _why_unplaced(self, statements: list[Statement]) -> str:
        said = "; ".join(item.text for item in statements)
        return f"no witness gives its exact range: {said}{self._missing()}"

    def _check_silence(self, name: str, statements: list[Statement]) -> None:
        """A witness that lists every area must list this one."""
        observed = next(item for item in statements if item.reading.observes)
        for reading in self._readings:
            lists_all = reading.coverage is Coverage.ALL or (
                reading.witness == "iomem" and self._iomem_lists
            )
            if not lists_all or any(item.reading is reading for item in statements):
                continue
            if reading.witness == "iomem":
                listed = [claim.name for claim in reading.claims]
                raise MissingIomemLine(name, reading.source, listed)
            silent = (reading.witness, reading.source, "there is no such area")
            raise WitnessDisagreement(name, observed.triple, silent)


_NOT_ACTIVATED = "could not be activated"


def _ambiguous(name: str, statements: list[Statement]) -> AmbiguousArea | None:
    for item in statements:
        same = [other.claim for other in statements if other.reading is item.reading]
        values = list(dict.fromkeys(str(claim) for claim in same))
        if len(values) > 1:
            return AmbiguousArea(name, item.reading.witness, item.reading.source, values)
    return None


def _placed(name: str, statements: list[Statement]) -> CmaArea | None:
    """The range that follows from statements that agree; None where only the existence is known."""
    claims = [item.claim for item in statements]
    who = tuple(dict.fromkeys(item.reading.witness for item in statements))
    based = next((claim for claim in claims if isinstance(claim, Based)), None)
    sizes = _exact_sizes(claims, based)
    for claim in claims:
        if isinstance(claim, Placed):
            return CmaArea(name, claim.range, who)
    if based is not None and sizes:
        return CmaArea(name, AddressRange.from_size(based.base, sizes[0]), who)
    for claim in claims:
        if isinstance(claim, Windowed) and claim.pinned is not None:
            return CmaArea(name, claim.pinned, who)
    if based is not None and based.size.low:
        least = AddressRange.from_size(based.base, based.size.low)
        return CmaArea(name, least, who, exact=False)
    return None


def _exact_sizes(claims: list[Claim], based: Based | None) -> list[int]:
    """The sizes, in bytes, that the claims without an address leave possible, where it is one."""
    exact = [c.size for c in claims if isinstance(c, Exists) and c.size]
    exact += [c.size for c in claims if isinstance(c, Windowed) and not c.rounds_up]
    for claim in claims:
        if isinstance(claim, Windowed) and claim.rounds_up and based is not None:
            possible = [size for size in claim.sizes if based.size.admits(size)]
            exact += possible if len(possible) == 1 else []
    return exact


def _require_iomem(required: Iterable[str], absent: tuple[Absent, ...]) -> None:
    for item in absent:
        for name in required:
            if item.witness == "iomem":
                reason = f"it could not be read: {item.reason}"
                raise MissingIomemLine(name, "/proc/iomem", (), reason)


def _ram(readings: list[Reading]) -> tuple[tuple[AddressRange, ...], str]:
    """The banks of the best witness: iomem, then the live tree, then the device tree on the host.

    A boot loader (QEMU is one) rewrites the memory node, so the device tree on the host counts
    least.
    """
    for witness in ("iomem", "live device tree", "device tree"):
        for reading in readings:
            if reading.witness == witness and reading.ram:
                return merged(reading.ram), reading.source
    return (), ""


def _check_ram(areas: list[CmaArea], readings: list[Reading]) -> None:
    """Areas must lie in the RAM of this boot, and System RAM in what the live tree describes."""
    ram = {r.witness: r for r in readings if r.ram and r.witness in ("iomem", "live device tree")}
    for reading in ram.values():
        banks = merged(reading.ram)
        said = (reading.witness, reading.source, f"RAM is {' and '.join(map(str, banks))}")
        for area in areas:
            if not any(area.range in bank for bank in banks):
                who = (", ".join(area.witnesses), "reconciled", str(area.range))
                raise AreaOutsideRam(area.name, who, said, "the area is not in RAM")
        if reading.witness == "live device tree" and "iomem" in ram:
            for bank in merged(ram["iomem"].ram):
                if not any(bank in other for other in banks):
                    who = ("iomem", ram["iomem"].source, str(bank))
                    raise WitnessDisagreement("System RAM", who, said)


def _check_overlaps(areas: list[CmaArea]) -> None:
    # in address order: where any two overlap, two neighbours do
    for area, following in itertools.pairwise(areas):
        if area.range.overlaps(following.range):
            raise AreasOverlap(area, following)


def _names(items: Iterable[CmaArea | str]) -> str:
    return ", ".join(map(str, items)) or "none"
