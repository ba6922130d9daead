# SPDX-License-Identifier: MIT
"""The loop of ``harness watch``: what a save, a key and an event lead to."""

from __future__ import annotations

import dataclasses

import pytest

from harness.errors import HarnessError
from harness.watch.app import App
from harness.watch.events import Event, Outcome, Stage, parse
from harness.watch.state import Shown


class World:
    """A screen, a worker and tools that write down what is asked of them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.seen: list[Shown] = []
        self.app = App("linux", self, self, self, clock=lambda: float(len(self.seen)))

    def show(self, shown: Shown, now: float) -> None:
        self.seen.append(shown)

    def pause(self) -> None:
        self.done.append("pause")

    def resume(self) -> None:
        self.done.append("resume")

    def order(self, run: int, *, all_tests: bool = False) -> None:
        self.done.append(f"order {run}{' all' if all_tests else ''}")

    def cancel(self) -> None:
        self.done.append("cancel")

    def shell(self, event: Event, *, gdb: bool) -> None:
        self.done.append(f"{'gdb' if gdb else 'shell'} {event.test}")

    def report(self, event: Event) -> None:
        self.done.append(f"report {event.report}")

    def run(self, *steps: str | Event) -> list[str]:
        """What was done. A step is ``save``, a key, or an event; it ends with q."""
        for step in (*steps, "q"):
            if isinstance(step, Event):
                self.app.told(step)
            elif step == "save":
                self.app.saved()
            else:
                self.app.pressed(step)
        self.app.run()
        return self.done


def ended(run: int, outcome: Outcome = Outcome.PASSED, **more: str) -> Event:
    return dataclasses.replace(Event(run, Stage.DONE, outcome=outcome), **more)  # type: ignore[arg-type]


def cancelled(run: int) -> Event:
    return ended(run, Outcome.CANCELLED)


@pytest.mark.parametrize(
    ("steps", "done"),
    [
        ((), ["order 1"]),
        ((ended(1), "save"), ["order 1", "order 2"]),
        (("save", cancelled(1)), ["order 1", "cancel", "order 2"]),
        (("save", "save", "save", cancelled(1)), ["order 1", "cancel", "order 4"]),
        (
            ("save", cancelled(1), "save", cancelled(2)),
            ["order 1", "cancel", "order 2", "cancel", "order 3"],
        ),
        # It was over before it could be cancelled.
        (("save", ended(1), ended(2)), ["order 1", "cancel", "order 2"]),
        # And what was to cancel it met the next run.
        (("save", ended(1), cancelled(2), ended(3)), ["order 1", "cancel", "order 2", "order 3"]),
        (("a", ended(1), cancelled(1), ended(2)), ["order 1", "cancel", "order 2 all"]),
        ((ended(1), "a"), ["order 1", "order 2 all"]),
        ((ended(1), "r", ended(2), "\n"), ["order 1", "order 2", "order 3"]),
        (("s", "g", "o"), ["order 1"]),
        ((ended(1), "s"), ["order 1"]),
    ],
)
def test_the_worker_has_one_run_at_a_time(steps: tuple[str | Event, ...], done: list[str]) -> None:
    assert World().run(*steps) == done


def test_the_failing_machine_and_the_report_are_opened_on_a_free_terminal() -> None:
    world = World()
    bad = ended(1, Outcome.FAILED, test="t::x", images="i.json", report="log")
    done = world.run(bad, "s", "g", "o")
    assert done[1:] == [
        *("pause", "shell t::x", "resume"),
        *("pause", "gdb t::x", "resume"),
        *("pause", "report log", "resume"),
    ]


def test_a_key_that_can_do_nothing_says_why() -> None:
    world = World()
    world.run(ended(1), "s", "o")
    notes = [shown.note for shown in world.seen if shown.note]
    assert notes[0].startswith("no test has failed")
    assert notes[-1].startswith("no run has ended")


def test_what_is_said_of_an_earlier_run_is_not_shown() -> None:
    world = World()
    late = Event(1, Stage.TEST, "late")
    world.run("save", late, cancelled(1), Event(2, Stage.BUILD, "building"))
    assert [shown.event.text for shown in world.seen if shown.event][-1] == "building"
    assert all(not (s.event and s.event.text == "late") for s in world.seen)


def test_the_end_of_the_worker_is_an_error_and_not_a_wait() -> None:
    world = World()
    world.app.told(None)
    with pytest.raises(HarnessError, match="worker has ended"):
        world.app.run()


def test_once_ends_with_the_first_run() -> None:
    world = World()
    world.app.told(ended(1, Outcome.FAILED))
    world.app.run(once=True)
    assert world.app.last is not None
    assert world.app.last.outcome is Outcome.FAILED


def test_an_event_is_the_same_behind_the_pipe() -> None:
    event = ended(3, Outcome.FAILED, test="t", text="why")
    event = dataclasses.replace(event, story=("a", "b"), files=("mm/cma.c",), done=2, total=3)
    assert parse(event.line()) == event
    assert "\n" not in event.line()
    with pytest.raises(HarnessError, match="no event"):
        parse("Traceback")
