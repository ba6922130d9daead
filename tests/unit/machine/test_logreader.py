# SPDX-License-Identifier: MIT
"""Reports of a kernel without known words, and words of programs that are no report."""

from __future__ import annotations

import pytest

from harness.machine.kernelwords import CrashKind
from harness.machine.logreader import Head, LogReader

BOOT = "Booting Linux on physical CPU 0x0"
CPU = "CPU: 0 PID: 61 Comm: insmod Tainted: G           O       6.1.192 #1"
NEW_CPU = "CPU: 0 UID: 0 PID: 61 Comm: insmod Not tainted 6.17.0 #1 NONE"
STACK = [
    CPU,
    "Hardware name: ARM-Versatile Express",
    " unwind_backtrace from show_stack+0x10/0x14",
    " show_stack from dump_stack_lvl+0x40/0x4c",
    " dump_stack_lvl from cma_alloc+0x1a4/0x2e0",
]
OLD_STACK = [
    CPU,
    "[<c0110e60>] (unwind_backtrace) from [<c010b9e4>] (show_stack+0x10/0x14)",
    "[<c010b9e4>] (show_stack) from [<c0a1e2f4>] (dump_stack+0x94/0xa8)",
]
END = "---[ end trace 0000000000000000 ]---"


def stamped(*lines: str, at: float = 5.0, step: float = 0.000_01) -> list[str]:
    return [f"[{at + number * step:12.6f}] {line}" for number, line in enumerate(lines)]


def heads(*lines: str, reader: LogReader | None = None) -> list[Head]:
    reader = reader or LogReader()
    return [head for number, line in enumerate(lines) for head in reader.feed(line, number)]


def kinds(*lines: str) -> list[CrashKind]:
    return [head.kind for head in heads(*lines)]


@pytest.mark.parametrize("stack", [STACK, OLD_STACK, [NEW_CPU, "Call trace: ", *STACK[2:]]])
@pytest.mark.parametrize("stamp", [True, False])
def test_a_stack_without_known_words_is_a_report(stack: list[str], stamp: bool) -> None:
    lines = [BOOT, "something never heard of happened", *stack, "cma: all is well"]
    (head,) = heads(*(stamped(*lines) if stamp else lines))
    assert head.kind is CrashKind.BACKTRACE
    assert head.start == 1
    if stamp:
        assert head.text == "something never heard of happened"


FRAME_POINTERS = [
    "CPU: 0 PID: 0 Comm: swapper/0 Tainted: G           O      5.0.21-v7l+ #16",
    "Hardware name: BCM2835",
    "Backtrace: ",
    "[<c020d470>] (dump_backtrace) from [<c020d788>] (show_stack+0x20/0x24)",
    " r7:ffffffff r6:00000000 r5:600e0193 r4:c1093934",
    "[<c020d768>] (show_stack) from [<c098ffb4>] (dump_stack+0xcc/0x110)",
    " r10:c1001da0 r9:00000632 r8:c09ac4e0 r7:00000009 r6:c0b8cc44 r5:00000000",
    " r4:00000000 r3:e5f4e179",
    "[<c098fee8>] (dump_stack) from [<bf000254>] (cma_ioctl+0x64/0xb0 [cma])",
    "Exception stack(0xc1001f48 to 0xc1001f90)",
    "1f40:                   00000000 00000000 c1001fb8 c0219ec0 c1000000 c1007b2c",
    "[<bf0001f0>] (cma_ioctl [cma]) from [<c02824a0>] (vfs_ioctl+0x88/0x258)",
]


@pytest.mark.parametrize("stamp", [True, False])
def test_registers_between_the_frames_do_not_end_a_stack(stamp: bool) -> None:
    warning = "WARNING: CPU: 0 PID: 0 at kernel/locking/rtmutex.c:1586 x+0x1/0x2"
    lines = [BOOT, "/ # " + warning, *FRAME_POINTERS, "and on", "an unknown thing", *STACK]
    found = kinds(*(stamped(*lines) if stamp else lines))
    assert found == [CrashKind.WARNING, CrashKind.BACKTRACE]


def test_frames_alone_are_enough() -> None:
    (head,) = heads(*stamped(BOOT, "odd", *STACK[2:]))
    assert (head.kind, head.text) == (CrashKind.BACKTRACE, "odd")


def test_a_line_long_before_a_stack_is_not_its_reason() -> None:
    (head,) = heads(*stamped(BOOT, "Freeing unused kernel image"), *stamped(*STACK, at=9.0))
    assert head.text == CPU


@pytest.mark.parametrize(
    "head",
    [
        "WARNING: CPU: 0 PID: 1 at mm/cma.c:1 cma_alloc+0x4/0x8",
        "Division by zero in kernel.",
        'irq 27: nobody cared (try booting with the "irqpoll" option)',
        "BUG: sleeping function called from invalid context at mm/cma.c:1",
        "BUG: KASAN: use-after-free in cma_alloc+0x4/0x8",
        "insmod: page allocation failure: order:10, mode:0xcc0(GFP_KERNEL)",
        "INFO: trying to register non-static key.",
    ],
)
def test_the_stack_of_known_words_is_no_second_report(head: str) -> None:
    between = [f"more on it, {number}" for number in range(20)]
    assert len(kinds(*stamped(BOOT, head, *between, *STACK, "the rest", END))) == 1


def test_a_second_stack_is_a_second_report() -> None:
    lines = stamped(BOOT, "Division by zero in kernel.", *STACK, "unheard of", *STACK, "and on")
    assert kinds(*lines) == [CrashKind.WARNING, CrashKind.BACKTRACE]


def test_several_stacks_of_a_stall_are_one_report() -> None:
    head = "rcu: INFO: rcu_sched self-detected stall on CPU"
    assert kinds(*stamped(BOOT, head, *STACK, "NMI backtrace for cpu 1", *STACK)) == [
        CrashKind.RCU_STALL
    ]


def test_a_report_ends_with_its_mark() -> None:
    head = "WARNING: CPU: 0 PID: 1 at mm/cma.c:1"
    lines = stamped(BOOT, head, *STACK, END, "unheard of", *STACK)
    assert kinds(*lines) == [CrashKind.WARNING, CrashKind.BACKTRACE]


@pytest.mark.parametrize(
    "asked",
    [
        "sysrq: Show backtrace of all active CPUs",
        "sysrq: Show Blocked State",
        "SysRq : Show Regs",
        "FAULT_INJECTION: forcing a failure.",
    ],
)
def test_a_stack_that_somebody_asked_for_is_no_report(asked: str) -> None:
    assert kinds(*stamped(BOOT, asked, *STACK, "task:sh state:S", *OLD_STACK)) == []
    late = stamped("unheard of", *STACK, at=60)
    assert kinds(*stamped(BOOT, asked, *STACK), *late) == [CrashKind.BACKTRACE]


def test_what_an_allocation_says_that_was_made_to_fail_is_no_report() -> None:
    said = "app: vmalloc error: size 8192, vm_struct allocation failed, mode:0xdc0(GFP_KERNEL)"
    asked = ("FAULT_INJECTION: forcing a failure.", "name failslab, interval 1, times 0")
    assert kinds(*stamped(BOOT, *asked, said, *STACK)) == []
    assert kinds(*stamped(BOOT, said, *STACK)) == [CrashKind.BACKTRACE]


def test_a_panic_that_somebody_asked_for_is_one() -> None:
    lines = ("sysrq: Trigger a crash", "Kernel panic - not syncing: sysrq triggered crash", *STACK)
    assert kinds(*stamped(BOOT, *lines)) == [CrashKind.PANIC]


def test_lockdep_s_stack_stands_below_words_of_its_own() -> None:
    head = "WARNING: possible circular locking dependency detected"
    between = ["sh/50 is trying to acquire lock:", "       lock_acquire+0x1/0x2", "other info"]
    lines = stamped(BOOT, "=" * 54, head, *between, "stack backtrace:", *STACK, "and on")
    assert kinds(*lines) == [CrashKind.LOCKDEP]


@pytest.mark.parametrize("frames", [STACK[3:], OLD_STACK[2:]])
@pytest.mark.parametrize("cut", [[], ["14/0x20)"]])
def test_a_log_that_begins_in_the_middle_of_a_stack_holds_a_report(
    frames: list[str], cut: list[str]
) -> None:
    lines = [*cut, *stamped(*frames, *frames, "Code: e59f0010 (e5800000)", END, "and on")]
    assert kinds(*lines) == [CrashKind.BACKTRACE]


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        (END, CrashKind.BACKTRACE),
        ("---[ end Kernel panic - not syncing: Fatal exception ]---", CrashKind.PANIC),
    ],
)
def test_an_end_whose_beginning_is_lost_is_a_report(mark: str, kind: CrashKind) -> None:
    (head,) = heads(*stamped("usb 1-1: reset", "** 12 printk messages dropped **", mark))
    assert (head.kind, head.text) == (kind, mark)


def test_lines_between_a_stack_and_its_end_mark_are_of_the_report() -> None:
    warning = "WARNING: CPU: 0 PID: 1 at mm/cma.c:1"
    between = ["irq event stamp: 123", "hardirqs last enabled at (123): [<c01>] x+0x1/0x2"]
    assert kinds(*stamped(BOOT, warning, *STACK, *between, END, "and on")) == [CrashKind.WARNING]


def test_messages_whose_line_ends_are_lost_are_all_read() -> None:
    line = "".join(stamped("random: crng init done", "Kernel panic - not syncing: x", "Rebooting"))
    (head,) = heads(*stamped(BOOT), line)
    assert (head.kind, head.text) == (CrashKind.PANIC, "Kernel panic - not syncing: x")


def test_a_stamped_warning_without_a_place_counts_with_the_kernel_s_marks_alone() -> None:
    assert kinds(*stamped(BOOT, "WARNING: never heard of", "and on")) == []
    (proved,) = heads(*stamped(BOOT, "WARNING: never heard of", *STACK, "and on"))
    assert (proved.kind, proved.text) == (CrashKind.WARNING, "WARNING: never heard of")
    (ended,) = heads(*stamped(BOOT, "WARNING: never heard of", END))
    assert ended.text == "WARNING: never heard of"
    oom = "sh invoked oom-killer: gfp_mask=0x1"
    assert kinds(*stamped(BOOT, oom, "WARNING: a message", *STACK, "on")) == [CrashKind.OOM]


# Consoles without time stamps, shared with programs


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: can't open config file: /usr/lib/ssl/openssl.cnf",
        "BUG: counter is 3, expected 4",
        "BUG counter (of mine)",
        "Call trace:",
        "Backtrace:",
        "stack backtrace:",
        "#0  0x000085f4 in main () from /lib/libc.so.6",
        "thread 'main' panicked at src/main.rs:2:5",
        "========================================================================",
    ],
)
def test_a_program_s_words_are_no_report_without_stamps(line: str) -> None:
    more = ["and it goes on", "/ # "]
    assert kinds(BOOT, "Linux version 5.0.0", line, *more) == []


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 0 PID: 51 at mm/page_alloc.c:5534 __alloc_pages+0x1a4/0x1b8",
        "WARNING: mm/cma.c:812 at cma_alloc+0x1c/0x20, CPU#0: insmod/51",
        "WARNING: possible circular locking dependency detected",
        "BUG: sleeping function called from invalid context at mm/cma.c:1",
        "BUG kmalloc-64 (Not tainted): Poison overwritten",
        "Kernel panic - not syncing: no stamps",
    ],
)
def test_the_kernel_s_own_words_are_a_report_without_stamps(line: str) -> None:
    assert len(kinds(BOOT, line)) == 1


@pytest.mark.parametrize("prompt", ["/ # ", "# ", "root@host:~# ", "/lib/modules/5 # ", "$ "])
def test_a_prompt_before_them_changes_nothing(prompt: str) -> None:
    (head,) = heads(BOOT, f"{prompt}Division by zero in kernel.", *STACK, "and on")
    assert head.text == "Division by zero in kernel."
    assert kinds(BOOT, f"{prompt}BUG: counter is 3, expected 4") == []


def test_stamps_that_a_program_prints_do_not_hide_the_kernel_s_lines() -> None:
    dmesg = stamped("Linux version 5.0.0", "random: crng init done")
    found = kinds(BOOT, "# dmesg", *dmesg, "Kernel panic - not syncing: no stamps")
    assert found == [CrashKind.PANIC]


def test_frames_without_symbols_are_a_stack_too() -> None:
    frames = ["Function entered at [<c0110e60>] from [<c010b9e4>]"] * 3
    assert kinds(*stamped(BOOT, "odd", *frames, "and on")) == [CrashKind.BACKTRACE]


def test_words_of_both_are_the_kernel_s_with_its_marks_around_them() -> None:
    cut = "------------[ cut here ]------------"
    (marked,) = heads(BOOT, cut, "WARNING: never heard of")
    assert (marked.kind, marked.start) == (CrashKind.WARNING, 1)
    (proved,) = heads(BOOT, "BUG: never heard of", "more on it", *STACK, "and on")
    assert (proved.kind, proved.text, proved.start) == (CrashKind.BUG, "BUG: never heard of", 1)


def test_a_program_s_words_long_before_a_stack_are_not_its_head() -> None:
    between = [f"{number}" for number in range(60)]
    (head,) = heads(BOOT, "WARNING: of a program", *between, *STACK)
    assert head.kind is CrashKind.BACKTRACE


# Faults of programs

SIGBUS = [
    "8<--- cut here ---",
    "Unhandled fault: external abort on non-linefetch (0x1018) at 0xb6f5b678",
    "[b6f5b678] *pgd=6a0c1831, *pte=4c000643, *ppte=4c000c33",
]
REGISTERS = ["Hardware name: ARM-Versatile Express", "PC is at 0x85f4", "pc : [<000085f4>]"]


@pytest.mark.parametrize(
    "fault",
    [
        SIGBUS,
        ["app: unhandled page fault (11) at 0x00000004, code 0x017"],
        ["app (61): undefined instruction: pc=0x85f4"],
        ["potentially unexpected fatal signal 11."],
        ["[61] app: arm syscall 15728640"],
    ],
)
def test_a_program_that_faults_is_no_report_with_its_registers_either(fault: list[str]) -> None:
    reader = LogReader()
    lines = stamped(BOOT, *fault, CPU, *REGISTERS, "random: crng init done")
    assert heads(*lines, reader=reader) == []
    assert [head.kind for head in reader.process_faults] == [CrashKind.PROCESS_FAULT]


@pytest.mark.parametrize("after", ["Internal error: : 1018 [#1] SMP ARM", END])
def test_the_same_fault_in_the_kernel_is_an_oops(after: str) -> None:
    reader = LogReader()
    (head, *_more) = heads(*stamped(BOOT, *SIGBUS, after), reader=reader)
    assert (head.kind, head.start) == (CrashKind.OOPS, 1)
    assert head.text.startswith("Unhandled fault: external abort")
    assert reader.process_faults == []


def test_a_boot_begins_anew() -> None:
    reader = LogReader()
    lines = [*stamped(BOOT, *SIGBUS), *stamped(BOOT, "Internal error: : 1018 [#1]", at=0)]
    (head,) = heads(*lines, reader=reader)
    assert head.text.startswith("Internal error")
    assert reader.boots == 2


@pytest.mark.parametrize("words", ["a.c:1", "/", "rcu ", "INFO: task a:1"])
def test_a_long_line_takes_no_time_and_hides_nothing(words: str) -> None:
    """Each of these once made a pattern look over the rest of the line again and again."""
    long = words * (200_000 // len(words))
    panic = "Kernel panic - not syncing: x"
    (head,) = heads(*stamped(BOOT), long + stamped(panic)[0])
    assert head.text == panic
    (head,) = heads(BOOT, long + panic)
    assert head.kind is CrashKind.PANIC
