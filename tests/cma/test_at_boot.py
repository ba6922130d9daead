# SPDX-License-Identifier: MIT
"""What the areas are before anybody asks them for memory: one booted guest, many witnesses."""

from __future__ import annotations

import re

import pytest

from harness.board import RAM_START
from harness.guest.guest import AREA, Guest
from harness.memory.counters import CmaCounters, parse_meminfo
from harness.memory.debugfs import directory_of
from harness.memory.devicetree import read_dtb
from harness.memory.dmesg import parse_dmesg
from harness.memory.iomem import parse_iomem
from harness.memory.ranges import AddressRange, merged

from .support import DEFAULT_WHOLE, PAGE, WHOLE, assert_calls, counted, needs_no_display, version_of

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.machine("class"),
    pytest.mark.needs("two-areas"),
]

DEFAULT = "linux,cma"
AREAS = {DEFAULT: DEFAULT_WHOLE, AREA: WHOLE}
BOTH = AddressRange(DEFAULT_WHOLE.start, WHOLE.end)
KERNEL_START = 0x80000000
"""Where RAM begins, and where the kernel has mapped it (VMSPLIT_2G)."""
ATOMIC_POOL = AddressRange.from_size(DEFAULT_WHOLE.start, 256 << 10)
"""For coherent DMA in atomic context (arch/arm/mm/dma-mapping.c): the first that is allocated."""
COUNTS_IN_ZONES = 5, 12
"""The first version whose ``/proc/zoneinfo`` has the pages of CMA in each zone."""
CALLS_THEM_BY_NAME = 6, 1
"""From here on (at the latest) an area's directory in debugfs is called as the area is."""
LEVELS = ("PGD", "P4D", "PUD", "PMD", "PTE")
VRAM = AddressRange.from_size(0x4C000000, 8 << 20)


@pytest.mark.needs("debugfs")
class TestWitnesses:
    @pytest.mark.needs("iomem-cma", "cma-sysfs")
    def test_all_of_them_agree_on_exactly_the_two_areas(self, guest: Guest) -> None:
        memory_map = guest.memory_map()
        assert {area.name: area.range for area in memory_map.areas} == AREAS
        assert (memory_map.absent, memory_map.unplaced) == ((), ())
        assert all(area.exact and len(area.witnesses) >= 6 for area in memory_map.areas)

    @pytest.mark.needs("iomem-cma", "cma-sysfs")
    def test_they_call_the_areas_by_the_names_of_the_device_tree_nodes(self, guest: Guest) -> None:
        tree = read_dtb(guest.images.dtb.read_bytes(), "the device tree")
        assert {node.name for node in tree.cma_nodes} == AREAS.keys()
        said = {
            "dmesg": {pool.name for pool in parse_dmesg(guest.run("dmesg").text).pools},
            "debugfs": set(guest.run("ls /sys/kernel/debug/cma").text.split()),
            "sysfs": set(guest.run("ls /sys/kernel/mm/cma").text.split()),
            "iomem": {name for name, _ in _cma_lines(guest)},
        }
        if version_of(guest.images) < CALLS_THEM_BY_NAME:
            assert said.pop("debugfs") == {directory_of(name) for name in AREAS}
        assert said == dict.fromkeys(said, AREAS.keys())

    def test_the_log_has_each_base_as_debugfs_has_it(self, guest: Guest) -> None:
        log = parse_dmesg(guest.run("dmesg").text)
        bases = {area.name: area.bases for area in guest.cma().areas.values()}
        assert {pool.name: (pool.base,) for pool in log.pools} == bases
        assert {pool.name: pool.size.low for pool in log.pools} == _sizes()
        assert log.failures == ()

    def test_debugfs_counts_all_pages_each_with_a_bit_of_its_own(self, guest: Guest) -> None:
        areas = guest.cma().areas
        assert {name: area.range for name, area in areas.items()} == AREAS
        assert {area.order_per_bit for area in areas.values()} == {0}


@pytest.mark.needs("iomem-cma")
class TestIomem:
    def test_the_bank_that_has_the_areas_lists_them_and_the_kernel_only(self, guest: Guest) -> None:
        (bank,) = parse_iomem(guest.read_text("/proc/iomem")).named("System RAM")
        names = [child.name for child in bank.children]
        assert names == ["Kernel code", "Kernel data", DEFAULT, AREA]
        assert all(child.children == () for child in bank.children)

    def test_each_line_ends_with_the_last_byte_of_its_area(self, guest: Guest) -> None:
        assert _cma_lines(guest) == [
            (DEFAULT, (0x69000000, 0x697FFFFF)),
            (AREA, (0x69800000, 0x69FFFFFF)),
        ]

    def test_nothing_but_the_two_lines_is_within_the_areas(self, guest: Guest) -> None:
        iomem = parse_iomem(guest.read_text("/proc/iomem"))
        inside = [r.name for r in iomem.walk() if r.range.overlaps(BOTH)]
        assert inside == ["System RAM", DEFAULT, AREA]


class TestAccounts:
    @pytest.mark.needs("debugfs")
    def test_cma_total_is_the_sum_of_the_areas(self, guest: Guest) -> None:
        state = guest.cma()
        assert state.meminfo.total == sum(area.size for area in state.areas.values()) == BOTH.size
        if version_of(guest.images) >= COUNTS_IN_ZONES:
            zones = re.findall(r"^ +cma +(\d+)$", guest.read_text("/proc/zoneinfo"), re.MULTILINE)
            assert sum(map(int, zones)) * PAGE == BOTH.size

    def test_the_areas_are_part_of_all_memory(self, guest: Guest) -> None:
        """What could be had before they were activated, and they; not less."""
        log = guest.run("dmesg").text
        match = re.search(r"Memory: (\d+)K/\d+K available .* (\d+)K cma-reserved", log)
        if match is None:
            pytest.skip("needs the kernel's own account of its memory: not in dmesg")
        words = guest.read_text("/proc/meminfo").split()
        assert int(words[words.index("MemTotal:") + 1]) >= int(match[1]) + int(match[2])

    @pytest.mark.needs("debugfs")
    def test_all_that_is_not_allocated_is_free(self, guest: Guest) -> None:
        state = counted(guest)
        used = sum(state.used(name) for name in AREAS)
        assert state.meminfo.free == state.meminfo.total - used
        assert state.vmstat["nr_free_cma"] * PAGE == state.meminfo.free

    @pytest.mark.needs("debugfs")
    def test_the_default_area_has_served_the_atomic_pool_and_nothing_else(
        self, guest: Guest
    ) -> None:
        needs_no_display(guest)
        state = guest.cma()
        assert state.reserved == {DEFAULT: (ATOMIC_POOL,), AREA: ()}
        assert_calls(guest, state, None, 1, 0)

    @pytest.mark.needs("debugfs", "cma-sysfs")
    def test_sysfs_counts_what_was_allocated_at_boot(self, guest: Guest) -> None:
        needs_no_display(guest)
        counters = guest.cma().counters
        released = counters[AREA].released  # from 6.10 on
        assert released in (0, None)
        pool = ATOMIC_POOL.size // PAGE
        assert counters == {
            DEFAULT: CmaCounters(DEFAULT, pool, 0, released),
            AREA: CmaCounters(AREA, 0, 0, released),
        }

    def test_the_boot_allocator_reserved_exactly_the_areas(self, guest: Guest) -> None:
        """Reserved until they were activated, so that nothing else of the boot is in them."""
        path = "/sys/kernel/debug/memblock/reserved"
        if guest.run(f"[ -e {path} ]", check=False).status:
            pytest.skip(f"needs {path} (CONFIG_DEBUG_FS=y): this kernel does not have it")
        text = guest.read_text(path)
        found = re.findall(r"\d+: 0x(\w+)\.\.0x(\w+)", text)
        places = [AddressRange.from_inclusive(int(a, 16), int(b, 16)) for a, b in found]
        assert merged(p for p in places if p.overlaps(BOTH)) == (BOTH,)


class TestOtherReservedMemory:
    def test_the_device_tree_has_some(self, guest: Guest) -> None:
        """Otherwise the tests below prove nothing."""
        assert guest.run("ls -d /proc/device-tree/reserved-memory/vram@4c000000").status == 0
        assert "vram@4c000000" in guest.run("dmesg").text

    @pytest.mark.needs("debugfs")
    def test_it_is_no_cma_area_for_anybody(self, guest: Guest) -> None:
        memory_map = guest.memory_map()
        assert not memory_map.overlapping(VRAM)
        assert not any(VRAM.overlaps(bank) for bank in memory_map.ram)
        assert not any("vram" in name for name in guest.cma().areas)
        iomem = parse_iomem(guest.read_text("/proc/iomem"))
        assert not any("vram" in resource.name for resource in iomem.walk())


@pytest.mark.needs("page-tables")
class TestKernelMappings:
    """ARM maps an area apart from the memory around it, in pages of 4 KiB: only then can memory
    for coherent DMA become uncached in the kernel's own mapping too. The call for that must come
    before the page tables are made (commit 2c223f7239f3).
    """

    @pytest.mark.parametrize("area", AREAS)
    def test_every_page_of_an_area_has_an_entry_of_its_own(self, guest: Guest, area: str) -> None:
        pages = merged(place for place, kind, _ in with_levels(guest) if kind == "PTE")
        assert any(AREAS[area] in place for place in pages), pages

    def test_the_memory_around_the_areas_is_mapped_in_sections(self, guest: Guest) -> None:
        sections = [place for place, kind, _ in with_levels(guest) if kind != "PTE"]
        assert not any(place.overlaps(BOTH) for place in sections)
        edges = (BOTH.start - PAGE, BOTH.end)
        assert all(any(edge in place for place in sections) for edge in edges)

    def test_the_areas_are_cached_and_writable_and_never_executed(self, guest: Guest) -> None:
        cached = merged(
            place
            for place, _, flags in mappings(guest)
            if {"RW", "NX"} <= flags and any("/CACHED/" in flag for flag in flags)
        )
        assert any(WHOLE in place for place in cached)
        held = merged(place for place, _, flags in mappings(guest) if {"RW", "NX"} <= flags)
        assert any(DEFAULT_WHOLE in place for place in held)
        # In the default area what drivers have taken for coherent DMA is not: the pool, and more
        # where the kernel drives the display.
        inside = [place.intersection(DEFAULT_WHOLE) for place in cached]
        uncached = DEFAULT_WHOLE.size - sum(place.size for place in inside if place is not None)
        meminfo = parse_meminfo(guest.read_text("/proc/meminfo"))
        assert meminfo is not None
        assert uncached <= meminfo.total - meminfo.free

    def test_memory_for_coherent_dma_is_not_cached(self, guest: Guest) -> None:
        """What the remapping is for: the atomic pool, in the very mapping of the kernel."""
        (flags,) = [flags for place, _, flags in mappings(guest) if place == ATOMIC_POOL]
        assert {"RW", "NX"} <= flags
        assert not any("CACHED" in flag for flag in flags)


def _sizes() -> dict[str, int]:
    return {name: place.size for name, place in AREAS.items()}


def _cma_lines(guest: Guest) -> list[tuple[str, tuple[int, int]]]:
    """Name, first and last byte of what ``/proc/iomem`` has in RAM beside the kernel."""
    iomem = parse_iomem(guest.read_text("/proc/iomem"))
    kernel = {part.name for part in iomem.kernel}
    inside = [child for bank in iomem.named("System RAM") for child in bank.children]
    return [(r.name, (r.range.start, r.range.last)) for r in inside if r.name not in kernel]


def with_levels(guest: Guest) -> list[tuple[AddressRange, str, set[str]]]:
    """`mappings`, where the kernel tells the level."""
    found = mappings(guest)
    if not any(level in LEVELS for _, level, _ in found):
        pytest.skip("needs the level of each entry: not in this kernel's kernel_page_tables")
    return found


def mappings(guest: Guest) -> list[tuple[AddressRange, str, set[str]]]:
    """The kernel's mapping of RAM: physical range, level (PTE: pages), attributes."""
    text = guest.read_text("/sys/kernel/debug/kernel_page_tables")
    _, _, mapping = text.partition("---[ Kernel Mapping ]---")
    found = []
    for line in mapping.partition("---[")[0].splitlines():
        if match := re.match(r"0x(\w+)-0x(\w+) +\S+ (\w+) +(.*)", line):
            start, end = (int(word, 16) - KERNEL_START + RAM_START for word in match.groups()[:2])
            found.append((AddressRange(start, end), match[3], set(match[4].split())))
    assert found, text
    return found
