# SPDX-License-Identifier: MIT
"""KTAP that is written is KTAP that is read, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.ktap import KtapOutcome, KtapTest, parse_ktap, render_ktap

TESTS = (
    KtapTest(
        "tests/cma/test_x.py",
        KtapOutcome.FAIL,
        children=(
            KtapTest("good", KtapOutcome.PASS),
            KtapTest("bad", KtapOutcome.FAIL, diagnostics=("verdict: product", "expected 1")),
            KtapTest("left", KtapOutcome.SKIP, reason="no debugfs"),
            KtapTest("known", KtapOutcome.XFAIL, reason="of this kernel"),
            KtapTest("late", KtapOutcome.TIMEOUT, reason="45 s"),
            KtapTest("lost", KtapOutcome.ERROR, reason="the host"),
        ),
    ),
    KtapTest("tests/cma/test_y.py", KtapOutcome.PASS, children=(KtapTest("a", KtapOutcome.PASS),)),
)


def test_the_form() -> None:
    text = render_ktap(TESTS)
    assert text.startswith("KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: tests/cma/")
    assert "    not ok 2 bad\n" in text
    assert "    # | expected 1\n    not ok 2 bad\n" in text
    assert "    ok 3 left # SKIP no debugfs\n" in text
    assert "    # Totals: pass:1 fail:2 xfail:1 xpass:0 skip:1 error:1\n" in text
    assert "\nnot ok 1 tests/cma/test_x.py\n" in text


def test_what_is_written_is_read_back() -> None:
    report = parse_ktap(render_ktap(TESTS))
    assert not report.problems
    found = {case.path: case.test.outcome for case in report.cases()}
    assert found == {
        (file.name, test.name): test.outcome for file in TESTS for test in file.children
    }


@pytest.mark.parametrize(
    "text", ["not ok 1 a", "Bail out!", "1..7", "KTAP version 1", "# Totals: pass:9 fail:9", "ok 1"]
)
def test_what_a_test_says_is_no_line_of_the_format(text: str) -> None:
    test = KtapTest("t", KtapOutcome.FAIL, diagnostics=(text,))
    (read,) = parse_ktap(render_ktap([test])).tests
    assert (read.outcome, read.children, read.problems) == (KtapOutcome.FAIL, (), ())


@pytest.mark.parametrize("name", ["a # SKIP b", "- x", "a\nnot ok 2 b", "\x1b[2J", "", "7 up"])
def test_a_name_is_no_directive_and_no_second_line(name: str) -> None:
    report = parse_ktap(render_ktap([KtapTest(name, KtapOutcome.PASS)]))
    assert [test.outcome for test in report.tests] == [KtapOutcome.PASS]
    assert report.tests[0].directive == ""


@settings(max_examples=3 * settings().max_examples // 5, deadline=None)
@given(st.lists(st.tuples(st.text(), st.sampled_from(KtapOutcome), st.text()), max_size=5))
def test_any_text_is_written_as_valid_ktap(tests: list[tuple[str, KtapOutcome, str]]) -> None:
    made = [KtapTest(n, outcome, reason=said, diagnostics=(said,)) for n, outcome, said in tests]
    whole = [KtapTest("all", KtapOutcome.PASS), *made]
    read = parse_ktap(render_ktap(whole))
    assert len(read.tests) == len(whole)
    assert [t.outcome.failed for t in read.tests] == [t.outcome.failed for t in whole]
    assert not any(test.problems for test in read.tests)
