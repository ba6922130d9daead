# SPDX-License-Identifier: MIT
"""What the tests of the allocator and its driver share."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.explore.firstfit import FirstFit
from harness.guest.application import AppScript
from harness.guest.cma_state import CmaState
from harness.guest.guest import AREA, Guest
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from harness.imageset.module import without_init
from harness.machine.errors import CommandFailed
from harness.memory.ranges import AddressRange, merged

PAGE, MIB = 4096, 1 << 20
BASE = 0x69800000
WHOLE = AddressRange.from_size(BASE, 8 * MIB)
"""All of BiscuitOS_cma."""
DEFAULT_WHOLE = AddressRange.from_size(BASE - 8 * MIB, 8 * MIB)
"""All of linux,cma."""
PAGES = WHOLE.size // PAGE
SLUB_DEBUG = "slub_debug=FZP,kmalloc-*"
"""Objects are checked when they are allocated and freed, and the caches count them exactly."""

NULL_MODULE = "/tmp/null.ko"
"""Where the driver without its start and its end is in the guest."""
COUNTS_CALLS = 5, 13
"""The first version whose ``/proc/vmstat`` counts the calls of the allocator."""
LONG = 120.0
"""Seconds for a loop in the guest, which takes one or two unless the host is loaded."""


def version_of(images: ImageSet) -> tuple[int, int]:
    """The kernel's own ``VERSION`` and ``PATCHLEVEL``."""
    major, minor = images.release.split(".")[:2]
    return int(major), int(minor.partition("-")[0])


def counted(guest: Guest) -> CmaState:
    """As `Guest.cma`, with what the processor has counted and not yet told."""
    guest.run("echo 1 > /proc/sys/vm/stat_refresh")
    return guest.cma()


def assert_calls(guest: Guest, after: CmaState, before: CmaState | None, *counts: int) -> None:
    """How many calls of the allocator have succeeded and failed, where this kernel counts them."""
    if version_of(guest.images) < COUNTS_CALLS:
        return
    for name, count in zip(("cma_alloc_success", "cma_alloc_fail"), counts, strict=True):
        assert after.vmstat[name] - (before.vmstat[name] if before else 0) == count


def needs_no_display(guest: Guest) -> None:
    """Skips a test that counts on how much of the default area is taken when it begins, and where:
    the frame buffer of a display that is driven is in there too.
    """
    if guest.run("[ -e /sys/class/graphics/fb0 ]", check=False).status == 0:
        pytest.skip("needs linux,cma without a frame buffer in it: this kernel drives the display")


def pages(first: int, count: int = 1) -> AddressRange:
    """Pages of BiscuitOS_cma, counted from its start."""
    return AddressRange.from_size(BASE + first * PAGE, count * PAGE)


@contextlib.contextmanager
def scripts(guest: Guest, count: int) -> Iterator[list[AppScript]]:
    """Several applications, each with an open file of its own."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(guest.script()) for _ in range(count)]


def allocated(guest: Guest, area: str = AREA) -> tuple[AddressRange, ...]:
    """What the area's bitmap says; ``used`` and ``maxchunk`` are checked against it on the way."""
    return guest.allocated(area)


def assert_held(guest: Guest, held: Sequence[AddressRange]) -> None:
    """The bitmap has these regions, disjoint as they are, and no other page."""
    assert len(held) < 2 or not any(
        one.overlaps(two) for one, two in itertools.pairwise(sorted(held))
    )
    assert allocated(guest) == merged(held)


def assert_all_is_free(guest: Guest) -> None:
    """Nothing of the area is allocated, and all of it can be had at once."""
    assert allocated(guest) == ()
    guest.run(f"cd {guest.debug_dir()} && echo {PAGES} > alloc && echo {PAGES} > free")
    assert allocated(guest) == ()


def alloc_many(app: AppScript, sizes: Sequence[int]) -> list[AddressRange]:
    """Allocates all sizes in turn, in one go."""
    return [answered_range(line) for line in app.ask((f"alloc {size}" for size in sizes), LONG)]


def answered_range(line: str) -> AddressRange:
    """The region in an answer to ``alloc``."""
    ok, phys, length, _ = line.split()
    assert ok == "ok", line
    return AddressRange.from_size(int(phys, 16), int(length, 16))


def release_many(app: AppScript, regions: Sequence[AddressRange]) -> None:
    """Gives all regions back, in one go."""
    answers = app.ask((f"release {region.start} {region.size}" for region in regions), LONG)
    assert answers == ["ok"] * len(regions)


def error_name(line: str) -> str:
    """``ENOMEM`` of an error's answer, or ``ok``."""
    words = line.split()
    return words[1] if words[0] == "error" else words[0]


def taken(model: FirstFit) -> tuple[AddressRange, ...]:
    """The pages of BiscuitOS_cma that are taken by the model, merged."""
    return merged(pages(first) for first, is_taken in enumerate(model.taken) if is_taken)


def log_lines(guest: Guest) -> int:
    """Lines that the kernel has printed."""
    return int(guest.run("dmesg | wc -l").text)


def live_objects(guest: Guest) -> dict[str, int]:
    """How many objects each kmalloc cache has in use; the reading itself costs some.

    Exact on a machine booted with `SLUB_DEBUG`: other caches count whole slabs.
    """
    caches = "kmalloc-64 kmalloc-128 kmalloc-192 kmalloc-256 kmalloc-512 kmalloc-1k"
    # KASAN keeps what was freed, so that it sees who uses it, until a cache is to shrink.
    shrink = "echo 1 >$c/shrink; " if Feature.KASAN in guest.images.features else ""
    # kfree_rcu() gathers what it is to free for seconds, unless memory is asked for.
    script = (
        "echo 2 >/proc/sys/vm/drop_caches; cd /sys/kernel/slab;"
        f" for c in {caches}; do {shrink}read -r n _ <$c/objects; echo $c $n; done"
    )
    return {name: int(n) for name, n in (x.split() for x in guest.run(script).text.splitlines())}


@contextlib.contextmanager
def no_growth(guest: Guest, times: int, loads: int = 0) -> Iterator[None]:
    """What the block does `times` times, 20 at least, leaks no object each time.

    No cache may grow by half as many: a few of the kernel's own objects come and go. What it frees
    late, after an RCU grace period, is waited for; a leak stays however often one looks.

    `loads`: how often the kernel is asked to load the driver, which is not loaded in the end.
    What this kernel keeps of any module (5.0 does) is then no fault of the driver's; where that
    is not to be known, the test is skipped.
    """
    for _ in range(6):
        before = live_objects(guest)
    yield
    grown = _growth(guest, before, times)
    if grown and loads:
        kept = kept_of_any_module(guest, loads)
        grown = {name: n - kept[name] for name, n in grown.items() if 2 * (n - kept[name]) > times}
    assert not grown, f"objects that are left: {grown}"


def _growth(guest: Guest, before: Mapping[str, int], times: int) -> dict[str, int]:
    """The caches that have grown, by how much; a cache that shrinks again is waited for."""
    for _ in range(60):
        grown = {name: n - before[name] for name, n in live_objects(guest).items()}
        grown = {name: n for name, n in grown.items() if 2 * n > times}
        if not grown:
            break
    return grown


def kept_of_any_module(guest: Guest, times: int) -> dict[str, int]:
    """What each cache has more after `times` loads of a module that does nothing: the driver
    without its start and its end. Skips the test where there is no such module.
    """
    path = guest.module_path()
    try:
        guest.write_file(NULL_MODULE, without_init(Path(path), guest.read_file(path)))
        load_and_unload(guest, 1, path=NULL_MODULE)
    except (UserError, CommandFailed) as error:
        pytest.skip(
            "objects are left, and whether this kernel keeps them of any module is not known: the"
            f" driver cannot be loaded without its init function ({error})"
        )
    before = live_objects(guest)
    load_and_unload(guest, times, path=NULL_MODULE)
    grown = _growth(guest, before, times)
    return {name: grown.get(name, 0) for name in before}


def load_and_unload(guest: Guest, times: int, path: str = "") -> None:
    """Loads and unloads the driver, or the module in the file `path`, in one shell loop."""
    guest.run(
        f"i=0; while [ $i -lt {times} ]; do insmod {path or guest.module_path()}"
        f" && rmmod {guest.module_name()} || break; i=$((i+1)); done; [ $i = {times} ]",
        LONG,
    )
