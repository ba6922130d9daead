# SPDX-License-Identifier: MIT
"""KTAP as kselftest and KUnit print it, whole and damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.ktap import (
    BAIL_OUT,
    MISSING,
    TOTALS,
    UNPLANNED,
    KtapOutcome,
    KtapReport,
    KtapTest,
    NoKtap,
    parse_ktap,
)
from harness.ktap.parser import DEEPEST

KSELFTEST = """\
TAP version 13
1..4
# timeout set to 45
# selftests: mm: map_fixed
# TAP version 13
# 1..3
# # mapped at 0x1000
# ok 1 mmap() @ 0x1000
# not ok 2 mmap() @ 0x2000
# ok 3 # SKIP hugetlb: no pages
# # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
not ok 1 selftests: mm: map_fixed # exit=1
# selftests: mm: run.sh
# running
# ok 1 is no result: nothing announced it
ok 2 selftests: mm: run.sh
# selftests: mm: no_hardware
# TAP version 13
# 1..0 # SKIP no such device
ok 3 selftests: mm: no_hardware # SKIP
# selftests: mm: slow
#
not ok 4 selftests: mm: slow # TIMEOUT 45 seconds
"""
KUNIT = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: cma_alloc
    # module: cma_test
    1..3
    ok 1 first_fit
    # aligned: EXPECTATION FAILED at mm/cma_test.c:42
    Expected addr == 0x69800000, but
    not ok 2 aligned
        KTAP version 1
        # Subtest: sizes
        ok 1 one page
        ok 2 all pages # SKIP too slow
        # sizes: pass:1 fail:0 skip:1 total:2
    ok 3 sizes
# cma_alloc: pass:2 fail:1 skip:0 total:3
# Totals: pass:2 fail:1 skip:1 total:4
not ok 1 cma_alloc
    KTAP version 1
    # Subtest: ranges
    1..1
    ok 1 empty
ok 2 ranges
"""
OLD_KUNIT = """\
TAP version 14
\t# Subtest: sysctl_test
\t1..2
\tok 1 - sysctl_null
\tok 2 - sysctl_length
ok 1 - sysctl_test
\t# Subtest: list
\t1..1
\tok 1 - list_add
ok 2 - list
"""


def outline(report: KtapReport) -> list[str]:
    """Each case as `path: OUTCOME`."""
    return [f"{case}: {case.test.outcome.name}" for case in report.cases()]


def only(text: str) -> KtapTest:
    """The one test of a text that has one."""
    (test,) = parse_ktap(f"KTAP version 1\n1..1\n{text}\n").tests
    return test


def logged(text: str, prefix: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


# The dialects


def test_kselftest_nests_by_hashes() -> None:
    report = parse_ktap(KSELFTEST)
    assert outline(report) == [
        "selftests: mm: map_fixed > mmap() @ 0x1000: PASS",
        "selftests: mm: map_fixed > mmap() @ 0x2000: FAIL",
        "selftests: mm: map_fixed > test 3: SKIP",
        "selftests: mm: run.sh: PASS",
        "selftests: mm: no_hardware: SKIP",
        "selftests: mm: slow: TIMEOUT",
    ]
    first, second, _, last = report.tests
    assert (first.outcome, first.reason) == (KtapOutcome.FAIL, "exit=1")
    assert first.children[2].reason == "hugetlb: no pages"
    assert first.children[0].diagnostics[-1] == "mapped at 0x1000"
    assert "ok 1 is no result: nothing announced it" in second.diagnostics
    assert (last.directive, last.reason) == ("TIMEOUT", "45 seconds")
    assert not any(test.problems for test in report.tests)


def test_kunit_nests_by_indentation_to_any_level() -> None:
    report = parse_ktap(KUNIT)
    assert outline(report) == [
        "cma_alloc > first_fit: PASS",
        "cma_alloc > aligned: FAIL",
        "cma_alloc > sizes > one page: PASS",
        "cma_alloc > sizes > all pages: SKIP",
        "ranges > empty: PASS",
    ]
    aligned = report.tests[0].children[1]
    assert aligned.diagnostics == (
        "aligned: EXPECTATION FAILED at mm/cma_test.c:42",
        "Expected addr == 0x69800000, but",
    )
    assert not any(test.problems for test in report.tests)


def test_kunit_of_5_x_names_its_suites_without_a_version_line() -> None:
    assert outline(parse_ktap(OLD_KUNIT)) == [
        "sysctl_test > sysctl_null: PASS",
        "sysctl_test > sysctl_length: PASS",
        "list > list_add: PASS",
    ]


def test_a_suite_of_debugfs_is_a_document_without_a_head() -> None:
    text = "    KTAP version 1\n    # Subtest: s\n    1..1\n    ok 1 a\nok 1 s\n"
    assert outline(parse_ktap(text * 2)) == ["s > a: PASS", "s > a: PASS"]


def test_tap_14_names_what_begins_after_the_line() -> None:
    text = """\
TAP version 14
1..1
# Subtest: outer
    1..2
    # Subtest: one
        1..1
        ok 1 - a
    ok 1 - one
    # Subtest: two
        1..1
        not ok 1 - a
    not ok 2 - two
not ok 1 - outer
"""
    report = parse_ktap(text)
    assert outline(report) == ["outer > one > a: PASS", "outer > two > a: FAIL"]
    assert not report.problems


def test_a_document_can_have_a_name() -> None:
    text = """\
KTAP version 1
# Subtest: suite
1..2
    KTAP version 1
    # Subtest: sizes
    1..1
    ok 1 one page
ok 1 sizes
ok 2 other
"""
    assert outline(parse_ktap(text)) == ["suite > sizes > one page: PASS", "suite > other: PASS"]


def test_several_documents_are_read_one_after_the_other() -> None:
    text = "TAP version 13\n1..1\nok 1 a\nKTAP version 1\nok 1 b\nok 2 c\n"
    assert outline(parse_ktap(text)) == ["a: PASS", "b: PASS", "c: PASS"]
    assert outline(parse_ktap("1..1\nok 1 a\n1..1\nok 1 b\n")) == ["a: PASS", "b: PASS"]


def test_two_programs_of_one_script_are_both_its_tests() -> None:
    inner = "# TAP version 13\n# 1..1\n# ok 1 {}\n"
    report = parse_ktap(f"TAP version 13\n1..1\n{inner.format('a')}{inner.format('b')}ok 1 script")
    assert outline(report) == ["script > a: PASS", "script > b: PASS"]


def test_an_indented_document_is_a_document() -> None:
    assert outline(parse_ktap("  KTAP version 1\n  1..1\n  ok 1 a\n")) == ["a: PASS"]


@pytest.mark.parametrize(
    ("line", "outcome", "directive", "reason", "name"),
    [
        ("ok 1 a", KtapOutcome.PASS, "", "", "a"),
        ("ok 1 - a", KtapOutcome.PASS, "", "", "a"),
        ("ok 1", KtapOutcome.PASS, "", "", "test 1"),
        ("ok 1 a # rcode=0", KtapOutcome.PASS, "", "rcode=0", "a"),
        ("ok 1 a #1 and C#", KtapOutcome.PASS, "", "", "a #1 and C#"),
        ("not ok 1 a", KtapOutcome.FAIL, "", "", "a"),
        ("ok 1 a # SKIP no device", KtapOutcome.SKIP, "SKIP", "no device", "a"),
        ("not ok 1 a # skip", KtapOutcome.SKIP, "SKIP", "", "a"),
        ("ok 1 a #SKIP: why", KtapOutcome.SKIP, "SKIP", "why", "a"),
        ("not ok 1 a # TODO later", KtapOutcome.XFAIL, "TODO", "later", "a"),
        ("ok 1 a # TODO later", KtapOutcome.PASS, "TODO", "later", "a"),
        ("ok 1 # XFAIL a known bug", KtapOutcome.XFAIL, "XFAIL", "a known bug", "test 1"),
        ("not ok 1 a # TIMEOUT 30 seconds", KtapOutcome.TIMEOUT, "TIMEOUT", "30 seconds", "a"),
        ("not ok 1 a # ERROR no memory", KtapOutcome.ERROR, "ERROR", "no memory", "a"),
        ("not ok 1 # error a message", KtapOutcome.ERROR, "ERROR", "a message", "test 1"),
        ("not ok 1 a # UNHEARD of", KtapOutcome.FAIL, "", "UNHEARD of", "a"),
        ("ok 1 bell\a and \x1b", KtapOutcome.PASS, "", "", "bell\ufffd and \ufffd"),
    ],
)
def test_a_result_line(
    line: str, outcome: KtapOutcome, directive: str, reason: str, name: str
) -> None:
    test = only(line)
    assert (test.outcome, test.directive, test.reason, test.name) == (
        outcome,
        directive,
        reason,
        name,
    )
    assert not test.problems


# What is damaged or contradicts itself


def test_a_plan_that_is_not_fulfilled_is_a_failure_with_the_lines_that_follow() -> None:
    report = parse_ktap("KTAP version 1\n1..3\nok 1 a\nkernel BUG at mm/cma.c:1!\nPC is at x\n")
    assert outline(report) == ["a: PASS", f"{MISSING}: MISSING"]
    assert report.tests[1].problems == ("planned 3, saw 1",)
    assert report.tests[1].diagnostics == ("kernel BUG at mm/cma.c:1!", "PC is at x")


def test_a_crash_within_a_suite_leaves_all_that_was_to_come_missing() -> None:
    report = parse_ktap(KUNIT[: KUNIT.index("    not ok 2")] + "Kernel panic - not syncing\n")
    assert outline(report) == [
        "cma_alloc > first_fit: PASS",
        f"cma_alloc > {MISSING}: MISSING",
        f"{MISSING}: MISSING",
    ]
    cases = [case.test for case in report.cases()]
    assert [test.problems for test in cases[1:]] == [("planned 3, saw 1",), ("planned 2, saw 1",)]
    assert cases[1].diagnostics[-1] == "Kernel panic - not syncing"


def test_a_suite_whose_result_is_lost_fails_and_is_not_given_to_the_next() -> None:
    text = KUNIT.replace("not ok 1 cma_alloc\n", "").replace("not ok 2 al", "ok 2 al")
    report = parse_ktap(text)
    assert outline(report)[4:] == ["cma_alloc: MISSING", "ranges > empty: PASS"]
    assert report.tests[0].problems == ("it has no result of its own",)
    assert not report.tests[1].problems, "the second has number 2"


def test_an_old_suite_whose_result_is_lost_is_not_given_to_the_next() -> None:
    report = parse_ktap(OLD_KUNIT.replace("ok 1 - sysctl_test\n", ""))
    assert outline(report)[2:] == ["sysctl_test: MISSING", "list > list_add: PASS"]


@pytest.mark.parametrize("lines", [1, 2, 3, 5, 6, 9, 12, 15, 19, 20, 21])
def test_kunit_cut_anywhere_never_passes(lines: int) -> None:
    text = "".join(KUNIT.replace("not ok", "ok").splitlines(keepends=True)[:lines])
    assert any(case.test.outcome.failed for case in parse_ktap(text).cases())


def test_a_gap_in_the_numbers_tells_of_a_missing_test_where_there_is_no_plan() -> None:
    report = parse_ktap("KTAP version 1\nok 1 a\nok 3 c\n")
    assert outline(report) == ["a: PASS", "c: PASS", f"{MISSING}: MISSING"]
    assert report.tests[2].problems == ("planned 3, saw 2",)
    assert report.tests[1].problems == ("its number is 3 where 2 was to come",)


def test_more_results_than_planned_are_a_failure() -> None:
    report = parse_ktap("KTAP version 1\n1..1\nok 1 a\nok 2 b\n")
    assert outline(report) == ["a: PASS", "b: PASS", f"{UNPLANNED}: FAIL"]
    assert report.tests[2].problems == ("planned 1, saw 2",)


def test_a_plan_may_come_last() -> None:
    report = parse_ktap("TAP version 13\nok 1 a\nnot ok 2 b\n1..2\n")
    assert outline(report) == ["a: PASS", "b: FAIL"]


def test_a_parent_that_passes_over_a_failed_child_fails() -> None:
    report = parse_ktap(KUNIT.replace("not ok 1 cma_alloc", "ok 1 cma_alloc"))
    parent = report.tests[0]
    assert parent.outcome is KtapOutcome.FAIL
    assert parent.problems == ("its result is ok although 1 of the 3 tests within it failed",)
    assert "cma_alloc: FAIL" in outline(report)


def test_a_parent_that_fails_without_a_failed_child_is_reported_itself() -> None:
    report = parse_ktap(KUNIT.replace("not ok 2 aligned", "ok 2 aligned"))
    assert "cma_alloc: FAIL" in outline(report)
    assert "none of the 3 tests" in report.tests[0].problems[0]


def test_a_second_plan_is_told() -> None:
    report = parse_ktap("KTAP version 1\n1..2\nok 1 a\n1..5\nok 2 b\n")
    assert report.problems == ("a second plan, 1..5, where 1..2 is not fulfilled",)
    assert outline(report) == ["a: PASS", "b: PASS"]


def test_a_failure_without_a_number_is_not_lost() -> None:
    assert outline(parse_ktap("1..2\nok 1 a\nnot ok b\n")) == ["a: PASS", "b: FAIL"]


def test_nothing_but_a_skip_is_a_skip_with_the_reason() -> None:
    (test,) = parse_ktap("TAP version 13\n1..0 # SKIP no hugetlb\n").tests
    assert (test.outcome, test.reason) == (KtapOutcome.SKIP, "no hugetlb")


def test_a_version_line_alone_is_a_failure() -> None:
    (test,) = parse_ktap("TAP version 13\n").tests
    assert test.outcome is KtapOutcome.MISSING


@pytest.mark.parametrize(
    "text", ["", "\n\n", "sh: run_kselftest.sh: not found\n", "okay\nok then\nok - x\nnot okay"]
)
def test_no_ktap_is_an_error_that_shows_what_there_is(text: str) -> None:
    with pytest.raises(NoKtap, match="no KTAP") as caught:
        parse_ktap(text)
    assert "empty output" in str(caught.value) or text.split("\n")[0] in str(caught.value)


# The way over a kernel log


@pytest.mark.parametrize(
    "prefix", ["[    1.234567] ", "<6>[    1.234567] ", "<6>", "[    1.234567][    T1] "]
)
@pytest.mark.parametrize("text", [KSELFTEST, KUNIT, OLD_KUNIT])
def test_prefixes_of_the_kernel_log_change_nothing(text: str, prefix: str) -> None:
    assert parse_ktap(logged(text, prefix)) == parse_ktap(text)


def test_carriage_returns_change_nothing() -> None:
    assert parse_ktap(KUNIT.replace("\n", "\r\n")) == parse_ktap(KUNIT)


def test_invalid_utf_8_is_replaced() -> None:
    report = parse_ktap(b"KTAP version 1\n1..1\nok 1 \xff\xfe\n")
    assert outline(report) == ["\ufffd\ufffd: PASS"]


def test_kernel_messages_in_between_change_no_result() -> None:
    noise = "random: crng init done\n  ok\n    usb 1-1: new device # not ok\n"
    lines = KUNIT.splitlines(keepends=True)
    text = "Linux version 6.1\n" + noise.join(lines) + noise
    assert outline(parse_ktap(text, versioned=True)) == outline(parse_ktap(KUNIT))


def test_in_a_log_only_a_version_line_begins_ktap() -> None:
    log = "1..2 partitions\nok 1 a\n1..1\nnot ok 3 b\n"
    with pytest.raises(NoKtap, match="a version line"):
        parse_ktap(log, versioned=True)
    assert outline(parse_ktap(log + KUNIT, versioned=True)) == outline(parse_ktap(KUNIT))


def test_a_module_of_an_old_kernel_prints_no_version_line() -> None:
    log = "".join(OLD_KUNIT.splitlines(keepends=True)[1:6])
    assert outline(parse_ktap(f"booting\n{log}", versioned=True))[0].startswith("sysctl_test > ")


# Any tree

words = st.text("abcxyz0189-_:()=ü", min_size=1, max_size=8).filter(lambda word: word != "-")
reasons = st.one_of(st.just(""), words)
LEAVES = {
    ("ok", ""): KtapOutcome.PASS,
    ("not ok", ""): KtapOutcome.FAIL,
    ("ok", "SKIP"): KtapOutcome.SKIP,
    ("not ok", "TODO"): KtapOutcome.XFAIL,
    ("not ok", "TIMEOUT"): KtapOutcome.TIMEOUT,
    ("not ok", "ERROR"): KtapOutcome.ERROR,
}
said = st.lists(words.map(lambda word: f"said {word}"), max_size=2).map(tuple)


@st.composite
def leaves(draw: st.DrawFn) -> KtapTest:
    (_, directive), outcome = draw(st.sampled_from(list(LEAVES.items())))
    return KtapTest(draw(words), outcome, 0, directive, draw(reasons), draw(said))


@st.composite
def parents(draw: st.DrawFn, tests: st.SearchStrategy[KtapTest]) -> KtapTest:
    children = numbered(draw(st.lists(tests, min_size=1, max_size=3)))
    failed = any(child.outcome.failed for child in children)
    outcome = KtapOutcome.FAIL if failed else KtapOutcome.PASS
    return KtapTest(draw(words), outcome, 0, "", "", draw(said), children)


def numbered(tests: list[KtapTest]) -> tuple[KtapTest, ...]:
    return tuple(dataclasses.replace(test, number=n) for n, test in enumerate(tests, 1))


trees = st.lists(st.recursive(leaves(), parents, max_leaves=12), min_size=1, max_size=4)


def rendered(
    tests: tuple[KtapTest, ...], indent: str, named: bool, planned: bool, name: str = ""
) -> str:
    """KTAP that says `tests`, each level deeper by `indent`."""
    lines = ["KTAP version 1"]
    lines += [f"# Subtest: {name}"] if name and named else []
    lines += [f"1..{len(tests)}"] if planned else []
    for test in tests:
        if test.children:
            inner = rendered(test.children, indent, named, planned, test.name)
            lines += [f"{indent}{line}" for line in inner.splitlines()]
        lines += [f"# {line}" for line in test.diagnostics]
        word = "ok" if test.outcome in (KtapOutcome.PASS, KtapOutcome.SKIP) else "not ok"
        more = " ".join(filter(None, [test.directive, test.reason]))
        lines.append(f"{word} {test.number} {test.name}" + (f" # {more}" if more else ""))
    return "\n".join(lines)


@settings(deadline=None, max_examples=2 * settings().max_examples)
@given(
    tests=trees.map(numbered),
    indent=st.sampled_from(["  ", "    ", "\t", "# "]),
    named=st.booleans(),
    planned=st.booleans(),
    prefix=st.sampled_from(["", "[   12.345678] ", "<6>"]),
)
def test_what_is_rendered_is_read_back(
    tests: tuple[KtapTest, ...], indent: str, named: bool, planned: bool, prefix: str
) -> None:
    text = rendered(tests, indent, named, planned)
    assert parse_ktap(logged(text, prefix)) == KtapReport(tests)


@settings(deadline=None, max_examples=2 * settings().max_examples)
@given(tests=trees.map(numbered), data=st.data())
def test_what_is_cut_short_never_passes(tests: tuple[KtapTest, ...], data: st.DataObject) -> None:
    lines = rendered(tests, "    ", True, True).splitlines()
    cut = "\n".join(lines[: data.draw(st.integers(1, len(lines) - 1))])
    assert any(case.test.outcome.failed for case in parse_ktap(cut).cases())


@settings(deadline=None)
@given(st.one_of(st.text(), st.text("ok1.# \tnKTAPversi\n"), st.binary()))
def test_no_text_is_too_strange(text: str | bytes) -> None:
    with contextlib.suppress(NoKtap):
        list(parse_ktap(text).cases())


# Hostile text


@pytest.mark.parametrize(
    "piece",
    [
        "ok 1 a\n",
        "KTAP version 1\n1..1\nok 1 a\n",
        "    # Subtest: f\n    1..1\n    ok 1 a\n",
        "  KTAP version 1\n    KTAP version 1\n",
        "x\n",
        "# ",
        "\t",
        "[",
        "1",
        "1..",
        "ok 1 # ",
    ],
)
def test_reading_takes_time_in_proportion_to_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = "KTAP version 1\n1..9\n" + piece * (size // len(piece)) + "\nok 1 end\n"
        start = time.process_time()
        list(parse_ktap(text).cases())
        return time.process_time() - start

    small = min(seconds(1 << 15) for _ in range(3))
    assert seconds(1 << 18) < 8 * 5 * small + 0.5, "8 times the text"


def test_nesting_has_a_bottom() -> None:
    text = "".join(f"{' ' * depth}1..1\n" for depth in range(2000)) + "ok 1 end\n"
    report = parse_ktap(text)
    assert f"nested deeper than {DEEPEST} levels" in report.problems
    assert hash(report), "it can be walked by recursion"


def test_a_plan_of_a_billion_is_one_missing_test() -> None:
    report = parse_ktap("1..999999999\nok 1 a\n")
    assert outline(report) == ["a: PASS", f"{MISSING}: MISSING"]


# Its word against itself

HEADLESS = """\
TAP version 13
1..1
# overriding timeout to 300
# selftests: cgroup: test_core
# ok 1 constraint
# not ok 2 enable
# ok 3 populated
"""


def test_nested_results_that_nothing_announced_are_cases() -> None:
    cases = ["constraint: PASS", "enable: FAIL", "populated: PASS"]
    report = parse_ktap(HEADLESS + "not ok 1 selftests: cgroup: test_core # exit=1\n")
    assert outline(report) == [f"selftests: cgroup: test_core > {case}" for case in cases]
    report = parse_ktap(HEADLESS + "ok 1 selftests: cgroup: test_core\n")
    assert outline(report)[:3] == [f"selftests: cgroup: test_core > {case}" for case in cases]
    assert outline(report)[3:] == ["selftests: cgroup: test_core: FAIL"]
    assert "although 1 of the 3 tests" in report.tests[0].problems[0]


@pytest.mark.parametrize("indent", ["    ", "  ", "\t", "# ", "    # "])
def test_however_they_are_indented(indent: str) -> None:
    text = f"KTAP version 1\n1..1\n{indent}ok 1 a\n{indent}not ok 2 b\nok 1 outer\n"
    assert outline(parse_ktap(text)) == ["outer > a: PASS", "outer > b: FAIL", "outer: FAIL"]


@pytest.mark.parametrize("text", ["# not ok 1 a\n", "    not ok 1 a\n"])
def test_a_lone_failure_that_nothing_announced_is_a_case(text: str) -> None:
    report = parse_ktap(f"TAP version 13\n1..1\n{text}ok 1 outer\n")
    assert outline(report) == ["outer > a: FAIL", "outer: FAIL"]


@pytest.mark.parametrize(
    "words", ["ok 1 is the first of them", "ok 7 lucky numbers", "ok then", "not ok 3 at all"]
)
def test_a_program_s_words_are_no_results(words: str) -> None:
    report = parse_ktap(f"TAP version 13\n1..1\n# before\n# {words}\n# after\nok 1 outer\n")
    assert outline(report) == ["outer: PASS"]
    assert report.tests[0].diagnostics == ("before", words, "after")


@pytest.mark.parametrize("text", ["Bail out! no memory", "bail out! no memory", "Bail out!"])
@pytest.mark.parametrize(
    "before", ["TAP version 13\nok 1 a\n", "1..1\nok 1 a\n", "TAP version 13\n"]
)
def test_a_program_that_gives_up_has_failed(text: str, before: str) -> None:
    report = parse_ktap(f"{before}{text}\n")
    (bail,) = (case for case in report.cases() if case.test.name == BAIL_OUT)
    assert bail.test.outcome is KtapOutcome.ERROR
    assert bail.test.outcome.failed
    assert "no memory" not in text or bail.test.reason == "no memory"


def test_a_nested_program_that_gives_up_has_failed_whatever_its_result_is() -> None:
    nested = "# TAP version 13\n# 1..1\n# ok 1 a\n# Bail out! cannot free\n"
    report = parse_ktap(f"TAP version 13\n1..1\n{nested}ok 1 outer\n")
    assert outline(report) == ["outer > a: PASS", "outer > Bail out!: ERROR", "outer: FAIL"]


def test_what_comes_after_giving_up_is_missing() -> None:
    assert outline(parse_ktap("1..3\nok 1 a\nBail out! no more\n")) == [
        "a: PASS",
        f"{MISSING}: MISSING",
        "Bail out!: ERROR",
    ]


KSFT = "# Totals: pass:{} fail:{} xfail:{} xpass:{} skip:{} error:{}\n"


@pytest.mark.parametrize(
    ("counts", "agrees"),
    [
        ((1, 1, 1, 0, 1, 0), True),
        ((2, 0, 1, 0, 1, 0), False),  # no failure that the results show
        ((1, 2, 1, 0, 1, 0), False),  # one more
        ((1, 1, 1, 0, 0, 0), False),
        ((0, 0, 0, 0, 0, 0), False),
    ],
)
def test_totals_that_are_not_those_of_the_results_are_a_failure(
    counts: tuple[int, ...], agrees: bool
) -> None:
    text = "TAP version 13\n1..4\nok 1 a\nnot ok 2 b\nok 3 c # XFAIL\nok 4 d # SKIP\n"
    names = [case.test.name for case in parse_ktap(text + KSFT.format(*counts)).cases()]
    assert (TOTALS not in names) is agrees


def test_totals_of_a_nested_program_without_results_count_too() -> None:
    nested = "# starting\n# " + KSFT.format(0, 2, 0, 0, 0, 0)
    report = parse_ktap(f"TAP version 13\n1..1\n{nested}ok 1 outer\n")
    assert outline(report) == [f"outer > {TOTALS}: FAIL", "outer: FAIL"]


@pytest.mark.parametrize(
    ("said", "agrees"),
    [("0 != 1", True), ("2 != 1", False), ("0 != 3", False)],
)
def test_a_program_s_word_on_its_plan_counts(said: str, agrees: bool) -> None:
    text = f"TAP version 13\nok 1 a\n# Planned tests != run tests ({said})\n"
    names = [case.test.name for case in parse_ktap(text).cases()]
    assert (TOTALS not in names) is agrees  # a program without a plan says 0


@pytest.mark.parametrize(
    "line",
    [
        "# cma_alloc: pass:3 fail:0 skip:0 total:3\n",
        "# Totals: pass:4 fail:1 skip:1 total:6\n",
    ],
)
def test_totals_of_a_suite_that_its_cases_contradict_are_its_failure(line: str) -> None:
    text = KUNIT.replace("not ok 2 al", "ok 2 al").replace("not ok 1 cma", "ok 1 cma")
    whole = text.replace("pass:2 fail:1 skip:0", "pass:3 fail:0 skip:0")
    whole = whole.replace("pass:2 fail:1 skip:1", "pass:3 fail:0 skip:1")
    assert "cma_alloc: FAIL" not in outline(parse_ktap(whole))
    assert "cma_alloc: FAIL" in outline(parse_ktap(text))
    broken = whole.replace(
        "ok 1 cma_alloc\n", f"{line.replace('3 fail:0', '2 fail:1')}ok 1 cma_alloc\n"
    )
    assert "cma_alloc: FAIL" in outline(parse_ktap(broken))


@pytest.mark.parametrize(("plan", "agrees"), [("1..2", True), ("1..3", False), ("1..1", False)])
def test_a_plan_at_the_end_counts(plan: str, agrees: bool) -> None:
    report = parse_ktap(f"TAP version 13\nok 1 a\nok 2 b\n{plan}\n")
    assert any(case.test.outcome.failed for case in report.cases()) is not agrees


@pytest.mark.parametrize("mark", ["# ", "    ", "\t"])
def test_nested_results_count_where_the_first_of_them_is_lost(mark: str) -> None:
    inner = "".join(f"{mark}{line}\n" for line in ("ok 2 a", "not ok 3 b"))
    report = parse_ktap(f"TAP version 13\n1..1\n{mark}words\n{inner}ok 1 outer\n")
    failed = [str(case) for case in report.cases() if case.test.outcome.failed]
    assert failed == ["outer > b", "outer > (missing)", "outer"]


def test_words_before_nested_results_do_not_hide_them() -> None:
    inner = "# ok 7 lucky numbers\n# ok 1 a\n# not ok 2 b\n"
    report = parse_ktap(f"TAP version 13\n1..1\n{inner}not ok 1 outer\n")
    assert outline(report) == ["outer > a: PASS", "outer > b: FAIL"]


@pytest.mark.parametrize("stamp", ["[    5.000000] ", "[    5.000000][    T1] "])
def test_a_message_of_the_kernel_on_a_result_s_line_is_not_its_name(stamp: str) -> None:
    text = f"KTAP version 1\n1..2\nnot ok 1 a # SKIP no{stamp}cma: late\nok 2 b{stamp}x\n"
    report = parse_ktap(text)
    assert outline(report) == ["a: SKIP", "b: PASS"]
    first, second = report.tests
    assert (first.reason, second.diagnostics, report.diagnostics) == ("no", ("cma: late",), ("x",))


def test_results_in_a_yaml_block_are_not_the_text_s() -> None:
    block = "  ---\n  output: |\n\n    not ok 1 - a\n    ok 2 - b\n    1..9\n  ...\n"
    report = parse_ktap(f"TAP version 13\n1..3\nok 1 - a\n{block}ok 2 - b\n  ---\nok 3 - c\n")
    assert outline(report) == ["a: PASS", "b: PASS", "c: PASS"]
    words = parse_ktap("TAP version 13\n1..1\n# ---\n# not ok 1 x\n# ---\nnot ok 1 a\n")
    assert outline(words) == ["a > x: FAIL"]
