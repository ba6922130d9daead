# SPDX-License-Identifier: MIT
"""Results to make reports of: a rich rejection, a plain acceptance, and one full of traps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from harness.gate.result import (
    Area,
    Decision,
    Finding,
    FindingKind,
    GateResult,
    InputPatch,
    Measurement,
    ResultChange,
    Stage,
    TestChange,
)
from harness.memory.ranges import AddressRange
from harness.testrun.result import CaseResult, Outcome

MIB = 1 << 20


def changed(test: str, change: ResultChange, verdict: str = "", message: str = "") -> TestChange:
    """A test that changed: it fails where it has a verdict."""
    outcome: Outcome = "failed" if verdict else "passed"
    return TestChange(CaseResult(test, outcome, verdict, message), change)


ARTIFACTS = Path("artifacts/gate")


def area(name: str, start: int, size: int, cma: bool = True) -> Area:
    return Area(name, AddressRange.from_size(start, size), cma)


RAM = area("System RAM", 0x60000000, 512 * MIB, cma=False)
BEFORE = (
    RAM,
    area("Kernel code", 0x60008000, 0x7F8000, cma=False),
    Area("Kernel data", AddressRange(0x60900000, 0x609BD988), cma=False),
    area("linux,cma", 0x69000000, 8 * MIB),
    area("BiscuitOS_cma", 0x69800000, 8 * MIB),
    area("first", 0x6C000000, MIB),
    area("second", 0x6C100000, MIB),
    area("third", 0x6C200000, MIB),
)
AFTER = (
    RAM,
    area("Kernel code", 0x60008000, 0x7F8000, cma=False),
    Area("Kernel data", AddressRange(0x60900000, 0x609BD9C8), cma=False),
    area("linux,cma", 0x69000000, 8 * MIB),
    area("BiscuitOS_cma", 0x6A000000, 8 * MIB),
    area("first", 0x6C000000, 4 * MIB),
    area("third", 0x6C400000, 2 * MIB),
    area("fourth", 0x6C600000, MIB),
)

BOOT = ((0.0, "the kernel starts"), (0.35, "the DMA pool is allocated"), (0.612, "init starts"))
WRONG_AREA = "tests/cma/test_area.py::test_the_driver_gets_its_own_area[6.1]"
EXPLANATION = """\
WrongArea (product): 0x69100000-0x691fffff is in linux,cma (0x69000000-0x697fffff), expected \
BiscuitOS_cma (0x69800000-0x69ffffff), 7 MiB below it
0x60000000-0x7fffffff    512 MiB  RAM (/proc/iomem)
0x60000000-0x60007fff     32 KiB  ├ other memory
0x69000000-0x697fffff      8 MiB  ├ linux,cma      ▕····████························▏
0x69100000-0x691fffff      1 MiB  │ └ allocation   1 MiB from its start
0x69800000-0x69ffffff      8 MiB  ├ BiscuitOS_cma  ▕································▏ expected
"""
EXCERPT = """\
[    1.472995] cma: loading out-of-tree module taints kernel.
[    1.495440] Find CMA: default
# /usr/bin/CMA_area_app-0.0.1
physical 0x69100000
"""


FINDINGS = (
    Finding(
        FindingKind.COMPILER_WARNING,
        "mm/cma.c:431:6: warning: unused variable 'ret' [-Wunused-variable]",
        "mm/cma.c: In function 'cma_alloc':\nmm/cma.c:431:6: warning: unused variable 'ret'"
        "\n  431 |  int ret;\n      |      ^~~",
        ARTIFACTS / "build" / "patched.log",
    ),
    Finding(
        FindingKind.TEST,
        WRONG_AREA,
        EXPLANATION,
        ARTIFACTS / "suite/transcript.txt",
        EXCERPT,
        WRONG_AREA,
    ),
    Finding(FindingKind.REGRESSION, "latency: one page", "12.0 us -> 15.6 us, the limit is +10 %"),
)


def accepted() -> GateResult:
    """Nothing came of it but a slightly larger kernel."""
    return GateResult(
        decision=Decision.ACCEPTED,
        reason="120 tests pass, no new warning, no regression",
        patches=(
            InputPatch("0001-mm-cma.patch", "mm: cma: say the area's name", "A. Dev", ("a.c",)),
        ),
        base="Linux 6.1.192",
        release="6.1.192",
        tests_run=120,
        tests_passed=120,
        tests_of=120,
        measures=(
            Measurement("boot", "ms", 612.3, 613.0, 1.05),
            Measurement("kernel size", "bytes", 4912344, 4912344),
        ),
        map_before=BEFORE,
        map_after=BEFORE,
        boot_before=BOOT,
        boot_after=(*BOOT[:2], (0.813, "init starts")),
        stages=(Stage("apply", 0.1, 0.1), Stage("build", 48.0, 0.4), Stage("suite", 51.9, 1.5)),
        started="2024-05-06T07:08:09+00:00",
        artifacts=ARTIFACTS,
    )


def rejected() -> GateResult:
    """Everything that a report has a place for."""
    return dataclasses.replace(
        accepted(),
        decision=Decision.REJECTED,
        reason="1 test newly fails, and 2 more findings",
        patches=(
            InputPatch(
                "0001-mm-cma-take-the-default-area.patch",
                "mm: cma: take the default area where the name is not known",
                "A. Developer",
                ("linux/mm/cma.c", "linux/include/linux/cma.h"),
            ),
            InputPatch(
                "0002-module.patch", "module: ask for it", "B. Reviewer", ("images/module/c.c",)
            ),
        ),
        findings=FINDINGS,
        tests_passed=117,
        tests_of=402,
        tests=(
            changed(WRONG_AREA, ResultChange.NEWLY_FAILS, "product", "WrongArea: in linux,cma"),
            changed("tests/cma/test_big.py::test_64", ResultChange.NEWLY_PASSES),
            changed(
                "tests/cma/test_a.py::test_known", ResultChange.STILL_FAILS, "product", "as known"
            ),
            changed("tests/cma/test_a.py::test_new", ResultChange.NEW),
            changed("tests/cma/test_a.py::test_old", ResultChange.GONE),
        ),
        warnings_gone=("mm/cma.c:99:2: warning: 'x' is used uninitialized",),
        measures=(
            *accepted().measures,
            Measurement("latency: one page", "us", 12.0, 15.6, 1.10),
            Measurement("pages left behind", "pages", 0, 4),
        ),
        map_after=AFTER,
        transcript_diff=(
            "--- base",
            "+++ patched",
            "@@ -41,3 +41,3 @@",
            " Memory: 503000K/524288K available",
            "-cma: Reserved 8 MiB at 0x69800000",
            "+cma: Reserved 8 MiB at 0x6a000000",
        ),
        notes=("test_big was tried again: QEMU was killed the first time",),
    )


TRAP = (
    "<script>alert(1)</script> & \"quoted\" 'too' ``` ```` | @everyone \x1b[31mred\x1b[0m \x00\x08"
)
HOSTILE_LINES = f"{TRAP}\n````\n/merge\n</details>\n]]>\udcff\ufffe\u202eevil\r\n</pre></svg>"


def hostile() -> GateResult:
    """Every text that a patch, a compiler or a guest can choose is a trap."""
    return GateResult(
        decision=Decision.REJECTED,
        reason=TRAP,
        patches=(InputPatch(TRAP, HOSTILE_LINES, TRAP, (TRAP, "javascript:alert(1)")),),
        base=TRAP,
        release=TRAP,
        findings=(
            Finding(
                FindingKind.TEST,
                TRAP,
                HOSTILE_LINES,
                ARTIFACTS / 'a"><script>:?#.txt',
                HOSTILE_LINES,
                TRAP,
            ),
            Finding(FindingKind.CRASH, HOSTILE_LINES, TRAP, Path("javascript:alert(1)")),
        ),
        tests_run=3,
        tests=tuple(changed(TRAP, change, TRAP, HOSTILE_LINES) for change in ResultChange),
        warnings_gone=(TRAP,),
        measures=(
            Measurement(TRAP, TRAP, 1.0, 2.0, 1.5),
            Measurement("no number", "ms", float("nan"), float("inf"), 1.1),
        ),
        map_before=(RAM, area(TRAP, 0x69000000, MIB)),
        map_after=(RAM, area(TRAP, 0x6A000000, MIB), area(HOSTILE_LINES, 0x6B000000, 4096)),
        transcript_diff=(f"+{TRAP}", f"-{TRAP}", TRAP),
        notes=(TRAP, HOSTILE_LINES),
        stages=(Stage(TRAP, 1.0),),
        started=TRAP,
        artifacts=ARTIFACTS,
    )


def infrastructure() -> GateResult:
    """The host had no room left."""
    return GateResult(
        decision=Decision.INFRASTRUCTURE,
        reason="QEMU does not start, twice",
        patches=accepted().patches,
        base="Linux 6.1.192",
        findings=(
            Finding(FindingKind.INFRASTRUCTURE, "qemu-system-arm: no space left", "on device"),
        ),
        map_before=BEFORE,
        stages=(Stage("apply", 0.1, 0.1), Stage("build", 48.0, 0.4)),
    )


def not_judged() -> GateResult:
    """A patch for another tree."""
    return GateResult(
        decision=Decision.NOT_JUDGED,
        reason="0001-mm-cma.patch does not apply",
        patches=accepted().patches,
        base="Linux 6.1.192",
        findings=(
            Finding(FindingKind.APPLY, "mm/cma.c: hunk 2 of 3", "error: patch failed: mm/cma.c:9"),
        ),
    )


Make = Callable[[], GateResult]
ALL: tuple[Make, ...] = (accepted, rejected, hostile, infrastructure, not_judged)
