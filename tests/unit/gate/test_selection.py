# SPDX-License-Identifier: MIT
"""Which tests judge which change."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.builders.changed_code import DRIVER, ChangedCode, changed_code
from harness.coverage.functions import FunctionMap, read
from harness.coverage.record import CoverageRecord
from harness.errors import UserError
from harness.gate.selection import GUARDS, LOOK, SPECIFIC, Evidence, PatchChange, Selection, select
from harness.guest.executed import UNPLACED, in_driver
from harness.imageset.linetable import SourceFunction
from harness.imageset.model import ImageSet
from harness.imageset.objects import CodeChange

CMA = "mm/cma.c"
SOURCE = ["int alloc(void)", "{", "\tif (busy())", "\t\tretry();", "\treturn 1;", "}"]
GUARD = GUARDS[0]


def executing(*lines: int) -> dict[str, frozenset[int]]:
    return {CMA: frozenset(lines)}


EVIDENCE = Evidence(
    CoverageRecord(
        {CMA: frozenset({3, 4, 5})},
        (SourceFunction(CMA, 1, "alloc"),),
        executing(5),
        {"wide": executing(3, 4, 5), "narrow": executing(3, 4), "other": executing(3)},
    ),
    FunctionMap(
        frozenset({"alloc", "boots"}),
        {
            "wide": frozenset({"alloc", "printk", "kfree", in_driver("ioctl")}),
            "narrow": frozenset({"alloc", "printk"}),
            "other": frozenset({"alloc", "printk", "kfree"}),
            "idle": frozenset({"printk"}),
            GUARD: frozenset({"printk", "kfree", "a", "b", "c", "d"}),
        },
    ),
)


def chosen(
    at: int = 0, new: str = "\t\tother();", evidence: Evidence = EVIDENCE, **objects: CodeChange
) -> Selection:
    """For a change of a line of `SOURCE` and objects by their name with ``_`` for ``/``."""
    diff = f"--- a/{CMA}\n+++ b/{CMA}\n@@ -{at} +{at} @@\n-{SOURCE[at - 1]}\n+{new}\n" if at else ""
    code = ChangedCode({f"{name.replace('_', '/', 1)}.o": part for name, part in objects.items()})
    return select(evidence, PatchChange(diff, code, lambda path: SOURCE))


def functions(*names: str) -> CodeChange:
    return CodeChange(frozenset(names), every=frozenset({*names, "neighbour"}))


def test_who_executes_the_line_is_taken_and_the_most_specific_is_first() -> None:
    found = chosen(4, mm_cma=functions("alloc"))
    assert found.tests == ("narrow", "wide", GUARD)
    assert found.executing == {"narrow", "wide"}
    assert found.why == "2 tests execute what it changes (alloc); 1 more guard"


def test_of_many_tests_those_that_execute_what_others_do_not_are_first() -> None:
    common = frozenset(f"f{number}" for number in range(20))
    tests = {f"t{number:02d}": common for number in range(40)} | {"odd": common | {"rare"}}
    evidence = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests))
    assert evidence.ordered(tests)[:2] == ["odd", "t00"]


def test_of_many_tests_those_that_find_most_are_spread_among_the_specific_ones() -> None:
    common = frozenset(f"f{number}" for number in range(20))
    broad = {f"{LOOK[number % 3]}::test_{number}": common for number in range(30)}
    rare = {f"rare{number:02d}": common | {f"rare {number}"} for number in range(SPECIFIC)}
    others = {f"other{number:02d}": common for number in range(20)}
    tests = {**others, **rare, **broad}
    found = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests)).ordered(tests)
    assert sorted(found) == sorted(tests)
    first = found[: len(broad) + len(rare)]
    assert {*first} == {*broad, *rare}
    assert [test in rare for test in first[:8]] == [False, False, False, True] * 2
    assert found[len(first) :] == sorted(others)


def test_of_many_tests_those_that_execute_what_is_rare_around_a_change_are_first() -> None:
    names = [f"t{number:02d}" for number in range(40)]
    lines = {**dict.fromkeys(names, executing(3, 5)), "t33": executing(3, 4, 5)}
    record = CoverageRecord(EVIDENCE.lines.code, EVIDENCE.lines.functions, executing(9), lines)
    odd = dict.fromkeys(names, frozenset({"alloc"})) | {"t11": frozenset({"alloc", "rare"})}
    evidence = Evidence(record, FunctionMap(frozenset(), odd))
    assert evidence.ordered(names)[0] == "t11"
    found = chosen(3, "\tif (idle())", evidence, mm_cma=functions("alloc"))
    assert (found.tests[0], len(found.tests)) == ("t33", 40)


def test_of_many_alike_the_cheap_classes_are_first_and_none_is_torn_apart() -> None:
    common = frozenset(f"f{number}" for number in range(20))
    names = [f"a.py::{kind}::t{n}" for n in range(20) for kind in ("Dear", "Cheap", "Middle")]
    seconds = {name: {"D": 3.0, "C": 0.1, "M": 0.9}[name.split("::")[1][0]] for name in names}
    seconds["a.py::Middle::t3"] = 2.9
    tests = dict.fromkeys(names, common) | {"odd": common | {"rare"}}
    evidence = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests), seconds=seconds)
    found = evidence.ordered(tests)
    assert found[0] == "odd"
    rest = [name.split("::")[1] for name in found[SPECIFIC:]]
    assert rest == sorted(rest, key=["Cheap", "Middle", "Dear"].index)
    assert set(found) == tests.keys()


def test_where_lines_do_not_tell_functions_do() -> None:
    found = chosen(mm_slab=functions("kfree"))
    assert found.tests[:3] == ("other", "wide", GUARD)


def test_a_header_is_judged_by_the_functions_whose_code_it_changed() -> None:
    diff = "--- a/include/linux/cma.h\n+++ b/include/linux/cma.h\n@@ -1 +1 @@\n-a\n+b\n"
    code = ChangedCode({"mm/cma.o": functions("kfree")})
    assert select(EVIDENCE, PatchChange(diff, code)).executing == {"other", "wide", GUARD}


def test_a_line_that_the_boot_executes_takes_all_tests() -> None:
    found = chosen(5, mm_cma=functions("alloc"))
    assert found.whole
    assert set(found.tests) == EVIDENCE.functions.tests.keys()
    assert found.tests[:2] == (GUARD, "wide"), "first who executes it after the boot too"
    assert found.why == "all tests: the boot executes what it changes (alloc)"


def test_what_the_boot_did_is_judged_before_others_boot() -> None:
    accounts = "tests/cma/test_at_boot.py::TestAccounts::test_it"
    tests = {**EVIDENCE.functions.tests, accounts: frozenset({"printk"})}
    evidence = Evidence(EVIDENCE.lines, FunctionMap(EVIDENCE.functions.boot, tests))
    found = chosen(5, evidence=evidence, mm_cma=functions("alloc"))
    assert found.tests[:3] == (GUARD, accounts, "wide")


def test_changed_data_is_judged_by_whoever_executes_a_function_beside_it() -> None:
    part = CodeChange(data=frozenset({"table"}), every=frozenset({"kfree", "x"}))
    assert chosen(mm_slab=part).executing == {"other", "wide", GUARD}
    assert chosen(4, mm_cma=part).executing == {"other", "wide", GUARD}


@pytest.mark.parametrize("reach", ["the device tree", "how the kernel is configured or linked"])
def test_what_is_no_code_takes_all_tests(reach: str) -> None:
    found = select(EVIDENCE, PatchChange("", ChangedCode(reach=reach)))
    assert found.whole
    assert len(found.tests) == len(EVIDENCE.functions.tests)
    assert found.why == f"all tests: it changes {reach}"


@pytest.mark.parametrize(
    ("reach", "first"),
    [
        ("the application", "tests/cma/test_app.py::test_x"),
        ("the device tree", "tests/cma/test_device_tree.py::test_x"),
        ("how the kernel is configured or linked", GUARD),
    ],
)
def test_of_all_tests_those_of_what_was_changed_come_first(reach: str, first: str) -> None:
    tests = dict.fromkeys(
        ["a", "tests/cma/test_app.py::test_x", "tests/cma/test_device_tree.py::test_x", GUARD],
        frozenset({"printk"}),
    )
    evidence = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests))
    found = select(evidence, PatchChange("", ChangedCode(reach=reach)))
    assert found.tests[0] == first
    assert set(found.tests) == tests.keys()


def test_what_nobody_executes_is_left_to_the_guards_and_said() -> None:
    found = chosen(mm_slab=functions("unused"))
    assert found.tests == (GUARD,)
    assert found.why.startswith("no test and no boot executes what it changes (unused)")
    assert chosen().why.startswith("it changes no code that is built")


def test_the_driver_s_functions_are_its_own() -> None:
    code = ChangedCode({DRIVER: functions("ioctl")})
    assert select(EVIDENCE, PatchChange("", code)).executing == {"wide"}
    code = ChangedCode({DRIVER: functions("kfree")})
    assert select(EVIDENCE, PatchChange("", code)).executing == set()


def test_a_test_whose_driver_was_not_found_counts_for_each_change_of_it() -> None:
    tests = {**EVIDENCE.functions.tests, "lost": frozenset({UNPLACED})}
    evidence = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests))
    code = ChangedCode({DRIVER: functions("ioctl")})
    assert select(evidence, PatchChange("", code)).executing == {"lost", "wide"}


def test_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = FunctionMap(frozenset({"x"}), {"a": frozenset({"x", "y"}), "none": frozenset()})
    made.write(tmp_path / "f.json")
    assert read(tmp_path / "f.json") == made
    FunctionMap(frozenset(), {}).write(tmp_path / "f.json")
    assert read(tmp_path / "f.json") == FunctionMap(frozenset(), {})
    (tmp_path / "f.json").write_text('{"schema": 1, "functions": [], "tests": {"a": "7"}}')
    with pytest.raises(UserError, match="no map of functions"):
        read(tmp_path / "f.json")


class TestChangedCode:
    @pytest.fixture
    def images(self, tmp_path: Path) -> tuple[ImageSet, ImageSet]:
        sets = []
        for name in ("before", "after"):
            (tmp_path / name / "mm").mkdir(parents=True)
            for file in ("dtb", "app"):
                (tmp_path / name / file).write_bytes(b"the same")
            dtb = tmp_path / name / "dtb"
            sets.append(ImageSet(dtb, dtb, app=tmp_path / name / "app"))
        return sets[0], sets[1]

    def judged(self, images: tuple[ImageSet, ImageSet], *steps: str, touched: str = "") -> str:
        before, after = images
        built = before.dtb.parent, after.dtb.parent
        found = changed_code([touched], steps, built, images)
        assert not found.objects or "a new object" in found.objects["mm/new.o"].data
        return found.reach

    def test_what_is_the_same_is_no_change(self, images: tuple[ImageSet, ImageSet]) -> None:
        for one in images:
            (one.dtb.parent / "mm" / "cma.o").write_bytes(b"no object, and the same")
        assert self.judged(images, "mm/cma.o", "vmlinux.o", "/elsewhere/images/module/cma.o") == ""

    def test_device_tree_and_application(self, images: tuple[ImageSet, ImageSet]) -> None:
        images[1].dtb.write_bytes(b"other")
        assert self.judged(images) == "the device tree"
        images[1].dtb.write_bytes(images[0].dtb.read_bytes())
        assert images[1].app is not None
        images[1].app.write_bytes(b"other")
        assert self.judged(images) == "the application"

    def test_configuration(self, images: tuple[ImageSet, ImageSet]) -> None:
        for path in ("linux/mm/Kconfig", "linux/arch/arm/configs/vexpress_defconfig"):
            assert self.judged(images, touched=path) == "how the kernel is configured or linked"

    def test_a_new_object(self, images: tuple[ImageSet, ImageSet]) -> None:
        (images[1].dtb.parent / "mm" / "new.o").write_bytes(b"x")
        assert self.judged(images, "mm/new.o") == "which objects the kernel has"

    def test_what_is_no_object(self, images: tuple[ImageSet, ImageSet]) -> None:
        for number, one in enumerate(images):
            (one.dtb.parent / "mm" / "cma.o").write_bytes(b"%d" % number)
        assert self.judged(images, "mm/cma.o").startswith("what cannot be compared (")


def test_where_nothing_tells_tests_apart_the_cheap_ones_are_first() -> None:
    names = [f"a.py::{kind}::t{n}" for n in range(20) for kind in ("Dear", "Cheap")]
    tests = {name: frozenset({"f", name}) for name in names}
    seconds = {name: 3.0 if "Dear" in name else 0.1 for name in names}
    evidence = Evidence(EVIDENCE.lines, FunctionMap(frozenset(), tests), seconds=seconds)
    change = PatchChange("", ChangedCode({}, "the application"))
    found = select(evidence, change)
    assert found.whole
    assert len(found.tests) == 40
    assert all("Cheap" in name for name in found.tests[:20])
