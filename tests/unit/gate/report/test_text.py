# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses

import pytest

from harness.gate.report import facts, text
from harness.gate.result import Decision, Finding, FindingKind, Measurement, ResultChange
from tests.unit.gate.report import samples

ACCEPTED = """\
ACCEPTED 120 tests pass, no new warning, no regression
1 patch on Linux 6.1.192, as 6.1.192
  0001-mm-cma.patch: mm: cma: say the area's name
tests: 120 of 120 tests passed
boot 612.3 ms -> 613.0 ms (+0.1 %)
1 measure as before
stages: apply 0.1 s, build 48.0 s, suite 51.9 s
  100.0 s in all, 2.0 s (2.0 %) of them the harness's own
artifacts: artifacts/gate
"""


def test_an_acceptance_is_short() -> None:
    assert text.render(samples.accepted()) == ACCEPTED


@pytest.mark.parametrize("decision", list(Decision))
def test_the_first_line_is_the_decision_and_why(decision: Decision) -> None:
    result = dataclasses.replace(samples.accepted(), decision=decision, reason="so\nit is")
    assert text.render(result).splitlines()[0] == f"{decision.value.upper()} so it is"


def test_a_rejection_says_what_changed_and_only_that() -> None:
    shown = text.render(samples.rejected()).splitlines()
    assert "test newly fails: " + samples.WRONG_AREA in shown
    assert "    0x69100000-0x691fffff      1 MiB  │ └ allocation   1 MiB from its start" in shown
    assert "    see suite/transcript.txt" in shown
    assert any("117 of 120 tests passed (a selection of 402); newly fails: 1;" in r for r in shown)
    assert "  newly passes: tests/cma/test_big.py::test_64" in shown
    assert "warning gone: mm/cma.c:99:2: warning: 'x' is used uninitialized" in shown
    assert (
        "map: CMA area BiscuitOS_cma moved 8 MiB up: 0x69800000-0x69ffffff -> 0x6a000000-0x6a7fffff"
    ) in shown
    assert ("latency: one page 12.0 us -> 15.6 us (+30.0 %), above the limit of +10.0 %") in shown
    assert not any("linux,cma" in row for row in shown if row.startswith("map:"))
    assert not any("kernel size" in row or "test_known" in row for row in shown)


def test_a_failing_test_is_told_once() -> None:
    assert text.render(samples.rejected()).count(samples.WRONG_AREA) == 1
    without = dataclasses.replace(samples.rejected(), findings=())
    assert f"  newly fails: {samples.WRONG_AREA} product WrongArea: in linux,cma" in (
        text.render(without)
    )


def test_long_parts_are_cut_and_say_so() -> None:
    finding = Finding(FindingKind.BUILD, "no", "\n".join(map(str, range(30))))
    tests = tuple(samples.changed(f"t{n}", ResultChange.NEWLY_FAILS, "crash") for n in range(12))
    result = dataclasses.replace(samples.accepted(), findings=(finding,) * 12, tests=tests)
    shown = text.render(result)
    assert "    23\n    … 6 more lines\n" in shown
    assert "    24\n" not in shown
    assert "and 2 more findings\n" in shown
    assert "  newly fails: t9 crash\n  and 2 more tests\n" in shown


def test_nothing_in_it_moves_the_cursor() -> None:
    shown = text.render(samples.hostile())
    assert all(part.isprintable() for part in shown.split("\n"))
    assert "@everyone red \\x00\\x08" in shown


def test_no_map_is_not_a_map_without_areas() -> None:
    shown = text.render(samples.infrastructure())
    assert "memory map: of the base only\n" in shown
    assert "missing" not in shown


@pytest.mark.parametrize(
    ("measure", "shown"),
    [
        (Measurement("a", "ms", 612.3, 612.31), "a 612.3 ms -> 612.3 ms (+0.002 %)"),
        (
            Measurement("a", "bytes", 1_000_000, 999_000),
            "a 1,000,000 bytes -> 999,000 bytes (-0.1 %)",
        ),
        (Measurement("a", "us", 0.0421, 0.05), "a 0.0421 us -> 0.05 us (+18.8 %)"),
        (Measurement("a", "pages", 0, 4), "a 0 pages -> 4 pages (from 0)"),
        (Measurement("a", "ms", 20, 20), "a 20.0 ms -> 20.0 ms (as before)"),
        (
            Measurement("a", "ms", 20, 30, 1.2),
            "a 20.0 ms -> 30.0 ms (+50.0 %), above the limit of +20.0 %",
        ),
    ],
)
def test_a_measure_on_a_line(measure: Measurement, shown: str) -> None:
    assert facts.measure_line(measure) == shown


def test_a_failing_test_has_its_line_its_story_and_a_command() -> None:
    test = "tests/cma/test_a.py::test_x"
    finding = Finding(
        FindingKind.TEST,
        test,
        "it says no",
        test=test,
        line="tests/cma/test_a.py:7: assert good",
        story=("$ ls /no", "  ls: /no: No such file", "  exit status 1"),
        alike=("tests/cma/test_a.py::test_y",),
        again=f"harness gate {'x' * 190}.patch --test {test}",
    )
    result = dataclasses.replace(samples.rejected(), findings=(finding,))
    said = text.render(result)
    assert "    and 1 more test that fails like it: test_y\n" in said
    assert "    at tests/cma/test_a.py:7: assert good\n" in said
    assert "      $ ls /no\n        ls: /no: No such file\n        exit status 1\n" in said
    assert f"once more: {finding.again}\n" in said, "it is there to be copied"
