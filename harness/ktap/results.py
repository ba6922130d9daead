# SPDX-License-Identifier: MIT
"""What stands after ``ok`` and ``not ok``: name, directive, reason, and the outcome of all."""

from __future__ import annotations

import re

from harness.ktap.model import KtapOutcome, KtapTest

_DIRECTIVES = "SKIP|XFAIL|XPASS|TODO|TIMEOUT|ERROR"
_HASH = re.compile(rf"(?:^|[ \t])#(?=[ \t]|$|(?:{_DIRECTIVES})\b)", re.IGNORECASE)
_DIRECTIVE = re.compile(rf"({_DIRECTIVES})\b:?[ \t]*(.*)", re.IGNORECASE | re.DOTALL)


def described(rest: str) -> tuple[str, str, str]:
    """Name, directive and reason of what follows a result's number."""
    if rest == "-" or rest.startswith(("- ", "-\t")):
        rest = rest[1:].lstrip()
    name, directive, reason = rest, "", ""
    if mark := _HASH.search(rest):
        name, reason = rest[: mark.start()], rest[mark.end() :].strip()
        if match := _DIRECTIVE.fullmatch(reason):
            directive, reason = match[1].upper(), match[2]
    name = name.strip()
    if not name.isprintable():
        name = "".join(c if c.isprintable() else "\ufffd" for c in name)
    return name, directive, reason


def outcome(ok: bool, directive: str) -> tuple[KtapOutcome, list[str]]:
    """What result and directive say together, and where they contradict each other."""
    if directive == "SKIP":
        return KtapOutcome.SKIP, []
    if directive == "XFAIL" or (directive == "TODO" and not ok):
        # kselftest.h prints "ok N # XFAIL" for a failure that was expected.
        return KtapOutcome.XFAIL, []
    if directive in ("TIMEOUT", "ERROR"):
        return KtapOutcome[directive], [f"its result is ok # {directive}"] if ok else []
    return KtapOutcome.PASS if ok else KtapOutcome.FAIL, []


def orphan(name: str, tests: tuple[KtapTest, ...]) -> KtapTest:
    """A test whose own result is lost, with those within it."""
    problem = "it has no result of its own"
    return KtapTest(name or "(unnamed)", KtapOutcome.MISSING, children=tests, problems=(problem,))


def parent(name: str, tests: list[KtapTest]) -> KtapTest:
    """A test that stands for a document with a name."""
    failed = any(test.outcome.failed for test in tests)
    return KtapTest(name, KtapOutcome.FAIL if failed else KtapOutcome.PASS, children=tuple(tests))
