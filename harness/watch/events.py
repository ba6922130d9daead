# SPDX-License-Identifier: MIT
"""What the worker tells the screen, one JSON document a line."""

from __future__ import annotations

import dataclasses
import enum
import json

from harness.errors import HarnessError


class Stage(enum.Enum):
    """Where a run is, in this order."""

    READ = "read"
    """Looks at what differs from the last commit."""
    BUILD = "build"
    TEST = "test"
    DONE = "done"


class Outcome(enum.Enum):
    """How a run ended."""

    PASSED = "passed"
    FAILED = "failed"
    """A test fails."""
    NO_BUILD = "does not build"
    NOTHING = "nothing to judge"
    """Nothing differs from the last commit, or nothing that is built depends on it."""
    UNKNOWN = "infrastructure"
    """The harness, QEMU or the host failed, or what was given cannot be used."""
    CANCELLED = "cancelled"


@dataclasses.dataclass(frozen=True)
class Event:
    """One fact of a run. What is not told is empty, or as it was."""

    run: int
    """The number of the run, from 1."""
    stage: Stage
    text: str = ""
    """One line: what is being done, or how it ended."""
    done: int = 0
    """Tests that have a result, in the stage `TEST`."""
    total: int = 0
    """Tests that are run."""
    failed: int = 0
    outcome: Outcome | None = None
    """At the end."""
    test: str = ""
    """The first failing test, as pytest takes it."""
    story: tuple[str, ...] = ()
    """Why, in the fewest lines."""
    files: tuple[str, ...] = ()
    """What differs from the last commit."""
    images: str = ""
    """The manifest of the image set that was tested."""
    report: str = ""
    """The run's log."""

    def line(self) -> str:
        """For the pipe."""
        values = dataclasses.asdict(self)
        values["stage"] = self.stage.value
        values["outcome"] = self.outcome.value if self.outcome else None
        return json.dumps({name: value for name, value in values.items() if value})


def parse(line: str) -> Event:
    """What `Event.line` wrote. Raises `HarnessError` for anything else."""
    try:
        values = json.loads(line)
        values["stage"] = Stage(values["stage"])
        if "outcome" in values:
            values["outcome"] = Outcome(values["outcome"])
        for name in ("story", "files"):
            values[name] = tuple(values.get(name, ()))
        return Event(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"the worker said what is no event: {line[:200]!r}") from error
