# SPDX-License-Identifier: MIT
"""Saved logs, in the forms that people have them."""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import lzma
from collections.abc import Callable

import pytest

from harness.errors import UserError
from harness.machine.consolelog import Severity, judge_log
from harness.machine.kernelwords import CrashKind

BOOT = [
    "Booting Linux on physical CPU 0x0",
    "Linux version 6.1.192 (user@host) (gcc) #1 SMP",
    "Reserved memory: created CMA memory pool at 0x69800000, size 8 MiB",
    "OF: reserved mem: initialized node BiscuitOS_cma, compatible id shared-dma-pool",
    "Kernel command line: console=ttyAMA0 loglevel=8",
    "Memory: 500000K/524288K available",
]
WARNING = [
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: 51 at mm/cma.c:1 cma_alloc+0x4/0x8",
    "Modules linked in: cma(O+)",
    "CPU: 0 PID: 51 Comm: insmod Tainted: G           O       6.1.192 #1",
    " unwind_backtrace from show_stack+0x10/0x14",
    "---[ end trace 0000000000000000 ]---",
]
DIVISION = [
    "Division by zero in kernel.",
    "CPU: 0 PID: 61 Comm: insmod Not tainted 6.1.192 #1",
    " unwind_backtrace from show_stack+0x10/0x14",
    " Ldiv0 from cma_alloc+0x1a4/0x2e0",
]


def console(*lines: str) -> str:
    return "".join(f"[{n / 1e5:12.6f}] {line}\n" for n, line in enumerate(lines))


def again(*lines: str, form: str, dated: bool = False) -> str:
    """Each line in a form, with the kernel's own stamp where it has one."""
    made = console(*lines).splitlines() if dated else lines
    return "".join(form.replace("LINE", line) + "\n" for line in made)


OTHER = "WARNING: CPU: 0 PID: 1 at a unit file"
PLAIN = {
    "dmesg -T": "[Fri Nov 27 15:27:04 2026] LINE",
    "dmesg -T, German": "[Fr Nov 27 15:27:04 2026] LINE",
    "dmesg -e": "[  +0.000100] LINE",
    "dmesg --time-format iso": "2026-11-27T15:27:04,123456+00:00 LINE",
    "dmesg -x -t": "kern  :warn  : LINE",
    "dmesg -x -T": "kern  :warn  : [Fri Nov 27 15:27:04 2026] LINE",
    "dmesg -r without PRINTK_TIME": "<4>LINE",
    "journalctl": "Nov 27 15:27:04 host kernel: LINE",
    "short-precise": "Nov 27 15:27:04.123456 host kernel: LINE",
    "short-iso": "2026-11-27T15:27:04+0000 host kernel: LINE",
    "short-monotonic": "[    5.123456] host kernel: LINE",
    "short-unix": "1764257224.123456 host kernel: LINE",
    "short-full": "Fri 2026-11-27 15:27:04 UTC host kernel: LINE",
    "BusyBox's syslogd": "Nov 27 15:27:04 (none) kern.warn kernel: LINE",
    "RFC 5424": "<4>1 2026-11-27T15:27:04Z host kernel - - - LINE",
    "/dev/kmsg": "4,12,1000000,-;LINE",
    "/dev/kmsg with callers": "4,12,1000000,-,caller=T1;LINE",
}
STAMPED = {
    "console": "LINE",
    "dmesg -x": "kern  :info  : LINE",
    "dmesg -r": "<6>LINE",
    "GitHub": "2026-11-27T15:27:04.1234567Z LINE",
    "ts": "Nov 27 15:27:04 LINE",
    "minicom": "[2026-11-27 15:27:04] LINE",
    "grabserial": "[1.000000 0.000001] LINE",
    "LAVA": '- {"dt": "2026-11-27T15:27:04.123456", "lvl": "target", "msg": "LINE"}',
    "rsyslog": "Nov 27 15:27:04 host kernel: LINE",
    "dmesg --color": "\x1b[32mLINE\x1b[0m",
    "GitLab": "\x1b[0KLINE\r",
    "a quotation": "> > LINE",
    "an indented text": "    LINE",
    "grep -n": "12:LINE",
    "serial line": "LINE\r\r",
    "line feed first": "\rLINE",
    "pstore": "<4>LINE",
}


def dmesg_d(*lines: str) -> str:
    return console(*lines).replace("] ", " <    0.000100>] ")


def caller(*lines: str) -> str:
    return console(*lines).replace("] ", "][    T1] ")


def journal(*lines: str) -> str:
    other = f"Nov 27 15:27:05 host systemd[1]: {OTHER}\n-- Boot 0123456789abcdef --\n"
    return again(*lines, form=PLAIN["journalctl"]) + other


def transcript(*lines: str) -> str:
    text = "".join(
        f"[{1 + n / 1e3:11.6f}] ttyAMA0   {line}\n"
        for n, line in enumerate(console(*lines).splitlines())
    )
    return text + "[  2.000000] ttyAMA1   kernel BUG at a program's line\n"


def serial(*lines: str) -> str:
    return console(*lines).replace("\n", "\r\r\n") + "/ # \x1b[6n"


FORMS: dict[str, Callable[..., str]] = {
    **{name: functools.partial(again, form=form) for name, form in PLAIN.items()},
    **{name: functools.partial(again, form=form, dated=True) for name, form in STAMPED.items()},
    "dmesg -d": dmesg_d,
    "PRINTK_CALLER": caller,
    "a journal": journal,
    "transcript.txt": transcript,
    "a prompt": serial,
    "carriage returns": lambda *lines: console(*lines).replace("\n", "\r") + "\n",
    "after a boot loader": lambda *lines: (
        "U-Boot 2022.01\n\nStarting kernel ...\n\n" + console(*lines)
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_log_is_read_in_each_form(name: str) -> None:
    form = FORMS[name]
    log = judge_log(form(*BOOT))
    assert (log.exit_status, log.findings, log.complete) == (0, (), True)
    assert [(pool.name, pool.base) for pool in log.kernel.pools] == [("BiscuitOS_cma", 0x69800000)]
    log = judge_log(form(*BOOT, *WARNING, *DIVISION, "goes on"))
    assert log.exit_status == 1
    assert [item.kind for item in log.findings] == [CrashKind.WARNING, CrashKind.WARNING]
    assert [len(item.lines) for item in log.findings] == [6, 4]
    assert WARNING[0] in log.findings[0].lines[0]


def test_a_panic_is_fatal_and_one_finding_with_its_cause() -> None:
    oops = [
        "8<--- cut here ---",
        "Unable to handle kernel NULL pointer dereference at virtual address 00000000",
        "Internal error: Oops: 817 [#1] SMP ARM",
        "CPU: 0 PID: 51 Comm: insmod Tainted: G           O       6.1.192 #1",
        " cma_alloc from dma_alloc+0x10/0x14",
        "Kernel panic - not syncing: Fatal exception",
        "---[ end Kernel panic - not syncing: Fatal exception ]---",
    ]
    (finding,) = judge_log(console(*BOOT, *oops)).findings
    assert finding.severity is Severity.FATAL
    assert finding.kinds == (CrashKind.OOPS, CrashKind.OOPS, CrashKind.PANIC)
    assert len(finding.lines) == len(oops)


def test_a_fault_of_a_program_is_a_note() -> None:
    log = judge_log(console(*BOOT, "app: unhandled page fault (11) at 0x00000004, code 0x017"))
    assert log.exit_status == 0
    assert [item.severity for item in log.findings] == [Severity.NOTE]


def test_json_and_text_say_the_same() -> None:
    log = judge_log(console(*BOOT, *WARNING), "x.log")
    data = json.loads(json.dumps(log.as_dict()))
    assert data["trouble"] is True
    assert data["findings"][0]["severity"] == "trouble"
    assert data["areas"] == [{"name": "BiscuitOS_cma", "base": "0x69800000", "mib": 8, "line": 3}]
    assert "x.log line 7: warning (trouble)" in log.describe()
    assert log.describe().endswith("reports of trouble: 1")


def test_a_log_without_its_beginning_is_not_complete() -> None:
    log = judge_log(console("usb 1-1: reset"))
    assert not log.complete
    assert "nothing follows" in log.describe()


@pytest.mark.parametrize(
    "form",
    [
        "kern  :warn  : [Fri Nov 27 15:27:04 2026] LINE",
        "[Fri Nov 27 15:27:04 2026] LINE",
        "Nov 27 15:27:04.123456 host kernel: LINE",
        "<4>LINE",
    ],
)
def test_a_stack_without_known_words_is_found_in_each_form(form: str) -> None:
    (found,) = judge_log(again(*BOOT, "unheard of", *DIVISION[1:], "on", form=form)).trouble
    assert (found.kind, found.head) == (CrashKind.BACKTRACE, "unheard of")


@pytest.mark.parametrize(
    ("kernel", "program"),
    [
        ("kern  :warn  : LINE", f"user  :warn  : {OTHER}"),
        ("<4>LINE", f"<12>{OTHER}"),
        ("4,1,1000000,-;LINE", f"12,1,1000000,-;{OTHER}"),
        ("Nov 27 15:27:04.123456 host kernel: LINE", f"Nov 27 15:27:04.1 host app[5]: {OTHER}"),
        ("2026-11-27T15:27:04.1Z LINE", "2026-11-27T15:27:04.1Z WARNING: of a program"),
        ("[2026-11-27 15:27:04] LINE", "[2026-11-27 15:27:04] BUG: of a program"),
    ],
)
def test_a_program_s_line_is_no_report_in_each_form(kernel: str, program: str) -> None:
    assert judge_log(again(*BOOT, form=kernel) + program + "\n").findings == ()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"x", mtime=0), "is compressed .gzip.: `zcat x | harness parse-log -`"),
        (bz2.compress(b"x"), "is compressed .bzip2."),
        (lzma.compress(b"x"), "is compressed .xz."),
        (b"\x7fELF" + bytes(9000), "is no text"),
        (bytes(range(256)) * 20, "is no text"),
        (bytes(9000), "is empty"),
    ],
)
def test_what_is_no_log_is_said(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        judge_log(data, "x")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_log_is_read_as_windows_writes_it(encoding: str) -> None:
    text = console(*BOOT, *WARNING).replace("\n", "\r\n")
    assert len(judge_log(text.encode(encoding)).trouble) == 1


def test_an_empty_file_is_said() -> None:
    with pytest.raises(UserError, match="x is empty"):
        judge_log(b" \n", "x")
