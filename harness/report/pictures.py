# SPDX-License-Identifier: MIT
"""What a run says, as pictures: the memory map with its allocation, and the boot's timeline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from harness import board
from harness.memory.memorymap import MemoryMap
from harness.memory.ranges import AddressRange, human_size
from harness.plaintext import line
from harness.report import bar

_STAMP = re.compile(r"\[ *(\d+\.\d{6})\] (.*)")
MILESTONES = (
    ("the kernel starts", re.compile(r"Booting Linux on physical CPU")),
    ("CMA areas are reserved", re.compile(r"created CMA memory pool|OF: reserved mem: .*reusable")),
    ("memory is set up", re.compile(r"^Memory: .*available")),
    ("the clock runs", re.compile(r"^sched_clock: ")),
    ("the DMA pool is allocated", re.compile(r"^DMA: preallocated")),
    ("network protocols start", re.compile(r"^NET: Registered PF_INET ")),
    ("the root image is unpacked", re.compile(r"Unpacking initramfs|unpack rootfs image")),
    ("drivers start", re.compile(r"^Freeing initrd memory")),
    ("serial lines work", re.compile(rf"{board.LOG} at MMIO")),
    ("init starts", re.compile(r"^Run \S+ as init process")),
    ("the driver is loaded", re.compile(r"^Find CMA:")),
)
"""What a kernel's log tells of its boot, in the order in which it happens: from 5.0 to 7.3."""


def memory_map(
    found: MemoryMap, allocations: Iterable[AddressRange] = (), expected: str = ""
) -> Markup:
    """The map to scale, with what was allocated in it."""
    parts = [_part("RAM", span, "holds") for span in found.ram]
    parts += [_part(item.name, item.range, "other") for item in found.kernel]
    for area in found.areas:
        note = "expected" if area.name == expected else ""
        parts.append(_part(area.name, area.range, "cma", note))
    parts += [_part("allocation", place, "allocation") for place in allocations]
    scope = min(part.start for part in parts), max(part.end for part in parts)
    return bar.draw("Physical memory of the guest", parts, scope, bar.height_for(parts))


def _part(name: str, span: AddressRange, kind: str, note: str = "") -> bar.Part:
    place = f"{span} {human_size(span.size)}"
    return bar.Part(span.start, span.end, kind, (line(name), place, *([note] if note else [])))


def milestones(log: str) -> list[tuple[float, str]]:
    """Seconds of the kernel's clock at which each of `MILESTONES` is first seen, in their order;
    those that the log does not have are left out.
    """
    rows = [(float(m[1]), m[2]) for m in map(_STAMP.search, log.splitlines()) if m]
    found = [
        (next((time for time, text in rows if pattern.search(text)), None), name)
        for name, pattern in MILESTONES
    ]
    known = [(time, name) for time, name in found if time is not None]
    return sorted(known, key=lambda point: point[0])


def boot(log: str, title: str = "The boot, by the kernel's own clock") -> Markup | None:
    """The timeline of a boot; None for a log that tells too little."""
    return timeline(milestones(log), title)


def timeline(points: Sequence[tuple[float, str]], title: str) -> Markup | None:
    """A bar from the first to the last point of time, in seconds; each names what begins there."""
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    ends = [time for time, _ in points[1:]] + [points[-1][0]]
    parts = []
    for number, ((start, name), end) in enumerate(zip(points, ends, strict=True)):
        kind = "cma" if "CMA" in name or "driver is" in name else ("other", "holding")[number % 2]
        span = f"at {start:.3f} s" + (f", {1000 * (end - start):.0f} ms" if end > start else "")
        parts.append(bar.Part(start, end, kind, (line(name), span)))
    return bar.draw(title, parts, (points[0][0], points[-1][0]), bar.height_for(parts))
