# SPDX-License-Identifier: MIT
"""Finds the kernel's reports of trouble in a log, line by line: by their words, and without.

A report whose words are on no list is found by the stack that the kernel prints with it. And the
other way: where the kernel stamps its lines, a line without a stamp is a program's; where it does
not, words that programs use as well count only with the kernel's own marks around them.
"""

from __future__ import annotations

import dataclasses

from harness.machine.kernelwords import (
    BOOT,
    CUT,
    DUMP,
    END,
    FRAME,
    FRAME_FROM,
    KERNEL_OR_PROCESS,
    MULTIPLE,
    OWN_FRAME,
    PANIC_END,
    PROCESS_FAULT,
    PROMPT,
    REQUESTED,
    RULE,
    STAMP,
    TALKATIVE,
    TRACE,
    CrashKind,
    certain,
    possible,
)

LINES = 400
"""Lines after a head within which its stack is expected (lockdep prints much before it)."""
LINE = 4096
"""Characters at either end of a line that are looked at; the kernel's lines have fewer."""
DOUBTFUL_LINES = 40
"""The same after words that may be a program's."""
SECONDS = 5.0
"""The same in the kernel's own time, where it stamps its lines."""
DUMP_LINES = 60
"""Lines of one stack with its registers."""
ALL = frozenset(CrashKind)
WORSE = frozenset({CrashKind.PANIC, CrashKind.OOPS})
FIRST = 2
"""Lines at whose end a log whose beginning is cut off is in the middle of a stack, if it is."""
CLOSE = 0.5
"""Seconds within which the line before a stack is taken for the reason of it."""


@dataclasses.dataclass(frozen=True)
class Head:
    """The line that begins a report."""

    kind: CrashKind
    text: str
    """Without its stamp."""
    start: int
    """Where the report begins: the position given with its cut mark, or with the line itself."""


@dataclasses.dataclass
class _Report:
    """A report that has begun: whose the next stack is."""

    kind: CrashKind | None
    """None for stacks that somebody asked for."""
    head: Head | None = None
    stacks: int = 1
    """How many are still expected."""
    lines: int = 0
    """Since the last line that is surely of it."""
    seconds: float | None = None
    """The stamp of that line."""

    def over(self, seconds: float | None) -> bool:
        if self.kind is CrashKind.PANIC:
            return False
        if self.seconds is not None and seconds is not None and seconds - self.seconds > SECONDS:
            return True
        return self.lines > (DOUBTFUL_LINES if self.stacks == 0 and self.kind is None else LINES)

    def refresh(self, seconds: float | None) -> None:
        self.lines, self.seconds = 0, seconds


@dataclasses.dataclass
class _Line:
    """The last line of the kernel that was part of no report."""

    text: str
    position: int
    seconds: float | None


class LogReader:
    """Takes one line after the other; `feed` gives the heads that have become certain with it."""

    def __init__(self, stamped: bool = False) -> None:
        self.stamped = stamped
        """Whether this kernel stamps its lines; learnt from the log, or told."""
        self.boots = 0
        """How many times the kernel has begun to boot in this log."""
        self.process_faults: list[Head] = []
        """Programs that were killed for what they did."""
        self.of_report = False
        """Whether the last line was surely part of a report that has begun."""
        self._unstamped = False
        self._cut = -1
        self._after_cut = False
        self._report: _Report | None = None
        self._doubt: Head | None = None
        self._stack = 0  # lines left of the stack that is being printed
        self._framed = False
        self._announced = False  # lockdep's "stack backtrace:" stands above the line with the CPU
        self._previous: _Line | None = None
        self._lines = 0  # messages so far
        self._sure: int | None = None  # the last that was of a report without its end mark yet

    def continues(self) -> frozenset[CrashKind]:
        """Of which kinds a head in the next line would be of the report that began last."""
        report = self._report
        if report is None or report.kind in (None, CrashKind.PROCESS_FAULT):
            return frozenset()
        return ALL if report.stacks > 0 else WORSE

    def feed(self, line: str, position: int) -> tuple[Head, ...]:
        """Reads a line that begins at `position` (of whatever the caller counts)."""
        stamps = list(STAMP.finditer(line))
        # A program's `dmesg` prints stamps where the kernel's own lines have none.
        self._unstamped = self._unstamped or (not self.stamped and BOOT.match(line) is not None)
        if stamps and stamps[0].start() == 0 and not self._unstamped:
            self.stamped = True
        self.of_report = False
        if not stamps:
            return () if self.stamped else self._message(line, position, None)
        # Where line ends are lost, several messages stand on one line.
        heads: tuple[Head, ...] = ()
        ends = [stamp.start() for stamp in stamps[1:]] + [len(line)]
        for stamp, end in zip(stamps, ends, strict=True):
            if (text := line[stamp.end() : end]).strip() or end == len(line):
                heads += self._message(text, position, float(stamp[1]))
        return heads

    def _message(self, text: str, position: int, seconds: float | None) -> tuple[Head, ...]:
        """Reads one message, without its stamp."""
        if seconds is None and (prompt := PROMPT.match(text)):
            text = text[prompt.end() :]
        if len(text) > 2 * LINE:  # whatever a program prints without line ends
            text = f"{text[:LINE]} {text[-LINE:]}"
        text = text.rstrip()
        self._lines += 1
        if self._report is not None:
            self._report.lines += 1
            if self._report.over(seconds):
                self._close()
        after_cut, self._after_cut = self._after_cut, False
        self.of_report = self._stack > 0 or self.of_report
        heads = self._line(text, position, seconds, after_cut=after_cut)
        if not heads and not self._stack and text.strip():
            self._previous = _Line(text, position, seconds)
        return heads

    def _line(
        self, text: str, position: int, seconds: float | None, *, after_cut: bool
    ) -> tuple[Head, ...]:
        if BOOT.match(text):
            self._close()
            self._cut, self._previous = -1, None
            self.boots += 1
        elif CUT.search(text):
            self._close()
            self._cut, self._after_cut = position, True
        elif END.search(text):
            return self._end(text, position)
        elif RULE.match(text):
            self.of_report = self._report is not None
            if self._report is not None and self._report.kind in TALKATIVE:
                self._close()
        elif REQUESTED.search(text):
            self._close()
            self._report = _Report(None, stacks=1 << 30, seconds=seconds)
        elif (kind := certain(text)) is not None:
            return self._certain(kind, text, position, seconds)
        elif PROCESS_FAULT.search(text):
            self._process_fault(text, position, seconds)
        elif (kind := possible(text)) is not None:
            sure = after_cut or (kind is CrashKind.BUG and seconds is not None)
            return self._possible(kind, text, position, seconds, sure=sure)
        else:
            return self._stack_line(text, position, seconds)
        return ()

    def _close(self) -> None:
        """The report that was going on has ended."""
        self._report, self._doubt = None, None
        self._stack, self._framed = 0, False

    def _end(self, text: str, position: int) -> tuple[Head, ...]:
        """An end mark. After the fault of a "process" it says that the kernel itself died; one of
        a report whose beginning the log has not is all that is left of it.
        """
        report, head = self._report, self._doubt
        if report is None and (self._sure is None or self._lines - self._sure > LINES):
            panic = PANIC_END.search(text) is not None
            head = Head(CrashKind.PANIC if panic else CrashKind.BACKTRACE, text, position)
        self._sure = None
        if fault := self._doubtful_fault():
            head = dataclasses.replace(fault, kind=CrashKind.OOPS)
            self.process_faults.remove(fault)
        self.of_report = report is not None
        panicked = report is not None and report.kind is CrashKind.PANIC
        self._cut = -1
        if not panicked:
            self._close()
        return () if head is None else (head,)

    def _doubtful_fault(self) -> Head | None:
        """The last report, where it is of a fault that may be the kernel's own."""
        report = self._report
        if report is None or report.kind is not CrashKind.PROCESS_FAULT or report.head is None:
            return None
        return report.head if KERNEL_OR_PROCESS.match(report.head.text) else None

    def _begin(self, head: Head, seconds: float | None) -> tuple[Head, ...]:
        stacks = 1 << 30 if head.kind in MULTIPLE else 1
        self._close()
        self._report = _Report(head.kind, head, stacks, seconds=seconds)
        self._cut = -1
        self._sure = self._lines
        return (head,)

    def _certain(
        self, kind: CrashKind, text: str, position: int, seconds: float | None
    ) -> tuple[Head, ...]:
        start = position if self._cut < 0 else self._cut
        if kind is CrashKind.OOPS and (fault := self._doubtful_fault()):
            # The kernel's own fault begins with the same words as a process's.
            self.process_faults.remove(fault)
            text, start = fault.text, fault.start
        return self._begin(Head(kind, text, start), seconds)

    def _process_fault(self, text: str, position: int, seconds: float | None) -> None:
        start = position if self._cut < 0 else self._cut
        self._close()
        head = Head(CrashKind.PROCESS_FAULT, text, start)
        self.process_faults.append(head)
        self._report = _Report(CrashKind.PROCESS_FAULT, head, seconds=seconds)
        self._cut = -1

    def _possible(
        self, kind: CrashKind, text: str, position: int, seconds: float | None, *, sure: bool
    ) -> tuple[Head, ...]:
        head = Head(kind, text, position if self._cut < 0 else self._cut)
        if sure:
            return self._begin(head, seconds)
        if self._report is not None and self._report.kind and self._report.stacks:
            return ()  # a message in the middle of a report
        self._close()
        self._doubt = head
        self._report = _Report(None, head, stacks=0, seconds=seconds)
        return ()

    # Stacks

    def _stack_line(self, text: str, position: int, seconds: float | None) -> tuple[Head, ...]:
        frame = FRAME.match(text) is not None
        own = OWN_FRAME.search(text) is not None
        if self._stack:
            self._stack -= 1
            self._sure = self._lines
            self._framed = self._framed or frame
            if self._framed and not frame:
                self._stack, self.of_report = 0, False
                self._finish_stack()
            dump = DUMP.match(text)
            if self._stack and (not dump or self._announced):
                self._announced = self._announced and not dump
                return ()
        begins = DUMP.match(text) or (frame and own) or (self.stamped and TRACE.match(text))
        # A log that begins in the middle of a stack.
        begins = begins or (self._lines <= FIRST and FRAME_FROM.match(text))
        return self._begins_stack(text, position, seconds, frame=frame) if begins else ()

    def _finish_stack(self) -> None:
        """A report of one stack ends with it, but KASAN and its kin tell more."""
        report = self._report
        if report is not None and report.stacks == 0 and report.kind not in TALKATIVE:
            self._report = None

    def _begins_stack(
        self, text: str, position: int, seconds: float | None, *, frame: bool
    ) -> tuple[Head, ...]:
        report, announced = self._report, TRACE.match(text) is not None
        if report is not None and report.stacks > 0:
            report.stacks -= 1
            report.refresh(seconds)
            self._announced = announced
            self._stack, self._framed, self.of_report = DUMP_LINES, frame, True
            return ()
        heads = self._begin(self._doubt or self._unnamed(text, position, seconds), seconds)
        if self._report is not None:
            self._report.stacks = 0
        self._stack, self._framed = DUMP_LINES, frame
        self._announced = announced
        return heads

    def _unnamed(self, text: str, position: int, seconds: float | None) -> Head:
        """The head of a stack before which no known words stood: the line before it, if any."""
        before = self._previous
        start = position
        if before is not None:
            if seconds is None or before.seconds is None:
                start = before.position
            elif seconds - before.seconds <= CLOSE:
                text, start = before.text, before.position
        return Head(CrashKind.BACKTRACE, text, start if self._cut < 0 else self._cut)
