# SPDX-License-Identifier: MIT
"""The words by which a kernel reports trouble, and those that only look like it.

Sources, of Linux 4.4 to 7.3: ``kernel/panic.c``, ``lib/bug.c``, ``lib/ubsan.c``,
``lib/dump_stack.c``, ``arch/arm/kernel/traps.c``, ``arch/arm/kernel/process.c``,
``arch/arm/mm/fault.c``, ``arch/arm/mm/alignment.c``, ``kernel/watchdog.c``,
``kernel/rcu/tree_stall.h``, ``kernel/hung_task.c``, ``kernel/locking/lockdep.c``,
``kernel/irq/spurious.c``, ``mm/oom_kill.c``, ``mm/page_alloc.c``, ``mm/slub.c``,
``mm/kasan/report.c``, ``mm/kfence/report.c``, ``drivers/tty/sysrq.c``.
"""

from __future__ import annotations

import enum
import re


class CrashKind(enum.Enum):
    """What a report of the kernel is, most severe first."""

    PANIC = "panic"
    OOPS = "oops"
    UNDEFINED_INSTRUCTION = "undefined instruction"
    BUG = "BUG"
    LOCKUP = "lockup"
    RCU_STALL = "RCU stall"
    HUNG_TASK = "hung task"
    OOM = "out of memory"
    KASAN = "KASAN report"
    KFENCE = "KFENCE report"
    LOCKDEP = "lockdep report"
    UBSAN = "UBSAN report"
    WARNING = "warning"
    BACKTRACE = "backtrace"
    """The kernel printed its stack, after words that are on no list."""
    PROCESS_FAULT = "fault of a process"
    """A program did what it must not, and was sent a signal: no trouble of the kernel's."""

    @property
    def fatal(self) -> bool:
        """Whether the machine cannot be used any more after it."""
        return self in (
            CrashKind.PANIC,
            CrashKind.OOPS,
            CrashKind.UNDEFINED_INSTRUCTION,
            CrashKind.BUG,
            CrashKind.LOCKUP,
            CrashKind.KASAN,
            CrashKind.KFENCE,
        )


def _table(*rows: tuple[CrashKind, str]) -> tuple[tuple[CrashKind, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern)) for kind, pattern in rows)


_LOCKDEP = (
    "possible |circular locking |suspicious RCU usage|inconsistent lock state|"
    "bad (unlock balance|contention)|held lock freed|lock held when returning|"
    "Nested lock was not taken|chain_key collision|"
    r"HARDIRQ-safe|SOFTIRQ-safe|invalid wait context|\S+/\d+ still has locks held"
)
CERTAIN = _table(
    (CrashKind.PANIC, r"Kernel panic - not syncing"),
    (CrashKind.BUG, r"[Kk]ernel BUG at |Internal error: Oops - BUG"),
    (CrashKind.UNDEFINED_INSTRUCTION, r"Internal error: .*undefined instruction"),
    (CrashKind.OOPS, r"Internal error: |Unable to handle kernel |Bad mode in .* handler detected"),
    (CrashKind.OOPS, r"Insufficient stack space to handle exception"),
    (CrashKind.LOCKUP, r"BUG: (soft|workqueue) lockup|detected hard LOCKUP|BUG: spinlock lockup"),
    (
        CrashKind.RCU_STALL,
        r"rcu\w*:? .*(detected stall|self-detected stall|detected expedited stall)",
    ),
    (
        CrashKind.RCU_STALL,
        r"rcu\w* kthread (starved for|timer wakeup didn't happen for) \d+ jiffies",
    ),
    (
        CrashKind.HUNG_TASK,
        r"INFO: task .+:\d+ blocked\b.* for more than \d+ seconds"
        r"|INFO: The task .+:\d+ has been waiting for writeback completion for more than \d+ sec",
    ),
    (CrashKind.OOM, r"invoked oom-killer|[Oo]ut of memory: Kill|Out of memory and no killable"),
    (CrashKind.UBSAN, r"^UBSAN: "),
    (CrashKind.KASAN, r"^BUG: KASAN: "),
    (CrashKind.KFENCE, r"^BUG: KFENCE: "),
    (CrashKind.BUG, r"^BUG: (KCSAN|KMSAN): |^BUG .+ \((Not tainted|Tainted:.*)\): "),
    (
        CrashKind.BUG,
        r"^BUG: (sleeping function called from|scheduling (while atomic|in a non-blocking)"
        r"|Bad (page|rss)|using |workqueue leaked )",
    ),
    (CrashKind.BUG, r"^BUG: (spinlock|rwlock|non-zero \w+ on freeing mm|unable to handle|Dentry)"),
    (CrashKind.BUG, r"list_(add|del) corruption|slab error in |^Slab corruption \("),
    (CrashKind.BUG, r"^SLUB:? \S+:? \d+ (partial )?slabs counted but counter="),
    (CrashKind.BUG, r"\S+\.[ch]:\d+: bad p(te|md|ud|4d|gd) |Bad swap (file|offset) entry"),
    (
        CrashKind.WARNING,
        r"WARNING: CPU: \d+ PID: \d+ at |WARNING: .*\bCPU#\d+: |WARNING: at \S+:\d+ ",
    ),
    (CrashKind.LOCKDEP, rf"^WARNING: ({_LOCKDEP})|^\[ (BUG|INFO): .*\]$"),
    (CrashKind.WARNING, r"^refcount_t: "),
    (CrashKind.WARNING, r"^Division by zero in kernel\."),
    (CrashKind.WARNING, r"^irq \d+: nobody cared|^irq event \d+: bogus return value"),
    (CrashKind.WARNING, r"^unexpected IRQ trap at vector "),
    (CrashKind.LOCKDEP, r"^INFO: trying to register non-static key|^DEBUG_LOCKS_WARN_ON\("),
    (CrashKind.WARNING, r": page allocation (failure|stalls?)\b"),
    (CrashKind.WARNING, r"^sysfs: cannot create duplicate filename "),
)
"""Heads that no program prints: taken on a console without time stamps too."""

POSSIBLE = _table(
    (CrashKind.BUG, r"^BUG: |^BUG \S+ \("),
    (CrashKind.WARNING, r"^WARNING: "),
)
"""Heads that programs print as well: the kernel's where its cut mark stands before or its stack
comes after, and a BUG where it stamped the line. (A bare ``WARNING: …`` of the kernel is a message,
as that on the ``mand`` mount option is.)"""

_EITHER = r"^Unhandled (fault|prefetch abort): |^Alignment trap: not handling "
KERNEL_OR_PROCESS = re.compile(_EITHER)
"""What ``arch/arm/mm`` says of a program, and of the kernel itself: then an ``Internal error``
comes after it."""
PROCESS_FAULT = re.compile(
    _EITHER + r"|: undefined instruction: pc=|: unhandled page fault \(\d+\) at "
    r"|^\[\d+\] .+: (arm syscall \d|obsolete system call |bad data abort: )"
    r"|potentially unexpected fatal signal \d"
)
"""What the kernel says of a program that it sends a signal."""

REQUESTED = re.compile(
    r"^(sysrq|SysRq) ?: (Show|Changing|HELP|Dump|Trigger)|^FAULT_INJECTION: forcing a failure"
)
"""After these, the stacks of tasks and processors are printed because somebody asked for them."""

STAMP = re.compile(r"(?:<\d+>)?\[ *(\d+\.\d{6})\](?:\[ *[TC]\d+\])? ?")
"""What ``CONFIG_PRINTK_TIME`` and ``CONFIG_PRINTK_CALLER`` put before a line; group 1: seconds."""
PROMPT = re.compile(r"(?:\S+ |\S*)[#$] (?=\S)")
"""A shell's, after which the kernel's words come on the same line where it stamps none."""
BOOT = re.compile(r"Booting Linux on ")
CUT = re.compile(r"cut here")
END = re.compile(r"---\[ end (trace|Kernel panic)")
PANIC_END = re.compile(r"---\[ end Kernel panic")
RULE = re.compile(r"={60,}$")
"""Stands before and after reports of KASAN, KFENCE, lockdep, older UBSAN, and before SLUB's."""
DUMP = re.compile(r"^CPU: \d+ (UID: \d+ )?PID: \d+ Comm: ")
"""``dump_stack_print_info()`` in ``lib/dump_stack.c``."""
TRACE = re.compile(r"^(Call trace|Backtrace): *$|^(Call trace|Backtrace): \S|^stack backtrace:$")
"""A stack follows. Programs print such lines too."""
FRAME = re.compile(
    r"^ *(?:\[<[0-9a-f]+>\] )?"
    r"(?:\([^()]+\) from \[<|Function entered at \[<|\[<[0-9a-f]+>\] \S+\+0x"
    r"|[\w.$]+(?: \[\w+\])?(?: from [\w.$]+)?\+0x[0-9a-f]+/0x[0-9a-f]+)"
    r"|^ r\d+:[0-9a-f]{8}|^Exception stack\(|^[0-9a-f]{4}:(?: +[0-9a-f]{8})+|^Code: "
)
"""One frame, as ``dump_backtrace_entry()`` in ``arch/arm/kernel/traps.c`` and its older forms, and
the registers and words that stand between frames."""
FRAME_FROM = re.compile(
    r" ?\[<[0-9a-f]+>\] \([^()]+\) from \[<|Function entered at \[<"
    r"| [\w.$]+(?: \[\w+\])? from [\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+"
)
"""A frame that no program prints."""
OWN_FRAME = re.compile(
    r"\b(unwind_backtrace|dump_backtrace|show_stack|dump_stack(_lvl)?)\)?(\+0x\S+)?"
    r"( \[\w+\])?\)? from |^Function entered at \[<"
)
"""The kernel's own printer of stacks is on the stack: ``dump_stack()``, not a list of tasks."""
TALKATIVE = frozenset(
    {CrashKind.BUG, CrashKind.KASAN, CrashKind.KFENCE, CrashKind.LOCKDEP, CrashKind.UBSAN}
)
"""Reports that go on behind their stack, up to a rule where they have one."""
MULTIPLE = frozenset(
    {
        CrashKind.PANIC,
        CrashKind.OOPS,
        CrashKind.LOCKUP,
        CrashKind.RCU_STALL,
        CrashKind.HUNG_TASK,
        CrashKind.OOM,
    }
)
"""Reports with the stacks of several tasks or processors."""


def certain(text: str) -> CrashKind | None:
    """The kind of report that the line, without its stamp, begins; None if a program may say so."""
    return next((kind for kind, pattern in CERTAIN if pattern.search(text)), None)


def possible(text: str) -> CrashKind | None:
    """The same for what programs say too."""
    return next((kind for kind, pattern in POSSIBLE if pattern.search(text)), None)
