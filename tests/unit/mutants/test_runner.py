# SPDX-License-Identifier: MIT
"""The verdict on a mutant, with patch_tree and suite replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from harness.builders.patch_tree import PatchError, PatchTree
from harness.errors import BuildError
from harness.gate.selection import Selection
from harness.imageset.model import ImageSet
from harness.mutants.patchfile import Mutant
from harness.mutants.report import ResultTable, as_json, exit_status, summary
from harness.mutants.runner import MutantStatus, NotGreen, Result, Runner
from harness.mutants.selected import Chooser
from harness.testrun.result import FAILED, NOTHING, PASSED, CaseResult, SuiteResult
from harness.testrun.suite import Suite

IMAGES = ImageSet(Path("zImage"), Path("dtb"))


class FakeWorkshop:
    def __init__(self, error: Exception | None = None, fails_at: str = "apply") -> None:
        self.error = error
        self.fails_at = fails_at
        self.done: list[str] = []

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.error is not None and what == self.fails_at:
            raise self.error

    def apply(self, patch: Path) -> None:
        self._do("apply")

    def build(self, to: Path) -> ImageSet:
        self._do("build")
        return IMAGES

    def restore(self) -> None:
        self._do("restore")


class FakeSuite:
    def __init__(self, *outcomes: SuiteResult | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []

    def run(
        self,
        images: ImageSet,
        to: Path,
        expression: str = "",
        targets: Sequence[str] = (),
        stop_after: int = 1,
        select: Path | None = None,
    ) -> SuiteResult:
        self.asked.append(expression if select is None else f"@{select.name}")
        result = self.outcomes.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result


def outcome(status: int, verdict: str = "", test: str = "test_x") -> SuiteResult:
    case = CaseResult(test, "failed" if verdict else "passed", verdict, "why")
    return SuiteResult(status, () if status == NOTHING else (case,), 1.0, Path("log"))


GREEN, NONE = outcome(PASSED), outcome(NOTHING)
RED, HOST = outcome(FAILED, "product"), outcome(FAILED, "infrastructure")
OTHER = outcome(FAILED, "product", "test_other[given]")


def mutant(name: str = "m", harmless: bool = False, kernels: tuple[str, ...] = ()) -> Mutant:
    by = "" if harmless else "test_x"
    return Mutant(Path(f"{name}.patch"), "it breaks", harmless, by, kernels, ("linux/mm/cma.c",))


def runner(tmp_path: Path, patch_tree: FakeWorkshop, suite: FakeSuite) -> Runner:
    return Runner(
        cast(PatchTree, patch_tree), cast(Suite, suite), "6.1", tmp_path, lambda text: None
    )


def run(tmp_path: Path, suite: FakeSuite, one: Mutant | None = None) -> tuple[Result, list[str]]:
    """One mutant, after the named tests have passed without it."""
    patch_tree = FakeWorkshop()
    made = runner(tmp_path, patch_tree, suite)
    suite.outcomes.insert(0, GREEN)
    made.check_suite([one or mutant()])
    patch_tree.done.clear()
    (result,) = made.run([one or mutant()])
    return result, patch_tree.done


class FakeChooser:
    def choose(self, tree: object, images: ImageSet, to: Path) -> tuple[Selection, Path]:
        return Selection(("test_x",), "1 test executes it"), to / "select.txt"


@pytest.mark.parametrize(
    ("outcomes", "status", "asked"),
    [
        ([RED], MutantStatus.CAUGHT, ["@select.txt"]),
        ([GREEN, OTHER], MutantStatus.MISSED, ["@select.txt", ""]),
        ([GREEN, RED], MutantStatus.BY_CHANCE, ["@select.txt", ""]),
        ([GREEN, GREEN], MutantStatus.SURVIVED, ["@select.txt", ""]),
        ([HOST, HOST], MutantStatus.INFRASTRUCTURE, ["@select.txt"] * 2),
    ],
)
def test_what_a_gate_would_choose_is_compared_with_the_whole_suite(
    tmp_path: Path, outcomes: list[SuiteResult], status: MutantStatus, asked: list[str]
) -> None:
    suite, tree = FakeSuite(*outcomes), FakeWorkshop()
    made = Runner(
        cast(PatchTree, tree),
        cast(Suite, suite),
        "6.1",
        tmp_path,
        lambda text: None,
        lambda images: cast(Chooser, FakeChooser()),
    )
    made.check_suite([mutant()])
    (result,) = made.run([mutant()])
    assert (result.status, suite.asked) == (status, asked)
    assert "1 test chosen: 1 test executes it" in ResultTable([mutant()]).line(result)
    bad = (MutantStatus.MISSED, MutantStatus.BY_CHANCE, MutantStatus.SURVIVED)
    assert exit_status([result]) == int(status in bad) or status is MutantStatus.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([RED], MutantStatus.CAUGHT),
        ([outcome(FAILED, "crash")], MutantStatus.CAUGHT),
        ([outcome(FAILED, "timeout")], MutantStatus.CAUGHT),
        ([GREEN, GREEN, RED, RED, GREEN], MutantStatus.ELSEWHERE),
        ([GREEN, GREEN, RED, GREEN], MutantStatus.UNSTABLE),
        ([GREEN, GREEN, RED, RED, RED], MutantStatus.UNSTABLE),
        ([GREEN, GREEN, GREEN], MutantStatus.SURVIVED),
        ([GREEN, RED], MutantStatus.INFRASTRUCTURE),
        ([NONE], MutantStatus.NO_TEST),
        ([HOST, RED], MutantStatus.CAUGHT),
        ([HOST, HOST], MutantStatus.INFRASTRUCTURE),
        ([GREEN, GREEN, HOST, HOST], MutantStatus.INFRASTRUCTURE),
        ([outcome(3), outcome(3)], MutantStatus.INFRASTRUCTURE),
        ([outcome(-9, "product"), GREEN, GREEN, GREEN], MutantStatus.SURVIVED),
    ],
)
def test_what_comes_of_a_mutant(
    tmp_path: Path, outcomes: list[SuiteResult], status: MutantStatus
) -> None:
    suite = FakeSuite(*outcomes)
    result, done = run(tmp_path, suite)
    assert result.status is status
    assert suite.outcomes == [], "all runs were asked for"
    assert done == ["apply", "build", "restore"]
    assert result.test == (
        "test_x" if status in (MutantStatus.CAUGHT, MutantStatus.ELSEWHERE) else result.test
    )


def test_all_tests_are_run_where_the_named_ones_pass_and_first_without_the_mutant(
    tmp_path: Path,
) -> None:
    suite = FakeSuite(GREEN, GREEN, GREEN, GREEN, GREEN, GREEN)
    made = runner(tmp_path, FakeWorkshop(), suite)
    made.check_suite([mutant()])
    list(made.run([mutant("one"), mutant("two")]))
    assert suite.asked == ["(test_x)", "test_x", "", "", "test_x", ""]


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([GREEN], MutantStatus.PASSED),
        ([RED], MutantStatus.FALSE_ALARM),
        ([HOST, GREEN], MutantStatus.PASSED),
        ([HOST, HOST], MutantStatus.INFRASTRUCTURE),
        ([NONE], MutantStatus.FALSE_ALARM),
    ],
)
def test_what_comes_of_a_harmless_change(
    tmp_path: Path, outcomes: list[SuiteResult], status: MutantStatus
) -> None:
    result, _ = run(tmp_path, FakeSuite(*outcomes), mutant(harmless=True))
    assert result.status is status


def changes(count: int) -> list[Mutant]:
    return [mutant(f"h{number}", harmless=True) for number in range(count)]


def test_harmless_changes_that_pass_together_are_run_once(tmp_path: Path) -> None:
    suite, patch_tree = FakeSuite(GREEN), FakeWorkshop()
    results = list(runner(tmp_path, patch_tree, suite).run(changes(4)))
    assert [result.status for result in results] == [MutantStatus.PASSED] * 4
    assert patch_tree.done == ["apply"] * 4 + ["build", "restore"]


def test_the_one_that_is_not_harmless_is_found_among_many(tmp_path: Path) -> None:
    """Four together, the first two, one, the other; the last two together."""
    suite = FakeSuite(RED, RED, GREEN, RED, GREEN)
    results = list(runner(tmp_path, FakeWorkshop(), suite).run(changes(4)))
    assert {result.mutant.name: result.status for result in results} == {
        "h0": MutantStatus.PASSED,
        "h1": MutantStatus.FALSE_ALARM,
        "h2": MutantStatus.PASSED,
        "h3": MutantStatus.PASSED,
    }
    assert suite.outcomes == []


def test_changes_that_do_not_apply_together_are_tried_apart(tmp_path: Path) -> None:
    class Clash(FakeWorkshop):
        def apply(self, patch: Path) -> None:
            if patch.stem == "h2" and "apply" in self.done:
                raise PatchError("it clashes with the others")
            super().apply(patch)

        def restore(self) -> None:
            self.done.clear()

    suite = FakeSuite(GREEN, GREEN)
    results = list(runner(tmp_path, Clash(), suite).run(changes(3)))
    assert [result.mutant.name for result in results] == ["h0", "h1", "h2"]
    assert {result.status for result in results} == {MutantStatus.PASSED}


def test_changes_that_do_not_build_together_are_tried_apart(tmp_path: Path) -> None:
    patch_tree = FakeWorkshop(BuildError("error"), "build")
    results = list(runner(tmp_path, patch_tree, FakeSuite()).run(changes(2)))
    assert [result.status for result in results] == [MutantStatus.DOES_NOT_BUILD] * 2


@pytest.mark.parametrize(
    ("error", "fails_at", "status"),
    [
        (PatchError("Hunk #1 FAILED"), "apply", MutantStatus.DOES_NOT_APPLY),
        (BuildError("cma.c:1: error"), "build", MutantStatus.DOES_NOT_BUILD),
    ],
)
def test_a_mutant_that_cannot_be_tried_is_told_and_taken_off(
    tmp_path: Path, error: Exception, fails_at: str, status: MutantStatus
) -> None:
    patch_tree = FakeWorkshop(error, fails_at)
    (result,) = runner(tmp_path, patch_tree, FakeSuite()).run([mutant()])
    assert result.status is status
    assert result.message == str(error)
    assert patch_tree.done[-1] == "restore"


def test_a_mutant_for_other_kernels_is_left_alone_and_not_counted(tmp_path: Path) -> None:
    patch_tree = FakeWorkshop()
    (result,) = runner(tmp_path, patch_tree, FakeSuite()).run([mutant(kernels=("6.12",))])
    assert result.status is MutantStatus.OTHER_KERNEL
    assert patch_tree.done == []
    assert summary([result]) == "0 of 0 mutants caught, 0 of 0 harmless passed"


def test_an_interrupt_takes_the_mutant_off(tmp_path: Path) -> None:
    patch_tree = FakeWorkshop()
    with pytest.raises(KeyboardInterrupt):
        list(runner(tmp_path, patch_tree, FakeSuite(KeyboardInterrupt())).run([mutant()]))
    assert patch_tree.done[-1] == "restore"


def test_a_suite_that_is_red_without_a_mutant_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotGreen, match="test_x"):
        runner(tmp_path, FakeWorkshop(), FakeSuite(RED)).check_suite([mutant()])


def test_without_a_mutant_only_the_named_tests_are_run_unless_one_is_harmless(
    tmp_path: Path,
) -> None:
    suite = FakeSuite(GREEN, GREEN)
    made = runner(tmp_path, FakeWorkshop(), suite)
    made.check_suite([mutant()])
    made.check_suite([mutant(), mutant(harmless=True)])
    assert suite.asked == ["(test_x)", ""]


def result(status: MutantStatus, harmless: bool = False) -> Result:
    return Result(mutant(harmless=harmless), status, 1.0, 2.0, "test_x", "product", "why")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([MutantStatus.CAUGHT, MutantStatus.ELSEWHERE, MutantStatus.OTHER_KERNEL], 0),
        ([MutantStatus.CAUGHT, MutantStatus.SURVIVED], 1),
        ([MutantStatus.CAUGHT, MutantStatus.DOES_NOT_APPLY], 1),
        ([MutantStatus.CAUGHT, MutantStatus.DOES_NOT_BUILD], 1),
        ([MutantStatus.CAUGHT, MutantStatus.NO_TEST], 1),
        ([MutantStatus.SURVIVED, MutantStatus.INFRASTRUCTURE], 3),
        ([MutantStatus.CAUGHT, MutantStatus.UNSTABLE], 3),
    ],
)
def test_the_exit_status(statuses: list[MutantStatus], expected: int) -> None:
    assert exit_status([result(status) for status in statuses]) == expected


def test_the_summary_counts_what_was_caught_and_says_where() -> None:
    results = [
        result(MutantStatus.CAUGHT),
        result(MutantStatus.ELSEWHERE),
        result(MutantStatus.DOES_NOT_BUILD),
    ]
    results += [result(MutantStatus.PASSED, True), result(MutantStatus.FALSE_ALARM, True)]
    assert summary(results) == (
        "2 of 3 mutants caught, 1 of 2 harmless passed (1 caught by another test than named)"
    )


def test_the_table_and_the_json_have_the_test_that_caught_it() -> None:
    caught = result(MutantStatus.CAUGHT)
    line = ResultTable([caught.mutant]).line(caught)
    assert "test_x (product)" in line
    assert "it breaks" in line
    content = as_json([caught], kernel="6.1")
    assert content["kernel"] == "6.1"
    assert content["mutants"][0]["status"] == "caught"
    assert content["mutants"][0]["test"] == "test_x"
