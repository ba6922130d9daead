# SPDX-License-Identifier: MIT
"""The results of generated mutants: a sheet that is kept while it grows, and the score by function.

A sheet is a JSON file, written after each result: a run that ended goes on from it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.host.files import write_text

SCHEMA = 1
SHEET = "generated.json"
"""Where the results are, in the directory of a run."""


class Fate(enum.StrEnum):
    """What came of a generated mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    NOT_EXECUTED = "not executed"
    """Neither the boot nor a test executes what is changed."""
    EQUIVALENT = "equivalent"
    """The object is the same: nothing was changed."""
    DUPLICATE = "duplicate"
    """The object is that of another mutant."""
    DOES_NOT_BUILD = "does not build"
    UNKNOWN = "unknown"
    """Infrastructure failed: it is tried again in the next run."""


LIVE = (Fate.KILLED, Fate.SURVIVED, Fate.NOT_EXECUTED, Fate.UNKNOWN)
"""Those that a sample counts, and tests decide: the object is another than all before."""


@dataclasses.dataclass(frozen=True)
class Score:
    """One mutant's result."""

    name: str
    file: str
    function: str
    operator: str
    fate: Fate
    test: str = ""
    """The first test that noticed it."""
    verdict: str = ""
    message: str = ""
    tests: int = 0
    """How many tests were run on it, as far as they got."""
    seconds: float = 0.0
    digest: str = ""
    """Of its object."""


@dataclasses.dataclass
class Sheet:
    """All results on one kernel."""

    kernel: str
    """``uname -r``."""
    sources: dict[str, str]
    """Digest of each file that was changed; a result holds for that one."""
    scores: dict[str, Score]
    """By the mutant's name, in the order in which they came."""
    path: Path
    tests: str
    """Digest of the tests: what they decided holds for those."""

    @classmethod
    def open(cls, path: Path, kernel: str, sources: Mapping[str, str], tests: str) -> Sheet:
        """The sheet at `path`, or a new one. What was found of another kernel, or on a file that is
        another today, is dropped, and so is what is not known, and what other tests decided. Raises
        `UserError` for a file that is no sheet.
        """
        sheet = cls(kernel, dict(sources), {}, path, tests)
        if not path.exists():
            return sheet
        try:
            content: Any = json.loads(path.read_text())
            if content["schema"] != SCHEMA:
                raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
            rows = [Score(**{**row, "fate": Fate(row["fate"])}) for row in content["mutants"]]
            same = content["kernel"] == kernel
            sheet.sources = {**content["sources"], **sources} if same else dict(sources)
            changed = {f for f, d in content["sources"].items() if sheet.sources.get(f, d) != d}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} holds no results of generated mutants: {error}") from error
        gone = {Fate.UNKNOWN} if content.get("tests") == tests else set(LIVE)
        for row in rows:
            if same and row.file not in changed and row.fate not in gone:
                sheet.scores[row.name] = row
        return sheet

    def add(self, score: Score) -> None:
        """Adds a result, and writes the sheet."""
        self.scores[score.name] = score
        write_text(self.path, json.dumps(self.as_json(), indent=1) + "\n")

    def as_json(self) -> dict[str, Any]:
        """The sheet as data for JSON, with the score by function."""
        rows = list(self.scores.values())
        return {
            "schema": SCHEMA,
            "kernel": self.kernel,
            "tests": self.tests,
            "sources": self.sources,
            "functions": [
                {"file": file, "function": function, **counts(of)}
                for (file, function), of in by_function(rows).items()
            ],
            "total": counts(rows),
            "mutants": [dataclasses.asdict(row) for row in rows],
        }


def counts(scores: Iterable[Score]) -> dict[str, int]:
    """How many there are of each fate."""
    fates = [score.fate for score in scores]
    return {fate.value: fates.count(fate) for fate in Fate}


def by_function(scores: Iterable[Score]) -> dict[tuple[str, str], list[Score]]:
    """The results by file and function, in the order of their names."""
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        found.setdefault((score.file, score.function), []).append(score)
    return dict(sorted(found.items()))


def rate(scores: Sequence[Score]) -> float | None:
    """Killed, of those that are executed and not equivalent; None where there are none."""
    number = counts(scores)
    executed = number[Fate.KILLED] + number[Fate.SURVIVED]
    return number[Fate.KILLED] / executed if executed else None


def line(score: Score) -> str:
    """One result on one line, with the test that noticed it."""
    by = f"  by {score.test} ({score.verdict})" if score.test else ""
    why = f"  {score.message.splitlines()[0]}" if score.message and not score.test else ""
    return f"{score.fate.value:<14} {score.seconds:5.1f} s  {score.function}: {score.name}{by}{why}"


def table(scores: Sequence[Score]) -> str:
    """A line for each function, the sum, and then each mutant that survived."""
    head = ("killed", "survived", "not executed", "equivalent", "duplicate", "does not build")
    rows = [*((f"{f}:{name}", of) for (f, name), of in by_function(scores).items())]
    rows.append(("all", list(scores)))
    width = max(len(name) for name, _ in rows)
    lines = [f"{'FUNCTION':<{width}}  {'  '.join(head)}  score"]
    for name, of in rows:
        number = counts(of)
        cells = "  ".join(f"{number[word]:>{len(word)}}" for word in head)
        share = rate(of)
        lines.append(f"{name:<{width}}  {cells}  {'-' if share is None else f'{share:.0%}'}")
    alive = [score for score in scores if score.fate is Fate.SURVIVED]
    return "\n".join([*lines, *(f"survived: {score.function}: {score.name}" for score in alive)])
