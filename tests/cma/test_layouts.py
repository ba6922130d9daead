# SPDX-License-Identifier: MIT
"""Every layout of the table, booted: the areas are where the table, not the kernel, says.

Placement happens at boot, so each is a cold boot, in deterministic time.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board import RAM_START
from harness.errors import HarnessError, JudgementError
from harness.guest.guest import DEVICE, Guest
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.errors import CommandFailed, GuestCrash, GuestTimeout
from harness.memory.cmdline import cma_alignment
from harness.memory.errors import CannotPlace
from harness.memory.memorymap import MemoryMap
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.boots import Boots
from harness.pytest_plugin.session import Session

from .layout import Boot, ExpectedPlacement, Layout, layout_dtb, place
from .layout.model import MIB
from .layout.placement import MIN_ALIGNMENT, PAGE_OFFSET, command_line, lowmem_end
from .layout.table import BAD, GOOD, MEASURED, layout
from .support import version_of

pytestmark = pytest.mark.every_kernel

PAGE = 4096
MAX = 1 << 32
PROVABLE = 32 * MIB
"""An area up to this size is allocated as a whole; a larger one takes too long to clear."""
DEVICES = 8
"""As many areas as one driver serves."""
FILES_OF_THE_ACTIVE = (7, 2)
"""From here on (at the latest) only areas that were activated have files in debugfs."""
HANG = 2.0
"""Seconds for a kernel that is known to hang; a boot takes about one."""
DEAD = re.compile(r"the processor is at ffff00[01][0-9a-f]\b")
"""In the exception vectors, where nothing is mapped yet: each fault there is the next."""

OVERLAPS = re.compile(r"(\S+) \(0x[0-9a-f]+--0x[0-9a-f]+\) overlaps with (\S+) \(")
"""The second line of what ``__rmem_check_for_overlap()`` says."""

Boot_ = Callable[[Layout], tuple[Guest, ExpectedPlacement]]


@pytest.fixture
def boot(
    boots: Boots,
    machine_config: MachineConfig,
    qemu_session: Session,
    kernel_version: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Boot_:
    """Boots a layout; returns the guest and what is expected of it."""

    def boot_layout(row: Layout) -> tuple[Guest, ExpectedPlacement]:
        images: ImageSet | None = machine_config.images
        if row.variant:
            images = qemu_session.variant(kernel_version, row.variant)
        if images is None:
            pytest.skip(
                f"needs a kernel built with {row.variant}.config: one of ours, not a given one"
            )
        version = version_of(images)
        if version < MEASURED:
            pytest.skip(
                f"needs Linux {MEASURED[0]}.{MEASURED[1]} or later: where an older kernel puts the"
                f" areas was never measured, and this is {version[0]}.{version[1]}"
            )
        if row.name == "no-default" and "agent" not in images.features:
            pytest.skip("needs CONFIG_CMA_SIZE_MBYTES, which a kernel that was given does not tell")
        if row.name == "edges" and min(area.at or MAX for area in row.areas) < image_end(images):
            pytest.skip("needs a kernel's image of less than 12 MiB")
        dtb = tmp_path / f"{row.name}.dtb"
        dtb.write_bytes(layout_dtb(images.dtb.read_bytes(), row))
        known = [item for item in row.known if item.holds(version, images.features)]
        for item in known:
            fails: tuple[type[Exception], ...]
            fails = (GuestCrash, GuestTimeout) if item.dies else (JudgementError, AssertionError)
            if item.warns:
                fails = (JudgementError, AssertionError, GuestCrash)
            mark = pytest.mark.xfail(strict=True, raises=fails, reason=item.cause)
            request.node.add_marker(mark)
        config = MachineConfig(
            # Without its card the ssh server does not start: it would only cost the boot time.
            dataclasses.replace(images, dtb=dtb, features=images.features - {"ssh"}),
            row.memory_mib,
            f"{machine_config.append} {command_line(row, version)}".strip(),
            # Time that jumps ahead makes a flood of what another's system does now and then.
            icount="agent" in images.features,
            trace=machine_config.trace,
        )
        dies = any(item.dies for item in known)
        guest = cold_if_it_lives(boots, config) if dies else boots.cold(config)
        high = lowmem_end(row) < RAM_START + row.memory_mib * MIB
        if high and "HighTotal:" not in guest.read_text("/proc/meminfo"):
            pytest.skip(f"needs CONFIG_HIGHMEM=y for the layout {row.name} ({row.about})")
        return guest, place(row, conditions(guest, images, row.variant))

    return boot_layout


def cold_if_it_lives(boots: Boots, config: MachineConfig) -> Guest:
    """Boots a kernel that is known to die. Raises `GuestTimeout` soon where it has; one that a slow
    host has not booted yet is given its time.
    """
    try:
        return boots.cold(config, HANG)
    except GuestCrash:
        raise
    except HarnessError as error:
        if isinstance(error, GuestTimeout) and DEAD.search(str(error)):
            raise
    boots.machines.pop().close()  # nobody greeted it: it is not asked how it does
    return boots.cold(config)


def image_end(images: ImageSet) -> int:
    """The physical address behind the kernel's image."""
    if images.system_map is None:
        return RAM_START + 16 * MIB
    lines = (line.split() for line in images.system_map.read_text().splitlines())
    end = next(int(line[0], 16) for line in lines if line[2] == "_end")
    return end + RAM_START - PAGE_OFFSET


def conditions(guest: Guest, images: ImageSet, variant: str) -> Boot:
    """What the placement depends on besides the layout."""
    end = image_end(images)
    initrd = images.initrd.stat().st_size if images.initrd is not None else 0
    default_size = 24 * MIB if variant == "kbuild" else 16 * MIB
    known = cma_alignment(guest.read_text("/proc/pagetypeinfo"))
    return Boot(version_of(images), end, initrd, default_size, known or MIN_ALIGNMENT)


def ids(rows: tuple[Layout, ...]) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize("row", GOOD, ids=ids(GOOD))
def test_the_areas_are_where_the_table_says_and_serve_their_memory(
    row: Layout, boot: Boot_
) -> None:
    guest, expected = boot(row)
    check_map(guest, expected)
    check_service(guest, expected)
    # What early_cma() returns has no other trace.
    words = ["Malformed early option 'cma'"] if "cma" in row.append.split() else []
    log = guest.run("dmesg").text
    assert re.findall("Malformed early option 'cma'", log) == words
    assert OVERLAPS.findall(log) == expected.overlaps
    assert "cma: Failed to reserve" not in log
    if Feature.CMA_DEBUGFS in guest.images.features:
        assert {area.order_per_bit for area in guest.cma().areas.values()} <= {0}


@pytest.mark.parametrize("row", BAD, ids=ids(BAD))
def test_what_cannot_be_is_refused_and_the_other_areas_do_not_suffer(
    row: Layout, boot: Boot_
) -> None:
    guest, expected = boot(row)
    memory_map = check_map(guest, expected)
    for name in expected.refused:
        with pytest.raises((JudgementError, CannotPlace)):
            memory_map.area(name)
    check_service(guest, expected)


@pytest.mark.needs("debugfs", "iomem-cma")
def test_what_could_not_be_activated_is_ordinary_memory(boot: Boot_) -> None:
    row = layout("across-the-border")
    with_it, _ = boot(row)
    areas = tuple(area for area in row.areas if area.name != "across")
    without, _ = boot(dataclasses.replace(row, areas=areas))
    totals = [memory_total(guest) for guest in (with_it, without)]
    assert abs(totals[0] - totals[1]) < MIB, "the area has 8 MiB"


def memory_total(guest: Guest) -> int:
    """``MemTotal`` in bytes: what the page allocator has to give."""
    words = guest.read_text("/proc/meminfo").split()
    return int(words[words.index("MemTotal:") + 1]) << 10


@pytest.mark.needs("debugfs", "cma-sysfs")
def test_what_could_not_be_activated_has_no_files(boot: Boot_) -> None:
    """c0ca59beb525: they read what is not there."""
    guest, expected = boot(layout("across-the-border"))
    if version_of(guest.images) < FILES_OF_THE_ACTIVE:
        pytest.skip("this kernel has files of every area in debugfs")
    assert "across" in expected.refused
    for directory in ("/sys/kernel/debug/cma", "/sys/kernel/mm/cma"):
        assert set(guest.run(f"ls {directory}").text.split()) == set(expected.areas), directory


@pytest.mark.needs("app-script", "module-areas")
def test_memory_that_the_kernel_does_not_map_has_no_address_there(boot: Boot_) -> None:
    guest, expected = boot(layout("highmem"))
    guest.insmod()
    with guest.script() as app:
        phys, _, virt = (int(word, 16) for word in app.command(f"alloc {PAGE}"))
    assert (phys, virt) == (expected.areas["BiscuitOS_cma"].start, 0)


@pytest.mark.needs("app-script", "module-areas")
def test_a_buffer_is_aligned_by_its_address_and_not_by_its_place_in_the_area(boot: Boot_) -> None:
    """e048cb32f690: wrong where the alignment asked for is more than that of the area's base."""
    guest, expected = boot(layout("kbuild"))
    area = expected.areas["wide"]
    guest.insmod("area=wide")
    with guest.script() as app:
        assert app.alloc(PAGE).start == area.start
        assert app.alloc(16 * MIB).start == 0x71000000, "the first multiple of 16 MiB in it"
        assert app.alloc(8 * MIB).start == 0x70800000, "the first multiple of 8 MiB that is free"


def check_map(guest: Guest, expected: ExpectedPlacement) -> MemoryMap:
    """All witnesses agree with the table, and on nothing else."""
    memory_map = guest.memory_map(expected.areas)
    assert {area.name: area.range for area in memory_map.areas} == expected.areas
    if "debugfs" in guest.images.features:
        assert guest.cma().meminfo.total == expected.total
    return memory_map


def check_service(guest: Guest, expected: ExpectedPlacement) -> None:
    """The driver gets memory from each area by its name, all of it; and none from one refused."""
    if not {"app-script", "module-areas"} <= guest.images.features:
        return
    for name in list(expected.refused)[:1]:  # a driver that is refused takes its time
        if expected.refused[name] != "there are two of that name":
            with pytest.raises(CommandFailed):
                guest.insmod(f"area={name}")
    served = list(expected.areas)[: DEVICES - 1]
    if expected.default is not None:
        served.append("default")
    guest.insmod(f"area={':'.join(served)}")
    asked: list[str] = []
    right: list[str] = []
    for number, name in enumerate(served):
        asked.append(f"device {DEVICE}{number or ''}")
        right.append("ok")
        place = expected.areas.get(name)
        if place is not None and place != expected.default:
            asked += [f"alloc {PAGE}", f"release {place.start} {PAGE}"]
            right += [f"ok {place.start:#x} {PAGE:#x}", "ok"]
            if place.size <= PROVABLE:
                asked.append(f"alloc {place.size}")
                right.append(f"ok {place.start:#x} {place.size:#x}")
    if expected.default is not None:
        asked.append(f"alloc {PAGE}")
    with guest.script() as app:
        answers = app.ask(asked)
    # The kernel's address, the last word, is not the layout's affair.
    assert [" ".join(answer.split()[:3]) for answer in answers[: len(right)]] == right
    if expected.default is not None:
        assert AddressRange.from_size(int(answers[-1].split()[1], 16), PAGE) in expected.default
