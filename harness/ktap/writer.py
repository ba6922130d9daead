# SPDX-License-Identifier: MIT
"""Writes KTAP (``Documentation/dev-tools/ktap.rst``): what `parse_ktap` reads back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.ktap.model import KtapOutcome, KtapTest
from harness.plaintext import line, lines

INDENT = "    "
LONGEST = 200
"""Lines of one test's diagnostics that are written."""
_DIRECTIVE = {
    KtapOutcome.SKIP: "SKIP",
    KtapOutcome.XFAIL: "XFAIL",
    KtapOutcome.TIMEOUT: "TIMEOUT",
    KtapOutcome.ERROR: "ERROR",
    KtapOutcome.MISSING: "ERROR",
}
_COUNTS = {
    "pass": (KtapOutcome.PASS,),
    "fail": (KtapOutcome.FAIL, KtapOutcome.TIMEOUT),
    "xfail": (KtapOutcome.XFAIL,),
    "xpass": (),
    "skip": (KtapOutcome.SKIP,),
    "error": (KtapOutcome.ERROR, KtapOutcome.MISSING),
}


def render_ktap(tests: Sequence[KtapTest]) -> str:
    """The tests as one document. A test's diagnostics stand before its result, as the kernel's."""
    return "".join(f"{text}\n" for text in _group(tests, ""))


def _group(tests: Sequence[KtapTest], indent: str, name: str = "") -> Iterator[str]:
    yield f"{indent}KTAP version 1"
    if name:
        yield f"{indent}# Subtest: {name}"
    yield f"{indent}1..{len(tests)}"
    for number, test in enumerate(tests, 1):
        yield from _test(test, number, indent)
    totals = " ".join(
        f"{word}:{sum(test.outcome in outcomes for test in tests)}"
        for word, outcomes in _COUNTS.items()
    )
    yield f"{indent}# Totals: {totals}"


def _test(test: KtapTest, number: int, indent: str) -> Iterator[str]:
    # A space before "#" would make a directive of the rest.
    name = line(test.name).replace("#", "\\#").removeprefix("- ") or f"test {number}"
    if test.children:
        yield from _group(test.children, indent + INDENT, name)
    said = [text for part in test.diagnostics for text in lines(part)]
    for text in said[:LONGEST]:
        yield f"{indent}# | {text}"  # never a result, whatever it says
    if len(said) > LONGEST:
        yield f"{indent}# | ({len(said) - LONGEST} more lines)"
    word = _DIRECTIVE.get(test.outcome, "")
    reason = line(test.reason)
    if not word:
        # kselftest writes a reason of its own after the mark too: `# exit=1`
        directive = f" # {reason}" if reason and test.outcome.failed else ""
    else:
        directive = f" # {word} {reason}".rstrip()
    yield f"{indent}{'not ok' if test.outcome.failed else 'ok'} {number} {name}{directive}"
