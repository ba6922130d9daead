# SPDX-License-Identifier: MIT
"""The device tree of a layout: a board's own, with its CMA nodes replaced by the layout's.

All of them are the ``memory-region`` of one node, by which a driver without any export finds them.
"""

from __future__ import annotations

from harness.errors import BuildError
from harness.host.process import capture
from harness.memory.devicetree import read_dtb

from .model import Area, Layout

FIRST_HANDLE = 0x1000
"""``phandle`` of the first area; the board's own are small numbers."""


def layout_dtb(board: bytes, layout: Layout) -> bytes:
    """The blob of `layout` on the board whose blob is `board`. Raises `BuildError`."""
    source = _dtc(["-I", "dtb", "-O", "dts"], board)
    old = [f"\t\t/delete-node/ {node.name};" for node in read_dtb(board).cma_nodes]
    lines = ["", "/ {", "\treserved-memory {", *old]
    for number, area in enumerate(layout.areas, FIRST_HANDLE):
        properties = [*_properties(area), f"phandle = <{number:#x}>;"]
        lines += [f"\t\t{area.name} {{", *(f"\t\t\t{line}" for line in properties), "\t\t};"]
    handles = " ".join(f"{FIRST_HANDLE + number:#x}" for number in range(len(layout.areas)))
    user = ["\tcma-demo {", f"\t\tmemory-region = <{handles}>;", "\t};"]
    text = "\n".join([*lines, "\t};", *user, "};", ""])
    return _dtc(["-I", "dts", "-O", "dtb"], source + text.encode())


def _properties(area: Area) -> list[str]:
    begin = f"{area.malformed} = <"
    return [
        line.replace(begin, f"{begin}0 ") if area.malformed and line.startswith(begin) else line
        for line in _well_formed(area)
    ]


def _well_formed(area: Area) -> list[str]:
    lines = [f'compatible = "{area.compatible}";'] if area.compatible else []
    if area.reusable:
        lines.append("reusable;")
    if area.default:
        lines.append("linux,cma-default;")
    if not area.mapped:
        lines.append("no-map;")
    if not area.enabled:
        lines.append('status = "disabled";')
    if area.at is not None:
        tuples = [(area.at, area.size), *((place.start, place.size) for place in area.more)]
        lines.append(f"reg = <{_cells(tuples)}>;")
        return lines
    lines.append(f"size = <{area.size:#x}>;")
    if area.alignment is not None:
        cells = [0] * (area.alignment_cells - 1) + [area.alignment]
        lines.append(f"alignment = <{' '.join(map(hex, cells))}>;")
    if area.windows:
        tuples = [(place.start, place.size) for place in area.windows]
        lines.append(f"alloc-ranges = <{_cells(tuples)}>;")
    return lines


def _cells(tuples: list[tuple[int, int]]) -> str:
    return " ".join(f"{start:#x} {size:#x}" for start, size in tuples)


def _dtc(words: list[str], data: bytes) -> bytes:
    status, output, errors = capture(["dtc", "-q", *words, "-"], data=data)
    if status != 0:
        raise BuildError(f"dtc cannot compile the layout: {errors.strip()}")
    return output
