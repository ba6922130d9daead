# SPDX-License-Identifier: MIT
"""Every allocation of an operation fails once: the first, the second, …, until none is left.

The kernel's fault injection counts down the allocations of one task (``/proc/PID/fail-nth``); those
of slab objects, and of pages where the kernel can fail these too. An operation that fails says so,
has changed nothing, and the next one is right; nothing is left behind.
"""

from __future__ import annotations

import dataclasses

import pytest

from harness.guest.application import AppScript
from harness.guest.guest import Guest

from .support import (
    BASE,
    PAGE,
    SLUB_DEBUG,
    allocated,
    assert_all_is_free,
    error_name,
    no_growth,
    pages,
    version_of,
)

pytestmark = [
    pytest.mark.needs("agent", "two-areas", "debugfs", "fault-injection", "driver"),
    pytest.mark.machine("loaded", append=SLUB_DEBUG),
]
FAIL_ALL = (
    "cd /sys/kernel/debug; for d in failslab fail_page_alloc; do [ ! -d $d ] ||"
    " { echo N >$d/ignore-gfp-wait; echo 1 >$d/verbose;"
    " [ ! -e $d/min-order ] || echo 0 >$d/min-order; }; done"
)
"""Allocations that may wait fail too, of any order. The log has a line on each: a stack that comes
after it (``vmalloc error``, where a new thread's stack is not to be had) was asked for.
"""
MOST = 250
"""More allocations than an operation here makes, in a kernel that looks for leaks too."""
MANY = 9999
MAPLE_TREE = 6, 1
"""The first version that keeps mappings in a tree of which nodes are copied to change it."""


@dataclasses.dataclass(frozen=True)
class Call:
    """An operation of the driver: what comes before it, the operation, and what undoes it."""

    command: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    """What is answered ``ok`` where it failed."""
    asks: tuple[int, int] | None = (0, 0)
    """The first version in which it asks for memory; None: it never does."""


ALLOC = f"alloc {3 * PAGE}"
CALLS = {
    "open": Call("reopen"),
    "alloc": Call(ALLOC),
    "release": Call(f"release {BASE} {3 * PAGE}", (ALLOC,), asks=None),
    "map": Call(
        f"mmap {BASE} {PAGE}", (ALLOC,), (f"munmap {BASE}",), (f"release {BASE} {3 * PAGE}",)
    ),
    "unmap": Call(
        f"munmap {BASE}", (ALLOC, f"mmap {BASE} {PAGE}"), (f"munmap {BASE}",), asks=MAPLE_TREE
    ),
    "fork": Call("fork", (ALLOC, f"mmap {BASE} {PAGE}"), (f"munmap {BASE}",)),
}


def one_fault(guest: Guest, app: AppScript, call: Call, number: int) -> bool:
    """One operation whose allocation `number` fails; whether there was such a one."""
    assert all(answer.startswith("ok") for answer in app.ask(["reopen", *call.before]))
    before = allocated(guest)
    nth = f"/proc/{app.process}/fail-nth"
    guest.run(f"echo {number} >{nth}")
    answer = app.ask([call.command])[0]
    left = int(guest.run(f"cat {nth}; echo 0 >{nth}").text)
    if answer.startswith("ok") and call.command == "fork":
        app.command(f"reap {answer.split()[1]}")
    if not answer.startswith("ok"):
        assert error_name(answer) == "ENOMEM"
        if call.command != "reopen":
            assert allocated(guest) == before
        for command in call.then:
            app.command(command)
    app.ask([*call.after, "reopen"])
    assert allocated(guest) == ()
    return left == 0


@pytest.mark.needs("app-script")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_the_driver_fails_cleanly_at_each_allocation(guest: Guest, name: str) -> None:
    guest.run(FAIL_ALL)
    call = CALLS[name]
    with guest.script() as app:
        assert not one_fault(guest, app, call, MANY)
        count = next(n for n in range(1, MOST) if not one_fault(guest, app, call, n)) - 1
        assert (count > 0) is (call.asks is not None and version_of(guest.images) >= call.asks)
        with no_growth(guest, 20):
            for round_ in range(20 if count else 0):
                one_fault(guest, app, call, 1 + round_ % count)
    assert_all_is_free(guest)


def shell_fault(guest: Guest, script: str, number: int) -> tuple[bool, bool]:
    """A shell's `script`, whose allocation `number` fails: whether it succeeded, and whether there
    was such an allocation. The shell has run it once before.
    """
    nth = "/proc/self/fail-nth"
    text = guest.run(
        f"sh -c 'f() {{ {script}; }}; exec 5<{nth}; echo {number} >{nth};"
        ' if f 2>/dev/null; then r=yes; else r=no; fi; read -r left <&5; echo "$r $left"\''
    ).text.split()
    return text[0] == "yes", text[1] == "0"


def test_debugfs_fails_cleanly_at_each_allocation(guest: Guest) -> None:
    guest.run(FAIL_ALL)
    place = guest.debug_dir()
    refused = 0
    with no_growth(guest, 20):
        for number in range(1, MOST):
            done, failed = shell_fault(guest, f"echo 3 >{place}/alloc", number)
            assert allocated(guest) == ((pages(0, 3),) if done else ())
            refused += not done
            if done:
                # What cannot be given back now is given back the next time.
                shell_fault(guest, f"echo 3 >{place}/free", 1 + number % 3)
                guest.run(f"echo 3 >{place}/free")
            assert allocated(guest) == ()
            if not failed:
                break
    assert refused > 1, "the record of what debugfs has, and the file itself"
    assert number < MOST - 1
    assert_all_is_free(guest)


@pytest.mark.needs("cma-calls")
@pytest.mark.parametrize(
    ("call", "undo"), [("alloc BiscuitOS_cma 3 0", ""), (f"coherent {PAGE}", "free")]
)
def test_a_driver_s_call_fails_cleanly_at_each_allocation(
    guest: Guest, call: str, undo: str
) -> None:
    guest.run(f"{FAIL_ALL}; insmod /lib/modules/$(uname -r)/extra/cma_calls.ko")
    place = "/sys/module/cma_calls/parameters/call"
    before = guest.cma().reserved
    for number in range(1, MOST):
        _, failed = shell_fault(guest, f"echo {call} >{place}", number)
        answer = guest.run(f"cat {place}").text.strip()
        if undo:
            guest.run(f"echo {undo} >{place}")
        elif answer.startswith("0x"):
            guest.run(f"echo release BiscuitOS_cma {answer} 3 >{place}")
        assert guest.cma().reserved == before
        if not failed:
            break
    assert answer.startswith("0x"), "nothing failed, and there is no memory"
    guest.run("rmmod cma_calls")
    assert_all_is_free(guest)
