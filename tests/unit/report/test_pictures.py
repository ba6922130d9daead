# SPDX-License-Identifier: MIT
"""The memory map and the boot's timeline as pictures, from logs of real kernels."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from harness.memory.memorymap import MemoryMap
from harness.memory.model import CmaArea, NamedRange
from harness.memory.ranges import AddressRange
from harness.report import bar, pictures

CAPTURES = Path(__file__).parents[1] / "memory" / "captures"
SVG = "{http://www.w3.org/2000/svg}"
MIB = 1 << 20


def area(name: str, start: int) -> CmaArea:
    return CmaArea(name, AddressRange.from_size(start, 8 * MIB), ("dmesg",))


MAP = MemoryMap(
    (area("linux,cma", 0x69000000), area("BiscuitOS_cma", 0x69800000)),
    (AddressRange.from_size(0x60000000, 512 * MIB),),
    (NamedRange("Kernel code", AddressRange(0x60008000, 0x60800000)),),
)


def texts(drawing: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", drawing)


def test_the_map_has_every_area_and_the_allocation_in_its_place() -> None:
    place = AddressRange.from_size(0x69800000, MIB)
    drawing = pictures.memory_map(MAP, [place], "BiscuitOS_cma")
    said = texts(drawing)
    assert said[said.index("BiscuitOS_cma") + 1 :][:2] == [
        "0x69800000-0x69ffffff 8 MiB",
        "expected",
    ]
    assert said[said.index("allocation") + 1] == "0x69800000-0x698fffff 1 MiB"
    assert {"RAM", "Kernel code", "linux,cma"} <= set(said)
    assert drawing.count('class="area cma"') == 2


def test_a_name_of_the_guest_s_is_text() -> None:
    found = MemoryMap((area("<script>x\x1b[0m", 0x69000000),), MAP.ram)
    drawing = pictures.memory_map(found)
    assert "<script>" not in drawing
    assert "\x1b" not in drawing


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_a_boot_s_stages_are_in_the_order_of_their_time(release: str) -> None:
    log = (CAPTURES / release / "dmesg.txt").read_text()
    points = pictures.milestones(log)
    assert [time for time, _ in points] == sorted(time for time, _ in points)
    assert points[0][1] == "the kernel starts"
    assert "CMA areas are reserved" in [name for _, name in points]


def test_the_timeline_is_to_scale() -> None:
    drawing = pictures.timeline([(0.0, "a"), (0.5, "b"), (2.0, "c")], "a boot")
    assert drawing is not None
    heights = [
        float(found) for found in re.findall(r'class="area \w+"[^>]* height="([\d.]+)"', drawing)
    ]
    assert max(heights) == pytest.approx(3 * sorted(heights)[-2])
    assert texts(drawing)[:2] == ["a", "at 0.000 s, 500 ms"]


@pytest.mark.parametrize(
    "log", ["", "no stamps\n", "[    1.000000] Booting Linux on physical CPU 0\n"]
)
def test_a_log_that_tells_too_little_gives_no_picture(log: str) -> None:
    assert pictures.boot(log) is None


def test_a_picture_of_its_own_is_well_formed_and_loads_nothing() -> None:
    text = bar.standalone(pictures.memory_map(MAP))
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    (style,) = root.iter(f"{SVG}style")
    assert "prefers-color-scheme: dark" in str(style.text)
    assert "url(" not in text
    assert text.count("http") == 1, "the name space, and no other address"
