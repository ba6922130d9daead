# SPDX-License-Identifier: MIT
"""What CMA areas and the driver promise, as a state machine: it knows no guest.

Placement is the first fit of ``cma_alloc()`` (``mm/cma.c``); what a release, a mapping or the end
of a process does is the driver's interface (``images/module/cma.c``). An operation has numbers
only: a region is named by its place in a list, taken modulo the list's length, so that each
operation means something in every state, and a sequence stays one when operations are taken out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.explore.areas import PAGE, AreaModel, AreaSpec, Region
from harness.explore.pressure import KINDS, PressureModel
from harness.guest.application import pattern

CHILDREN = 3
"""Children that an application may have at once."""
SLOW = 16
"""Pages that debugfs is asked for, at most, while a page is pinned."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation: its name and its numbers."""

    name: str
    numbers: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation in one state: who is asked what, and what must be answered."""

    operation: Operation
    application: int | None
    """Number of the application that gets `command`; None: the shell."""
    command: str
    expected: str
    """The right answer, or how it begins, in whole words."""
    told: bool = False
    """What follows depends on the rest of the answer: `Model.learn` must have it."""


@dataclasses.dataclass(frozen=True)
class _Child:
    """A process that an application has forked; it does nothing."""

    number: int
    mapped: tuple[Region, ...]
    """What it has mappings of, once for each."""


class Model(PressureModel):
    """All areas and openers. `apply` makes one operation; what it must answer is in the step."""

    def __init__(
        self,
        areas: Sequence[AreaSpec],
        openers: Sequence[int],
        host: bytes,
        pressure: bool = True,
    ) -> None:
        """`openers` has for each application the number of its area; `host` is what every page of
        an area holds before anybody has it. Without `pressure` its operations are nothing.
        """
        super().__init__([AreaModel(spec) for spec in areas], pressure)
        self.openers = list(openers)
        self.regions: list[list[Region]] = [[] for _ in openers]
        self.ended: set[int] = set()
        """Applications that were killed."""
        self.children: list[list[_Child]] = [[] for _ in openers]
        """Processes that have an application's open file beside it."""
        self._forks = 0
        self._contents = [bytearray(host * spec.pages) for spec in areas]
        self._nonce = 0

    def contents(self, area: int) -> bytes:
        """Every byte of an area, as the host must find it."""
        return bytes(self._contents[area])

    @property
    def calls(self) -> tuple[int, int]:
        """Allocations that succeeded and failed, in all areas (``/proc/vmstat``)."""
        return sum(area.successes for area in self.areas), sum(a.failures for a in self.areas)

    def apply(self, operation: Operation) -> Step | None:
        """What the operation is in this state, and the state after it; None where it is nothing
        (its application has ended). Raises `ValueError` for one that does not exist.
        """
        method = getattr(self, f"_do_{operation.name}", None)
        if method is None or operation.name not in OPERATIONS:
            raise ValueError(f"{operation.name} is no operation")
        arguments = OPERATIONS[operation.name]
        if len(operation.numbers) != len(arguments):
            raise ValueError(f"{operation.name} takes {', '.join(arguments)}")
        if arguments[0] == "application":
            application = operation.numbers[0] % len(self.openers)
            if application in self.ended:
                return None
            made = method(application, *operation.numbers[1:])
        else:
            application = None
            number = operation.numbers[0]
            choices = len(KINDS if arguments[0] == "kind" else self.areas)
            made = method(number % choices, *operation.numbers[1:])
        if made is None:
            return None
        command, expected = made
        return Step(operation, application, command, expected, told=operation.name == "pin")

    # The driver's interface

    def _area(self, application: int) -> AreaModel:
        return self.areas[self.openers[application]]

    def _do_alloc(self, application: int, count: int) -> tuple[str, str]:
        area = self._area(application)
        if count == 0:
            return "alloc 0", "error EINVAL"
        # More than the area has: a kernel that tells the driver its size lets it refuse by itself.
        count = min(count, area.spec.pages)
        command = f"alloc {count * PAGE}"
        first = area.alloc(count)
        if first is None:
            return command, "error ENOMEM"
        region = Region(first, count)
        self.regions[application].append(region)
        self._write(self.openers[application], region, None)
        return command, f"ok {area.address(first):#x} {count * PAGE:#x}"

    def _region(self, application: int, index: int) -> Region | None:
        own = self.regions[application]
        return own[index % len(own)] if own else None

    def _named(self, application: int, region: Region) -> str:
        return f"{self._area(application).address(region.first)} {region.count * PAGE}"

    def _do_release(self, application: int, index: int) -> tuple[str, str] | None:
        region = self._region(application, index)
        if region is None:
            return None
        command = f"release {self._named(application, region)}"
        if region.mappings or region.inherited:
            return command, "error EBUSY"
        self.regions[application].remove(region)
        self._area(application).release(region.first, region.count)
        return command, "ok"

    def _do_release_part(
        self, application: int, index: int, skipped: int, count: int
    ) -> tuple[str, str] | None:
        """Some pages of a region, or some beside it; never exactly it."""
        region = self._region(application, index)
        if region is None:
            return None
        first, count = region.first + skipped, max(count, 1)
        if (first, count) == (region.first, region.count):
            return None
        if any((r.first, r.count) == (first, count) for r in self.regions[application]):
            return None
        address = self._area(application).address(first)
        return f"release {address} {count * PAGE}", "error EINVAL"

    def _do_release_foreign(
        self, application: int, owner: int, index: int
    ) -> tuple[str, str] | None:
        """Another opener's region, or one that nobody has any more."""
        owner %= len(self.openers)
        region = self._region(owner, index)
        if owner == application or region is None:
            return None
        return f"release {self._named(owner, region)}", "error EINVAL"

    def _do_map(
        self, application: int, index: int, skipped: int, count: int
    ) -> tuple[str, str] | None:
        region = self._region(application, index)
        if region is None:
            return None
        first = skipped % region.count
        count = 1 + count % (region.count - first)
        region.mappings.insert(0, (first, count))
        address = self._area(application).address(region.first + first)
        return f"mmap {address} {count * PAGE}", "ok"

    def _do_map_foreign(self, application: int, owner: int, index: int) -> tuple[str, str] | None:
        owner %= len(self.openers)
        region = self._region(owner, index)
        if owner == application or region is None:
            return None
        return f"mmap {self._named(owner, region)}", "error EINVAL"

    def _do_unmap(self, application: int, index: int) -> tuple[str, str] | None:
        mapped = [region for region in self.regions[application] if region.mappings]
        if not mapped:
            return None
        region = mapped[index % len(mapped)]
        first, _ = region.mappings.pop(0)
        # The application ends the newest mapping that begins there: the first in the list.
        address = self._area(application).address(region.first + first)
        return f"munmap {address}", "ok"

    def _do_fill(self, application: int, index: int) -> tuple[str, str] | None:
        region = self._region(application, index)
        if region is None:
            return None
        self._nonce += 1
        self._write(self.openers[application], region, self._nonce)
        return f"fill {self._nonce:x} {self._named(application, region)}", "ok"

    def _do_check(self, application: int, index: int) -> tuple[str, str] | None:
        region = self._region(application, index)
        if region is None:
            return None
        named = self._named(application, region)
        if region.nonce is None:
            return f"zero {named}", "ok"
        return f"check {region.nonce:x} {named}", "ok"

    def _do_reopen(self, application: int) -> tuple[str, str] | None:
        """Closes the open file and opens the device again: what it had ends, unless it is mapped
        or a child has it too.
        """
        if self.children[application] or any(r.mappings for r in self.regions[application]):
            return None
        self._end(application)
        return "reopen", "ok"

    def _do_kill(self, application: int) -> tuple[str, str] | None:
        if self.children[application]:
            return None
        self._end(application)
        self.ended.add(application)
        return "", "gone"

    def _do_fork(self, application: int) -> tuple[str, str] | None:
        """A child has all mappings too, and the open file."""
        if len(self.children[application]) == CHILDREN:
            return None
        regions = self.regions[application]
        child = _Child(self._forks, tuple(r for r in regions for _ in r.mappings))
        for region in child.mapped:
            region.inherited += 1
        self._forks += 1
        self.children[application].append(child)
        return f"fork {child.number}", "ok"

    def _do_reap(self, application: int, index: int) -> tuple[str, str] | None:
        """A child ends, with its mappings."""
        children = self.children[application]
        if not children:
            return None
        child = children.pop(index % len(children))
        for region in child.mapped:
            region.inherited -= 1
        return f"reap {child.number}", "ok"

    def _do_reload(self, _area: int) -> tuple[str, str]:
        """rmmod, and insmod again: refused as long as anybody has the device open."""
        return "reload", "ok" if len(self.ended) == len(self.openers) else "busy"

    def _end(self, application: int) -> None:
        for region in self.regions[application]:
            self._area(application).release(region.first, region.count)
        self.regions[application] = []

    # debugfs (mm/cma_debug.c)

    def _do_debug_alloc(self, area: int, count: int) -> tuple[str, str]:
        model = self.areas[area]
        count = min(max(count, 1), model.spec.pages)
        if model.pinned:
            # The kernel tries each place that has a pinned page, one page on each time.
            count = min(count, SLOW)
        first = model.alloc(count, 1)
        command = f"echo {count} >alloc"
        if first is None:
            return f"{model.spec.name} {command}", "error"
        model.debug.insert(0, (first, count))
        return f"{model.spec.name} {command}", "ok"

    def _do_debug_free(self, area: int, count: int) -> tuple[str, str]:
        model, left = self.areas[area], max(count, 1)
        command = f"{model.spec.name} echo {left} >free"
        while left and model.debug:
            first, size = model.debug.pop(0)
            model.release(first, min(left, size))
            if size > left:
                model.debug.insert(0, (first + left, size - left))
            left -= min(left, size)
        return command, "ok"

    def _do_look(self, area: int) -> tuple[str, str]:
        """What debugfs says of the area."""
        model = self.areas[area]
        return f"{model.spec.name} read -r n <used && echo", f"ok {model.used}"

    def _write(self, area: int, region: Region, nonce: int | None) -> None:
        region.nonce = nonce
        length = region.count * PAGE
        data = bytes(length) if nonce is None else pattern(nonce, length)
        start = region.first * PAGE
        self._contents[area][start : start + length] = data
        self.areas[area].unknown.difference_update(range(region.first, region.first + region.count))


def effective(model: Model, operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations without those that are nothing in the state that they meet; but what follows
    a pin is kept, since that state depends on the page.
    """
    kept, told = [], False
    for operation in operations:
        step = model.apply(operation)
        told = told or (step is not None and step.told)
        if step is not None or told:
            kept.append(operation)
    return tuple(kept)


OPERATIONS: dict[str, tuple[str, ...]] = {
    "alloc": ("application", "pages"),
    "release": ("application", "region"),
    "release_part": ("application", "region", "skipped", "pages"),
    "release_foreign": ("application", "owner", "region"),
    "map": ("application", "region", "skipped", "pages"),
    "map_foreign": ("application", "owner", "region"),
    "unmap": ("application", "region"),
    "fill": ("application", "region"),
    "check": ("application", "region"),
    "reopen": ("application",),
    "kill": ("application",),
    "fork": ("application",),
    "reap": ("application", "region"),
    "debug_alloc": ("area", "pages"),
    "debug_free": ("area", "pages"),
    "look": ("area",),
    "reload": ("area",),
    "pressure": ("kind",),
    "pin": ("area", "pages"),
    "unpin": ("kind",),
    "relief": ("kind",),
}
"""Each operation's numbers, by what they mean."""
