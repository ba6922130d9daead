# SPDX-License-Identifier: MIT
"""What the allocator and the reserved memory core promise to callers that our driver is not: calls
with pages that are not the caller's own, and devices whose node names an area.

A test module makes the calls (``images/module/cma_calls.c``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fdt
import pytest

from harness.guest.guest import AREA, Guest
from harness.machine.config import MachineConfig
from harness.memory.ranges import AddressRange, merged
from harness.pytest_plugin.boots import Boots

from .support import (
    DEFAULT_WHOLE,
    PAGE,
    PAGES,
    WHOLE,
    allocated,
    assert_all_is_free,
    pages,
    version_of,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("agent", "two-areas", "debugfs", "cma-calls", "driver"),
]
DEFAULT = "linux,cma"
CALL = "/sys/module/cma_calls/parameters/call"
MIB = 1 << 20
ROUNDS = 50
"""Of memory that is taken and given back, so that what stays away shows."""
FIRST = WHOLE.start // PAGE
"""Page frame number of the first page of BiscuitOS_cma."""
NO_DEVICE, NO_MEMORY, BUSY = -19, -12, -16
DMA_PAGES = (5, 10)
"""The first version that has dma_alloc_pages()."""
OF_RANGES = (6, 15)
"""From here on an area can be of several ranges; one that has no room in any is busy."""
FAILED = re.compile(r"alloc failed, req-size: (\d+) pages, ret: (-?\d+)")
COUNTS = (7, 3)
"""From here on, at the latest, pages behind an area's end are refused (find_cma_memrange())."""


def hexadecimal(answer: str) -> int:
    """A number of the module's: anything else (``null``) is the kernel's failure, not ours."""
    assert re.fullmatch("0x[0-9a-f]+", answer), answer
    return int(answer, 16)


Boot = Callable[[str], Guest]


class Calls:
    """The test module in a guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        guest.run("insmod /lib/modules/$(uname -r)/extra/cma_calls.ko")

    def __call__(self, text: str) -> str:
        """One call; its answer."""
        return self._guest.run(f"echo '{text}' >{CALL} && cat {CALL}").text.strip()

    def alloc(self, count: int, order: int = 0, area: str = AREA) -> int:
        """Allocates pages; the first one's number."""
        return hexadecimal(self(f"alloc {area} {count} {order}"))

    def coherent(self, size: int) -> AddressRange:
        """Coherent memory for the module's device; gives it back."""
        found = AddressRange.from_size(hexadecimal(self(f"coherent {size}")), size)
        assert self("free") == "ok"
        return found

    @contextlib.contextmanager
    def pages(self, size: int) -> Iterator[AddressRange]:
        """Pages for the module's device, by dma_alloc_pages()."""
        yield AddressRange.from_size(hexadecimal(self(f"pages {size}")), size)
        assert self("put") == "ok"


def free_memory(guest: Guest) -> int:
    """Bytes that nobody uses."""
    found = re.search(r"MemFree: +(\d+) kB", guest.run("cat /proc/meminfo").text)
    assert found is not None
    return int(found[1]) << 10


@pytest.fixture
def calls(guest: Guest) -> Calls:
    """The module, loaded."""
    return Calls(guest)


class TestRelease:
    @pytest.mark.parametrize(
        ("first", "count"),
        [
            (0, 1),
            (FIRST - 1, 1),
            (FIRST + PAGES, 1),
            (DEFAULT_WHOLE.start // PAGE, 1),
            (0x70000, 1),
            (FIRST, PAGES + 1),
        ],
        ids=["none", "before", "behind", "other-area", "ordinary", "more-than-all"],
    )
    def test_pages_that_are_not_of_the_area_are_refused(
        self, guest: Guest, calls: Calls, first: int, count: int
    ) -> None:
        if count > PAGES and version_of(guest.images) < COUNTS:
            pytest.skip("this kernel looks at the first page alone")
        before = guest.allocated(DEFAULT)
        assert calls.alloc(4) == FIRST
        assert calls(f"release {AREA} {first:#x} {count}") == "false"
        assert allocated(guest) == (pages(0, 4),)
        assert guest.allocated(DEFAULT) == before
        assert calls(f"release {AREA} {FIRST:#x} 4") == "true"
        assert_all_is_free(guest)

    def test_the_last_page_of_an_area_is_its_own(self, guest: Guest, calls: Calls) -> None:
        assert calls.alloc(PAGES) == FIRST
        assert calls(f"release {AREA} {FIRST + PAGES - 1:#x} 1") == "true"
        assert allocated(guest) == (pages(0, PAGES - 1),)
        assert calls(f"release {AREA} {FIRST:#x} {PAGES - 1}") == "true"
        assert_all_is_free(guest)

    def test_pages_of_no_area_at_all_are_refused(self, guest: Guest, calls: Calls) -> None:
        """A device that names no area has the default one: BiscuitOS_cma is not it."""
        assert calls.alloc(1) == FIRST
        assert calls(f"release no-such-area {FIRST:#x} 1") == "false"
        assert allocated(guest) == (pages(0),)


class TestAlloc:
    @pytest.mark.parametrize("count", [0, PAGES + 1, 0x7FFFFFFF])
    def test_what_cannot_be_had_is_not_given(self, guest: Guest, calls: Calls, count: int) -> None:
        assert calls(f"alloc {AREA} {count} 0") == "null"
        assert allocated(guest) == ()

    def test_a_failure_is_logged_for_those_who_want_that(self, guest: Guest, calls: Calls) -> None:
        guest.run("dmesg -c >/dev/null")
        assert calls.alloc(PAGES) == FIRST
        assert calls(f"alloc {AREA} 3 0") == "null"
        assert FAILED.findall(guest.run("dmesg").text) == []
        assert calls(f"warned {AREA} 3 0") == "null"
        (logged,) = FAILED.findall(guest.run("dmesg -c").text)
        error = BUSY if version_of(guest.images) >= OF_RANGES else NO_MEMORY
        assert logged == ("3", str(error))
        assert calls(f"release {AREA} {FIRST:#x} 5") == "true"
        assert calls(f"warned {AREA} 3 0") == f"{FIRST:#x}"
        assert FAILED.findall(guest.run("dmesg").text) == []

    @pytest.mark.parametrize(("order", "first"), [(0, 1), (1, 2), (3, 8), (8, 256), (12, 256)])
    def test_the_alignment_is_that_which_was_asked_for_up_to_1_mib(
        self, calls: Calls, order: int, first: int
    ) -> None:
        assert calls.alloc(1) == FIRST
        assert calls.alloc(1, order) == FIRST + first
        assert calls.alloc(2) == FIRST + (1 if first > 2 else 3 if first == 2 else 2)


class TestNoArea:
    """A device without an area of its own."""

    @pytest.mark.needs("module-areas")
    def test_it_is_served_by_the_default_area(self, guest: Guest, calls: Calls) -> None:
        taken = guest.allocated(DEFAULT)
        first = hexadecimal(calls("alloc - 4 0"))
        found = AddressRange.from_size(first * PAGE, 4 * PAGE)
        assert merged(guest.allocated(DEFAULT)) == merged((*taken, found))
        assert calls(f"release - {first:#x} 4") == "true"
        assert guest.allocated(DEFAULT) == taken
        assert_all_is_free(guest)

    @pytest.mark.needs("module-areas")
    def test_without_a_default_area_it_is_refused(
        self, boots: Boots, machine_config: MachineConfig, tmp_path: Path
    ) -> None:
        tree = fdt.parse_dtb(machine_config.images.dtb.read_bytes())
        tree.remove_node("reserved-memory", "/")
        dtb = tmp_path / "none.dtb"
        dtb.write_bytes(tree.to_dtb(version=17))
        images = machine_config.images
        images = dataclasses.replace(images, dtb=dtb, features=images.features - {"ssh"})
        config = dataclasses.replace(machine_config, images=images, icount=True, append="cma=0")
        calls = Calls(boots.cold(config))
        for count in (1, 16):
            assert calls(f"alloc - {count} 0") == "null"
        assert calls(f"release - {FIRST:#x} 1") == "false"


class TestPages:
    """dma_alloc_pages(): dma_alloc_contiguous() and dma_free_contiguous(), which ARM's own code for
    coherent memory does not call.
    """

    @pytest.fixture(autouse=True)
    def there(self, guest: Guest) -> None:
        if version_of(guest.images) < DMA_PAGES:
            pytest.skip("this kernel has no dma_alloc_pages()")

    @pytest.mark.parametrize("count", [2, 3, 256])
    def test_more_than_a_page_is_of_the_default_area(
        self, guest: Guest, calls: Calls, count: int
    ) -> None:
        taken = guest.allocated(DEFAULT)
        with calls.pages(count * PAGE) as found:
            assert found in DEFAULT_WHOLE
            assert merged(guest.allocated(DEFAULT)) == merged((*taken, found))
        assert guest.allocated(DEFAULT) == taken
        assert_all_is_free(guest)

    def test_a_single_page_is_of_no_area(self, guest: Guest, calls: Calls) -> None:
        taken = guest.allocated(DEFAULT)
        with calls.pages(PAGE) as found:
            assert not found.overlaps(DEFAULT_WHOLE)
            assert not found.overlaps(WHOLE)
            assert guest.allocated(DEFAULT) == taken
        assert_all_is_free(guest)

    def test_what_the_default_area_has_not_is_had_elsewhere_and_freed_there(
        self, guest: Guest, calls: Calls
    ) -> None:
        taken = guest.allocated(DEFAULT)
        left = DEFAULT_WHOLE.size - sum(held.size for held in taken)
        debug = guest.debug_dir(DEFAULT)
        guest.run(f"echo {left // PAGE} >{debug}/alloc; dmesg -c >/dev/null")
        with calls.pages(4 * PAGE) as found:
            assert [count for count, _ in FAILED.findall(guest.run("dmesg").text)] == ["4"]
            assert not found.overlaps(DEFAULT_WHOLE)
            assert not found.overlaps(WHOLE)
        assert guest.allocated(DEFAULT) == (DEFAULT_WHOLE,)
        free = free_memory(guest)
        guest.run(f"for n in $(seq {ROUNDS}); do echo pages {MIB} >{CALL}; echo put >{CALL}; done")
        assert free_memory(guest) > free - ROUNDS * MIB // 2, "it was not freed"
        guest.run(f"echo {left // PAGE} >{debug}/free")
        assert guest.allocated(DEFAULT) == taken


class TestDevice:
    """A device that has an area by its node, as most drivers have."""

    NODE, OTHER, NAMED = "/cma-calls", "/cma-calls-without", "/cma-calls-named"
    WRONG = "/cma-calls-wrong"

    @pytest.fixture
    def boot(self, boots: Boots, machine_config: MachineConfig, tmp_path: Path) -> Boot:
        """Boots a guest whose tree has such nodes: with BiscuitOS_cma, with none, with two that
        have names. An area is named by a property called so.
        """

        def boot_with(phandle: str) -> Guest:
            tree = fdt.parse_dtb(machine_config.images.dtb.read_bytes())
            handles = []
            for number, name in enumerate((AREA, DEFAULT)):
                area = tree.get_node(f"/reserved-memory/{name}")
                old = area.exist_property("phandle") and area.get_property("phandle").data[0]
                handles.append(old or 0x4343 + number)
                area.remove_property("phandle")
                area.append(fdt.PropWords(phandle, handles[-1]))
            own, default = handles
            plain, region = fdt.Node("cma-calls-plain"), fdt.Node("kept@6e000000")
            region.append(fdt.PropWords("reg", 0x6E000000, MIB))
            for number, (parent, node) in enumerate((("/", plain), ("/reserved-memory", region))):
                node.append(fdt.PropWords(phandle, 0x4353 + number))
                tree.get_node(parent).append(node)
            nodes = (self.NODE, (own,)), (self.OTHER, ()), (self.NAMED, (default, own))
            for path, regions in (*nodes, (self.WRONG, (0x4353, 0x4354))):
                node = fdt.Node(path[1:])
                if regions:
                    node.append(fdt.PropWords("memory-region", *regions))
                if len(regions) > 1:
                    node.append(fdt.PropStrings("memory-region-names", "other", "buffer"))
                tree.get_node("/").append(node)
            dtb = tmp_path / "calls.dtb"
            dtb.write_bytes(tree.to_dtb(version=17))
            images = machine_config.images
            images = dataclasses.replace(images, dtb=dtb, features=images.features - {"ssh"})
            return boots.cold(dataclasses.replace(machine_config, images=images, icount=True))

        return boot_with

    @pytest.fixture
    def booted(self, boot: Boot) -> Guest:
        """As trees are today."""
        return boot("phandle")

    def test_the_phandle_of_an_old_tree_names_an_area_too(self, boot: Boot) -> None:
        calls = Calls(boot("linux,phandle"))
        assert calls(f"take {self.NODE} 0") == "0"
        assert calls.coherent(16 * PAGE) == pages(0, 16)
        words = calls(f"lookup /reserved-memory/{AREA}").split()
        assert [*map(hexadecimal, words)] == [WHOLE.start, WHOLE.size]

    def test_its_memory_is_of_that_area_until_it_gives_it_back(self, booted: Guest) -> None:
        calls = Calls(booted)
        assert calls.coherent(16 * PAGE) in DEFAULT_WHOLE
        assert calls(f"take {self.NODE} 0") == "0"
        for count in (1, 3, 256):
            found = calls.coherent(count * PAGE)
            assert found == pages(0, count)
            if version_of(booted.images) >= DMA_PAGES:
                with calls.pages(count * PAGE) as found:
                    assert found == pages(0, count)
        assert_all_is_free(booted)
        calls("give")
        assert calls.coherent(16 * PAGE) in DEFAULT_WHOLE
        # Once more, as a driver that is bound again.
        assert calls(f"take {self.NODE} 0") == "0"
        assert calls.coherent(PAGE) == pages(0)
        booted.run("rmmod cma_calls")

    def test_a_node_that_names_none_is_refused(self, booted: Guest) -> None:
        calls = Calls(booted)
        for node, index in ((self.OTHER, 0), (self.NODE, 1)):
            assert int(calls(f"take {node} {index}")) == NO_DEVICE
        calls("give")
        assert calls.coherent(PAGE) in DEFAULT_WHOLE

    def test_what_is_no_memory_of_a_driver_s_is_refused(self, booted: Guest) -> None:
        """A node that is none of reserved memory, and memory of which no driver of its kind is."""
        calls = Calls(booted)
        for index in (0, 1):
            assert int(calls(f"take {self.WRONG} {index}")) < 0
            assert calls.coherent(PAGE) in DEFAULT_WHOLE
        assert calls(f"take {self.NODE} 0") == "0"
        assert calls.coherent(PAGE) == pages(0)

    def test_an_area_can_be_taken_by_the_name_that_the_node_gives_it(self, booted: Guest) -> None:
        calls = Calls(booted)
        assert calls(f"named {self.NAMED} buffer") == "0"
        assert calls.coherent(16 * PAGE) == pages(0, 16)
        calls("give")
        assert calls.coherent(16 * PAGE) in DEFAULT_WHOLE
        for node, name in ((self.NAMED, "none-such"), (self.NODE, "buffer")):
            assert int(calls(f"named {node} {name}")) < 0
            assert calls.coherent(16 * PAGE) in DEFAULT_WHOLE

    def test_reserved_memory_is_found_by_its_node(self, booted: Guest) -> None:
        calls = Calls(booted)
        for name, place in ((AREA, WHOLE), (DEFAULT, DEFAULT_WHOLE)):
            words = calls(f"lookup /reserved-memory/{name}").split()
            assert [*map(hexadecimal, words)] == [place.start, place.size]
        assert calls("lookup /memory@60000000") == "null"
        assert calls(f"lookup {self.NODE}") == "null"
