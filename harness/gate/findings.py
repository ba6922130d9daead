# SPDX-License-Identifier: MIT
"""Texts of a gate's findings."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from harness.builders.patch_tree import PatchTree
from harness.errors import Verdict
from harness.gate.result import Finding, FindingKind, TestChange
from harness.gate.story import lines, steps

EXCERPT_LINES = 40


def failure(change: TestChange) -> Finding:
    """A test that newly fails, with what its machine said last."""
    kinds = {Verdict.CRASH.value: FindingKind.CRASH, Verdict.TIMEOUT.value: FindingKind.TIMEOUT}
    transcript, excerpt = change.case.artifact, ""
    story: list[str] = []
    if transcript is not None:
        with contextlib.suppress(OSError):
            text = transcript.read_text(errors="replace")
            story = lines(steps(text))
            # Another's root image has no agent: then its transcript is the best there is.
            excerpt = "" if story else "\n".join(text.splitlines()[-EXCERPT_LINES:])
    kind = kinds.get(change.verdict, FindingKind.TEST)
    return Finding(
        kind,
        change.test,
        change.message,
        transcript,
        excerpt,
        change.test,
        change.case.line,
        tuple(story),
    )


def in_scope(shop: PatchTree, touched: Sequence[str]) -> bool:
    """Whether something was made because of the patch."""
    if any(not path.startswith("linux/") for path in touched):
        return True
    return shop.made_of_source


def without_log(text: str) -> str:
    """An error's text without the path of a log that the next run overwrites."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("log: "))


def unnumbered(warning: str) -> str:
    """``mm/cma.c:12:5: warning: …`` without its numbers, which a patch moves."""
    words = warning.split(": ", 1)
    return f"{words[0].partition(':')[0]}: {words[-1]}"


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]


def short_name(test: str) -> str:
    """A test's name without its file and class."""
    return test.rpartition("::")[2]
