# SPDX-License-Identifier: MIT
"""What is done with generated mutants: compiler, patch tree and suite are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.builders.patch_tree import PatchTree
from harness.cli.app import main
from harness.cli.generated import _source, matching, status
from harness.coverage.record import CoverageRecord
from harness.errors import BuildError, UserError
from harness.gate.selection import GUARDS
from harness.imageset.linetable import SourceFunction
from harness.imageset.model import ImageSet
from harness.mutants.generated import FEW, Campaign, Choice, Source
from harness.mutants.objects import Compiler
from harness.mutants.operators import Change, changes
from harness.mutants.score import Fate, Score, Sheet, rate, table
from harness.testrun.result import FAILED, PASSED, CaseResult, SuiteResult
from harness.testrun.suite import Suite

TEXT = b"int f(int a)\n{\n\tif (a > 1)\n\t\treturn 2;\n\treturn 0;\n}\n"
FILE = "mm/cma.c"
SPECIFIC, BROAD, BOOT = "tests/cma/t.py::s", "tests/cma/t.py::b", GUARDS[0]
OTHER_BOOT = "tests/cma/test_at_boot.py::x"


def record(boot: Sequence[int] = (), **tests: Sequence[int]) -> CoverageRecord:
    lines = {SPECIFIC: tests.get("specific", (3,)), BROAD: tests.get("broad", (3, 4, 5)), BOOT: ()}
    lines[OTHER_BOOT] = ()
    return CoverageRecord(
        {FILE: frozenset({3, 4, 5})},
        (SourceFunction(FILE, 1, "f"),),
        {FILE: frozenset(boot)},
        {name: {FILE: frozenset(numbers)} for name, numbers in lines.items()},
    )


class FakeCompiler:
    """The object is the text without blanks; a text with ``--`` does not compile."""

    def digest(self, source: bytes) -> str:
        if b"!=" in source:
            raise BuildError("no such operator")
        return source.replace(b">= 1", b"> 1").decode()


class FakeTree:
    def __init__(self) -> None:
        self.done: list[str] = []

    def apply(self, patch: Path) -> None:
        self.done.append(patch.read_text())

    def build(self, to: Path) -> ImageSet:
        return ImageSet(Path("zImage"), Path(f"{to}"))

    def restore(self) -> None:
        self.done.append("restored")


class FakeSuite:
    """`red` fail, where a mutant is in or everywhere."""

    def __init__(self, red: Sequence[str] = (), always: Sequence[str] = ()) -> None:
        self.red, self.always = red, always
        self.asked: list[list[str]] = []

    def run(self, images: ImageSet, to: Path, select: Path, **_more: Any) -> SuiteResult:
        tests = select.read_text().split()
        self.asked.append(tests)
        bad = [*self.always, *(self.red if "unchanged" not in str(images.dtb) else ())]
        failing = [test for test in tests if test in bad][:1]
        cases = [CaseResult(test, "failed", "product", "wrong") for test in failing]
        cases += [CaseResult(test, "passed") for test in tests if test not in failing]
        return SuiteResult(FAILED if failing else PASSED, tuple(cases), 1.0, Path("log"))


def campaign(
    tmp_path: Path, suite: FakeSuite, known: CoverageRecord | None = None, tests: bool = True
) -> tuple[Campaign, Sheet, FakeTree]:
    tree = FakeTree()
    sheet = Sheet.open(tmp_path / "sheet.json", "6.1.0", {FILE: "text"}, "t")
    made = Campaign(
        cast(PatchTree, tree),
        cast(Suite, suite),
        Choice(known or record(), ["tests/cma/t.py::b"]),
        sheet,
        tmp_path,
        print,
        tests=tests,
    )
    if tests:
        made.prepare()
    return made, sheet, tree


def source() -> Source:
    return Source(FILE, TEXT, cast(Compiler, FakeCompiler()))


def one(operator: str, new: str) -> list[Change]:
    return [c for c in changes(TEXT, FILE) if c.operator == operator and c.new == new]


def test_a_test_that_executes_the_place_kills_it(tmp_path: Path) -> None:
    suite = FakeSuite(red=[BROAD])
    runs, _, tree = campaign(tmp_path, suite)
    (score,) = runs.run([source()], one("constant", "3"), None, 0)
    assert (score.fate, score.test, score.function) == (Fate.KILLED, BROAD, "f")
    # Only what executes line 4; and once more on the system as it is.
    assert suite.asked == [[BROAD], [BROAD]]
    assert "-\t\treturn 2;\n+\t\treturn 3;\n" in tree.done[0]
    assert tree.done[0].startswith("--- a/linux/mm/cma.c\n+++ b/linux/mm/cma.c\n")
    assert tree.done[1] == "restored"


def test_those_for_an_engine_are_chosen_and_not_tested(tmp_path: Path) -> None:
    runs, sheet, tree = campaign(tmp_path, suite := FakeSuite(red=[BROAD]), tests=False)
    every = changes(TEXT, FILE)
    fates = {score.fate for score in runs.run([source()], every, 2, 0)}
    assert Fate.UNKNOWN in fates
    assert fates <= {Fate.UNKNOWN, Fate.EQUIVALENT, Fate.DUPLICATE, Fate.DOES_NOT_BUILD}
    left = [score for score in sheet.scores.values() if score.fate is Fate.UNKNOWN]
    assert len(left) == 2
    assert len({score.digest for score in left}) == 2
    assert (suite.asked, tree.done) == ([], [])


def test_only_those_of_a_name_or_a_glob() -> None:
    made = changes(TEXT, FILE)
    constant = next(change for change in made if change.operator == "constant")
    assert matching(made, []) == made
    assert matching(made, [constant.name]) == [constant]
    assert set(matching(made, ["*constant*"])) == {c for c in made if c.operator == "constant"}
    with pytest.raises(UserError, match="no mutant of these files is called so"):
        matching(made, ["nothing"])


def test_the_most_specific_test_is_first(tmp_path: Path) -> None:
    runs, _, _ = campaign(tmp_path, suite := FakeSuite())
    (score,) = runs.run([source()], one("relational", "<="), None, 0)
    assert score.fate is Fate.SURVIVED
    assert suite.asked == [[SPECIFIC, BROAD]]


def test_a_test_that_fails_anyway_kills_nothing(tmp_path: Path) -> None:
    runs, _, _ = campaign(tmp_path, suite := FakeSuite(always=[SPECIFIC]))
    (score,) = runs.run([source()], one("relational", "<="), None, 0)
    assert score.fate is Fate.SURVIVED
    assert suite.asked == [[SPECIFIC, BROAD], [SPECIFIC], [BROAD]]


def test_what_the_boot_executes_is_judged_by_the_tests_of_the_boot(tmp_path: Path) -> None:
    known = record(boot=[4], specific=(), broad=())
    runs, _, _ = campaign(tmp_path, suite := FakeSuite(), known)
    (score,) = runs.run([source()], one("constant", "3"), None, 0)
    assert score.fate is Fate.SURVIVED
    assert suite.asked == [[BOOT], [OTHER_BOOT, BROAD]]


def test_what_nobody_executes_is_said_and_not_run(tmp_path: Path) -> None:
    runs, _, _ = campaign(tmp_path, suite := FakeSuite(), record(specific=(), broad=(3,)))
    (score,) = runs.run([source()], one("constant", "3"), None, 0)
    assert (score.fate, suite.asked) == (Fate.NOT_EXECUTED, [])


def test_the_same_object_is_equivalent_or_a_duplicate(tmp_path: Path) -> None:
    runs, _, _ = campaign(tmp_path, FakeSuite(red=[BROAD]))
    found = list(runs.run([source()], one("relational", ">="), None, 0))
    assert [score.fate for score in found] == [Fate.EQUIVALENT]
    change = one("constant", "3")[0]
    other = Change(**{**vars(change), "operator": "twin"})
    found = list(runs.run([source()], [change, other], None, 0))
    assert sorted(score.fate for score in found) == [Fate.DUPLICATE, Fate.KILLED]


def test_what_the_compiler_refuses_does_not_count(tmp_path: Path) -> None:
    runs, _, _ = campaign(tmp_path, FakeSuite())
    change = Change(**{**vars(one("relational", "<=")[0]), "new": "!="})
    (score,) = runs.run([source()], [change], None, 0)
    assert (score.fate, score.message) == (Fate.DOES_NOT_BUILD, "no such operator")


def test_a_run_goes_on_from_its_sheet(tmp_path: Path) -> None:
    every = changes(TEXT, FILE)
    runs, _, _ = campaign(tmp_path, FakeSuite(red=[BROAD]))
    first = list(runs.run([source()], every, 2, 7))
    again, sheet, _ = campaign(tmp_path, suite := FakeSuite(red=[BROAD]))
    assert list(again.run([source()], every, 2, 7)) == []
    assert suite.asked == []
    more = list(again.run([source()], every, None, 7))
    assert {score.name for score in first}.isdisjoint({score.name for score in more})
    assert sheet.scores.keys() == {change.name for change in every}


def test_a_sheet_of_another_kernel_or_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "sheet.json"
    sheet = Sheet.open(path, "6.1.0", {"a.c": "1", "b.c": "1"}, "t")
    sheet.add(Score("x", "a.c", "f", "constant", Fate.KILLED))
    sheet.add(Score("y", "b.c", "f", "constant", Fate.KILLED))
    sheet.add(Score("z", "b.c", "f", "constant", Fate.UNKNOWN))
    assert list(Sheet.open(path, "6.1.0", {"a.c": "2", "b.c": "1"}, "t").scores) == ["y"]
    assert list(Sheet.open(path, "6.1.0", {"c.c": "1"}, "t").scores) == ["x", "y"]
    assert list(Sheet.open(path, "7.3.0", {"a.c": "1"}, "t").scores) == []
    sheet.add(Score("v", "b.c", "f", "constant", Fate.EQUIVALENT))
    assert list(Sheet.open(path, "6.1.0", {"a.c": "1"}, "others").scores) == ["v"], (
        "no test said it"
    )
    path.write_text("{}")
    with pytest.raises(UserError, match="no results of generated mutants"):
        Sheet.open(path, "6.1.0", {}, "t")


def test_the_score_is_of_those_that_are_executed() -> None:
    fates = [Fate.KILLED] * 3 + [Fate.SURVIVED, Fate.NOT_EXECUTED, Fate.EQUIVALENT]
    scores = [Score(f"m{i}", FILE, "f", "constant", fate) for i, fate in enumerate(fates)]
    assert rate(scores) == 0.75
    assert rate(scores[4:]) is None
    text = table(scores)
    assert "mm/cma.c:f       3         1             1" in text
    assert text.endswith("survived: f: m3")


def test_few_tests_first() -> None:
    tests = {f"tests/cma/t.py::t{n:02}": {FILE: frozenset({4})} for n in range(FEW + 3)}
    known = CoverageRecord({FILE: frozenset({4})}, (), {}, tests)
    first, rest = Choice(known, []).rounds(one("constant", "3")[0])
    assert (len(first), len(rest)) == (FEW, 3)


def test_a_file_that_is_not_built_is_told(tmp_path: Path) -> None:
    (tmp_path / "linux" / "mm").mkdir(parents=True)
    (tmp_path / "linux" / "mm" / "ksm.c").write_text("int x;\n")
    kernel = SimpleNamespace(tree=tmp_path / "linux", obj=tmp_path / "obj", release="6.1.192")
    with pytest.raises(UserError, match=r"mm/ksm.c: Linux 6.1.192.* is built without it"):
        _source(cast(PatchTree, SimpleNamespace(kernel=kernel)), "mm/ksm.c", tmp_path)


def test_a_record_of_coverage_is_for_generated_mutants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "--coverage", "/nowhere"]) == 2
    assert "--coverage goes with --generate" in capsys.readouterr().err


@pytest.mark.parametrize("fates", [(), (Fate.KILLED, Fate.EQUIVALENT)])
def test_all_killed_is_a_success(fates: tuple[Fate, ...]) -> None:
    assert status([Score("m", FILE, "f", "constant", fate) for fate in fates]) == 0


def test_a_survivor_is_told_before_what_is_not_known() -> None:
    scores = [Score("m", FILE, "f", "constant", fate) for fate in (Fate.UNKNOWN, Fate.SURVIVED)]
    assert (status(scores), status(scores[:1])) == (1, 3)
