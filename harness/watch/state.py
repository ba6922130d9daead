# SPDX-License-Identifier: MIT
"""What the screen shows: a value that each event, save and key makes anew."""

from __future__ import annotations

import dataclasses

from harness.watch.events import Event, Outcome, Stage

STAGES = (Stage.READ, Stage.BUILD, Stage.TEST)


@dataclasses.dataclass(frozen=True)
class Shown:
    """The run that is under way, or the last one."""

    tree: str
    """The kernel's directory and commit."""
    run: int = 0
    event: Event | None = None
    """The last one of this run."""
    begun: float = 0.0
    """When it was ordered, in seconds of the monotonic clock."""
    ended: float | None = None
    times: tuple[tuple[Stage, float], ...] = ()
    """When each stage began."""
    note: str = ""
    """What to know besides: why a key does nothing."""

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self.run > 0 and self.ended is None

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""
        return self.event.outcome if self.event and self.ended is not None else None

    def ordered(self, run: int, now: float) -> Shown:
        """A new run begins."""
        return Shown(self.tree, run, None, now)

    def told(self, event: Event, now: float) -> Shown:
        """The worker says something; of an earlier run nothing is shown any more."""
        if event.run != self.run or self.ended is not None:
            return self
        times = self.times
        if event.stage not in dict(times):
            times = (*times, (event.stage, now))
        ended = now if event.stage is Stage.DONE else None
        return dataclasses.replace(self, event=event, times=times, ended=ended)

    def seconds(self, stage: Stage, now: float) -> float | None:
        """How long a stage took so far; None where it has not begun."""
        begun = dict(self.times).get(stage)
        if begun is None:
            return None
        later = [time for _, time in self.times if time > begun]
        return min([*later, self.ended if self.ended is not None else now]) - begun

    def total(self, now: float) -> float:
        """Seconds since the run was ordered, or that it took."""
        return (self.ended if self.ended is not None else now) - self.begun
