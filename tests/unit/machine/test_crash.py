# SPDX-License-Identifier: MIT
"""The crash watcher on kernel logs, as the kernel prints them and as they must not be mistaken."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.machine.crash import Crash, CrashKind, CrashWatcher
from harness.machine.transcript import Stream

BOOT = "[    0.000000] Booting Linux on physical CPU 0x0\n"
CUT = "[    5.000000] ------------[ cut here ]------------\n"
END = "[    5.000009] ---[ end trace 0000000000000000 ]---\n"

HEADS = {
    "Kernel panic - not syncing: sysrq triggered crash": CrashKind.PANIC,
    "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b": CrashKind.PANIC,
    "Unable to handle kernel NULL pointer dereference at virtual address 00000000": CrashKind.OOPS,
    "Unable to handle kernel paging request at virtual address dead0000": CrashKind.OOPS,
    "Internal error: Oops: 817 [#1] SMP ARM": CrashKind.OOPS,
    "Unhandled fault: imprecise external abort (0x406) at 0x00000000": CrashKind.OOPS,
    "Unhandled prefetch abort: unknown 16 (0x210) at 0x00000000": CrashKind.OOPS,
    "Bad mode in data abort handler detected": CrashKind.OOPS,
    "Internal error: Oops - undefined instruction: 0 [#1] SMP ARM": CrashKind.UNDEFINED_INSTRUCTION,
    "kernel BUG at mm/cma.c:123!": CrashKind.BUG,
    "Internal error: Oops - BUG: 0 [#1] SMP ARM": CrashKind.BUG,
    "BUG: sleeping function called from invalid context at mm/cma.c:1": CrashKind.BUG,
    "BUG: scheduling while atomic: sh/50/0x00000002": CrashKind.BUG,
    "BUG: Bad page state in process sh  pfn:69800": CrashKind.BUG,
    "BUG: KASAN: slab-out-of-bounds in cma_alloc+0x1a4/0x2e0": CrashKind.KASAN,
    "BUG: KFENCE: use-after-free read in cma_release+0x18/0x40": CrashKind.KFENCE,
    "BUG kmalloc-64 (Tainted: G    B      O      ): Poison overwritten": CrashKind.BUG,
    "BUG: using smp_processor_id() in preemptible [00000000] code: sh/50": CrashKind.BUG,
    "BUG: scheduling in a non-blocking section: sh/50/2": CrashKind.BUG,
    "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]": CrashKind.BUG,
    "Slab corruption (Not tainted): kmalloc-64 start=c2a0, len=64": CrashKind.BUG,
    "SLUB kmalloc-64: 3 partial slabs counted but counter=2": CrashKind.BUG,
    "list_del corruption. prev->next should be c2a0, but was c2b0": CrashKind.BUG,
    "mm/memory.c:412: bad pmd 6a0c1831.": CrashKind.BUG,
    "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:50]": CrashKind.LOCKUP,
    "rcu: INFO: rcu_sched self-detected stall on CPU": CrashKind.RCU_STALL,
    "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:": CrashKind.RCU_STALL,
    "INFO: rcu_preempt detected stalls on CPUs/tasks:": CrashKind.RCU_STALL,
    "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 0-... }": CrashKind.RCU_STALL,
    "rcu: rcu_sched kthread starved for 2101 jiffies! g-1187 f0x0": CrashKind.RCU_STALL,
    "INFO: task insmod:51 blocked for more than 10 seconds.": CrashKind.HUNG_TASK,
    "INFO: task insmod:51 blocked in I/O wait for more than 10 seconds.": CrashKind.HUNG_TASK,
    "INFO: task two words:51 blocked for more than 122 seconds.": CrashKind.HUNG_TASK,
    "INFO: The task sh:1 has been waiting for writeback completion for more than 120 seconds.": (
        CrashKind.HUNG_TASK
    ),
    "watchdog: Watchdog detected hard LOCKUP on cpu 1": CrashKind.LOCKUP,
    "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!": CrashKind.LOCKUP,
    "Memory cgroup out of memory: Killed process 50 (sh)": CrashKind.OOM,
    "UBSAN: Undefined behaviour in mm/cma.c:1:2": CrashKind.UBSAN,
    "UBSAN: array-index-out-of-bounds in mm/cma.c:860:27": CrashKind.UBSAN,
    "sh invoked oom-killer: gfp_mask=0x140dca, order=0, oom_score_adj=0": CrashKind.OOM,
    "WARNING: CPU: 0 PID: 51 at mm/page_alloc.c:5534 __alloc_pages+0x1a4/0x1b8": CrashKind.WARNING,
    "WARNING: mm/cma.c:812 at cma_alloc+0x1c/0x20, CPU#0: insmod/51": CrashKind.WARNING,
    "WARNING: possible circular locking dependency detected": CrashKind.LOCKDEP,
    "WARNING: suspicious RCU usage": CrashKind.LOCKDEP,
    "WARNING: circular locking deadlock detected!": CrashKind.LOCKDEP,
    "[ INFO: possible recursive locking detected ]": CrashKind.LOCKDEP,
    "[ BUG: Invalid wait context ]": CrashKind.LOCKDEP,
    "Division by zero in kernel.": CrashKind.WARNING,
    'irq 27: nobody cared (try booting with the "irqpoll" option)': CrashKind.WARNING,
    "INFO: trying to register non-static key.": CrashKind.LOCKDEP,
    "insmod: page allocation failure: order:10, mode:0xcc0(GFP_KERNEL)": CrashKind.WARNING,
    "cat: page allocation stall for 10 secs: order:0, mode:0x1": CrashKind.WARNING,
    "refcount_t: underflow; use-after-free.": CrashKind.WARNING,
    "sysfs: cannot create duplicate filename '/class/misc/CMA_demo'": CrashKind.WARNING,
}
HARMLESS = (
    "lkdtm: No crash points registered, enable through debugfs",
    "Kernel command line: console=ttyAMA0 panic=-1 oops=panic",
    "rcu: Hierarchical RCU implementation.",
    "Warning: unable to open an initial console.",
    "cma: cma_alloc: reserved: alloc failed, req-size: 9999 pages, ret: -12",
    "NMI watchdog: disabled",
    "ignoring BUG: in the middle of a text",
    "systemd[1]: WARNING: a unit file is executable",
    "cma: cma_alloc: linux,cma: alloc failed, req-size: 256 pages, ret: -16",
    "alloc_contig_range: [69800, 69900) PFNs busy",
    "Kernel command line: console=ttyAMA0 oops=panic hung_task_panic=1 softlockup_panic=1",
    "NMI watchdog: Perf NMI watchdog permanently disabled",
    "sched: RT throttling activated",
    "Alignment trap: app (123) PC=0x000085f4 Instr=0xe5912000 Address=0xbe8c0d6e FSR 0x001",
    "app: unhandled page fault (11) at 0x00000004, code 0x017",
    "app (61): undefined instruction: pc=(ptrval)",
    "app[61]: segfault at 4 ip 000085f4 sp be8c0d6e error 4 in app[8000+1000]",
    "rcu: RCU calculated value of scheduler-enlistment delay is 10 jiffies.",
    "rcu: \tRCU CPU stall warnings timeout set to 21 (rcu_cpu_stall_timeout).",
    "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "workqueue: e1000_watchdog hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
    "CPU: ARMv7 Processor [410fc090] revision 0 (ARMv7), cr=10c5387d",
    "CPU: PIPT / VIPT nonaliasing data cache, VIPT nonaliasing instruction cache",
    "hw-breakpoint: debug architecture 0x4 unsupported.",
    "INFO: lockdep is turned off.",
    "WARNING: The mand mount option has been deprecated and",
    "WARNING: workqueue cpumask: online intersect > possible intersect",
    "ODEBUG: Out of memory. ODEBUG disabled",
)


def watched(log: str, watcher: CrashWatcher | None = None) -> Crash | None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(log.encode())
    stream.close()
    return watcher.take() if watcher.head_seen else None


@pytest.mark.parametrize("head", HEADS)
def test_each_head_is_a_crash_of_its_kind(head: str) -> None:
    crash = watched(f"{BOOT}[    5.000001] {head}\n{END}")
    assert crash is not None
    assert (crash.kind, crash.head) == (HEADS[head], head)


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_are_no_crash(line: str) -> None:
    assert watched(f"{BOOT}[    5.000001] {line}\n") is None


@pytest.mark.parametrize("head", HEADS)
def test_what_a_program_prints_is_no_crash_where_the_kernel_stamps_its_lines(head: str) -> None:
    assert watched(f"{BOOT}{head}\n") is None


def test_a_kernel_without_stamps_is_watched_too() -> None:
    crash = watched("Booting Linux\nKernel panic - not syncing: no stamps\n")
    assert crash is not None


def test_a_head_in_the_middle_of_a_programs_line_is_seen() -> None:
    crash = watched(f"{BOOT}half a line[    5.000001] kernel BUG at mm/cma.c:1!\n")
    assert crash is not None


def test_the_trace_goes_from_the_cut_to_the_end() -> None:
    log = (
        f"{BOOT}[    4.9] before\n{CUT}[    5.000001] WARNING: CPU: 0 PID: 1 at mm/cma.c:1\n"
        f"[    5.000002] Call trace:\n{END}"
    )
    crash = watched(log)
    assert crash is not None
    assert "before" not in crash.trace
    assert crash.trace.startswith(CUT.strip())
    assert "Call trace" in crash.trace
    assert crash.trace.endswith(END.strip())
    assert not crash.fatal


def test_a_warning_that_becomes_a_panic_is_fatal_and_keeps_its_cause() -> None:
    crash = watched(
        f"{BOOT}[    5.000001] WARNING: CPU: 0 PID: 1 at mm/cma.c:1\n"
        "[    5.000002] Kernel panic - not syncing: panic_on_warn set ...\n"
    )
    assert crash is not None
    assert (crash.kind, crash.fatal) == (CrashKind.WARNING, True)
    assert "then panic" in crash.describe()


@pytest.mark.parametrize("pieces", [1, 100])
def test_the_kernel_s_words_behind_a_program_s_endless_line_are_seen(pieces: int) -> None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(BOOT.encode())
    for _ in range(pieces):
        stream.append(b"." * (300_000 // pieces))
    panic = "Kernel panic - not syncing: x"
    stream.append(f"[    5.000001] {panic}\n".encode())
    stream.close()
    assert watcher.head_seen
    crash = watcher.take()
    assert (crash.kind, crash.head) == (CrashKind.PANIC, panic)
    assert pieces == 1 or panic in crash.trace
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(b"x" * 50_000 + b"\n" + (CUT + "[    5.000001] kernel BUG at x.c:1!\n").encode())
    stream.close()
    assert watcher.take().start == 50_001


def test_a_crash_is_taken_once() -> None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(f"{BOOT}[    5.000001] WARNING: CPU: 0 PID: 1\n{END}".encode())
    watcher.take()
    assert not watcher.head_seen


def test_a_kernel_that_warns_without_end_is_told_in_a_few_lines() -> None:
    log = Stream("log")
    watcher = CrashWatcher(log)
    log.append((CUT + "[    5.000001] WARNING: CPU: 0 PID: 1\n" + END).encode() * 10_000)
    crash = watcher.take()
    assert len(crash.describe()) < 50_000
    assert crash.describe().endswith("bytes more; the transcript has them")


def test_several_threads_that_take_a_crash_get_the_same_one() -> None:
    log = Stream("log")
    watcher = CrashWatcher(log)
    log.append((CUT + "[    5.000001] kernel BUG at mm/cma.c:1!\n").encode())
    taken: list[Crash] = []
    threads = [threading.Thread(target=lambda: taken.append(watcher.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    taken.append(watcher.take())  # of one that looked before the first was done, and asks after it
    assert [crash.kinds for crash in taken] == [(CrashKind.BUG,)] * 4


def test_the_end_of_a_trace_is_waited_for() -> None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(f"{BOOT}[    5.000001] Internal error: Oops: 817\n".encode())
    rest = threading.Timer(0.1, stream.append, [b"[    5.1] Call trace:\n" + END.encode()])
    rest.start()
    assert "Call trace" in watcher.take().trace
    rest.join()


def test_a_trace_without_an_end_does_not_hang_the_watcher() -> None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(f"{BOOT}[    5.000001] kernel BUG at x.c:1!\n".encode())
    assert "kernel BUG" in watcher.take().trace


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        ("Kernel panic - not syncing: dumptest", True),
        ("kernel BUG at mm/cma.c:1!", True),
        ("BUG: scheduling while atomic: sh/50/0x00000002", False),
    ],
)
def test_what_ends_with_a_mark_is_had_whole_from_a_host_that_stands_still(
    head: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.crash.STALLED", 30.0)
    monkeypatch.setattr("harness.machine.crash.LONGEST", 30.0)
    monkeypatch.setattr("harness.machine.crash.QUIET", 0.01)
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(f"{BOOT}{CUT}[    5.000001] {head}\n".encode())
    later = threading.Timer(0.2, stream.append, [END.encode()])
    later.start()
    assert ("end trace" in watcher.take().trace) is whole
    later.join()


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_how_the_log_is_cut_into_pieces_makes_no_difference(cuts: list[int]) -> None:
    log = f"{BOOT}{CUT}[    5.000001] kernel BUG at mm/cma.c:1!\n{END}".encode()
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    for size in cuts:
        stream.append(log[:size]) if log[:size] else None
        log = log[size:]
    stream.append(log) if log else None
    stream.close()
    assert watcher.head_seen
    assert watcher.take().trace.count("\n") == 2


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_watcher(data: bytes) -> None:
    stream = Stream("ttyAMA0")
    watcher = CrashWatcher(stream)
    stream.append(data)
    stream.append(b"\n[    5.000001] Kernel panic - not syncing: after all\n")
    stream.close()
    assert watcher.head_seen
