# SPDX-License-Identifier: MIT
"""Saved logs, in the forms that people have them."""

from __future__ import annotations

import json
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


def dmesg_x(*lines: str) -> str:
    return "".join(f"kern  :info  : {line}\n" for line in console(*lines).splitlines())


def dmesg_r(*lines: str) -> str:
    return "".join(f"<6>{line}\n" for line in console(*lines).splitlines())


def dmesg_t(*lines: str) -> str:
    return "".join(f"[Fri Nov 27 15:27:04 2026] {line}\n" for line in lines)


def kmsg(*lines: str) -> str:
    return "".join(f"6,{n},{n * 10},-;{line}\n" for n, line in enumerate(lines))


def journal(*lines: str) -> str:
    other = "Nov 27 15:27:05 host systemd[1]: WARNING: CPU: 0 PID: 1 at a unit file\n"
    return "".join(f"Nov 27 15:27:04 host kernel: {line}\n" for line in lines) + other


def transcript(*lines: str) -> str:
    text = "".join(
        f"[{1 + n / 1e3:11.6f}] ttyAMA0   {line}\n"
        for n, line in enumerate(console(*lines).splitlines())
    )
    return text + "[  2.000000] ttyAMA1   kernel BUG at a program's line\n"


def serial(*lines: str) -> str:
    return console(*lines).replace("\n", "\r\r\n") + "/ # \x1b[6n"


@pytest.mark.parametrize(
    "form", [console, dmesg_x, dmesg_r, dmesg_t, kmsg, journal, transcript, serial]
)
def test_a_log_is_read_in_each_form(form: Callable[..., str]) -> None:
    log = judge_log(form(*BOOT))
    assert (log.exit_status, log.findings, log.complete) == (0, (), True)
    assert [(pool.name, pool.base) for pool in log.kernel.pools] == [("BiscuitOS_cma", 0x69800000)]
    log = judge_log(form(*BOOT, *WARNING, *DIVISION, "goes on"))
    assert log.exit_status == 1
    assert [item.kind for item in log.findings] == [CrashKind.WARNING, CrashKind.WARNING]
    assert [len(item.lines) for item in log.findings] == [6, 4]
    assert log.findings[0].lines[0].endswith(WARNING[0])
    assert log.findings[0].line == 7


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


def test_an_empty_file_is_said() -> None:
    with pytest.raises(UserError, match="x is empty"):
        judge_log(b" \n", "x")
