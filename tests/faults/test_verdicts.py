# SPDX-License-Identifier: MIT
"""A gate whose QEMUs are stopped or killed, on the base's side or the patched one: no verdict of it
is ever false, and nothing false is kept for the next.

The builds are left out: the patched system is the base, or the base with its areas swapped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from harness.builders.cache import Cache
from harness.builders.dtb import NAME, compile_dts
from harness.builders.kernel import KernelTree
from harness.gate.gate import Gate
from harness.gate.inputs import Input
from harness.gate.options import Options
from harness.gate.result import Decision, GateResult
from harness.host.progress import LineProgress
from harness.host.project import IMAGES
from harness.imageset.model import ImageSet
from harness.pytest_plugin.session import Session

pytestmark = [pytest.mark.needs("agent"), pytest.mark.timeout(3600)]

PATCH = Input("x.patch", "what it does", "A", "diff", ("images/dts/x",))
TESTS = """\
tests/cma/test_main_job.py::TestApplication::test_what_it_gets_is_the_start_of_the_area
tests/cma/test_app.py::TestRegion::test_another_device_is_another_area
"""
STOPPED = 26.0
"""Seconds that a QEMU is stopped: as long as once made a known failure of a base's timeout."""


class Killer(threading.Thread):
    """Stops or kills a QEMU of ours at some moment of one side's run."""

    def __init__(self, out: Path, side: str, number: signal.Signals, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._out = out
        self._side = side
        self._number = number
        self._chance = chance
        self._ended = threading.Event()
        self.hit = 0

    def run(self) -> None:
        """Strikes once, or until it has struck."""
        delay = self._chance.uniform(0, 4)
        begun = 0.0
        while not self._ended.wait(0.02):
            if not (self._out / self._side).exists():
                continue
            begun = begun or time.monotonic()
            victims = _machines(os.getpid())
            if time.monotonic() - begun < delay or not victims:
                continue
            victim = self._chance.choice(victims)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, self._number)
                self.hit = victim
                if self._number is signal.SIGSTOP:
                    self._ended.wait(STOPPED)
                    os.kill(victim, signal.SIGCONT)
            return

    def end(self) -> None:
        """No more."""
        self._ended.set()
        self.join()


def _machines(ancestor: int) -> list[int]:
    """Processes of QEMU below a process."""
    found, todo = [], [ancestor]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
            if Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system"):
                found.append(pid)
    return found


@dataclasses.dataclass
class World:
    """The gate on real machines, without builds."""

    cache: Cache
    base: ImageSet
    wrong: ImageSet
    place: Path
    count: int = 0

    def judge(self, patched: ImageSet, strike: Killer | None = None) -> GateResult:
        self.count += 1
        out = self.place / f"out-{self.count}"
        select = self.place / "select.txt"
        select.write_text(TESTS)
        gate = Gate(Options(out, select=select), self.cache, LineProgress())
        gate._confine = lambda: None  # type: ignore[method-assign]
        gate._build = lambda *_: (self.base, patched, [])  # type: ignore[method-assign]
        if strike is not None:
            strike._out = out
            strike.start()
        try:
            return gate.judge([PATCH])
        finally:
            if strike is not None:
                strike.end()

    def known(self) -> list[str]:
        """The outcomes that are kept of the base's tests."""
        found = []
        for path in (self.cache.root / "baselines").glob("*.json"):
            found += [case["outcome"] for case in json.loads(path.read_text())["cases"]]
        return found


@pytest.fixture
def world(qemu_session: Session, image_set: ImageSet, tmp_path: Path) -> World:
    root = tmp_path / "cache"
    root.mkdir()
    for path in qemu_session.cache.iterdir():
        if path.name not in ("baselines", "templates"):
            (root / path.name).symlink_to(path)
    place = tmp_path / "dts"
    shutil.copytree(IMAGES / "dts", place)
    areas = place / "multi-cma.dtsi"
    text = areas.read_text()
    swapped = text.replace("0x69000000", "@").replace("0x69800000", "0x69000000")
    areas.write_text(swapped.replace("@", "0x69800000"))
    assert swapped != text
    tree = KernelTree.of(image_set.kernel.parents[5]).tree
    dtb = tmp_path / "swapped.dtb"
    dtb.write_bytes(compile_dts((place / NAME).read_text(), tree, place))
    return World(Cache(root), image_set, dataclasses.replace(image_set, dtb=dtb), tmp_path)


def told(result: GateResult) -> str:
    return f"{result.decision} {result.reason} {result.notes}"


def test_undisturbed_both_are_judged(world: World) -> None:
    result = world.judge(world.base)
    assert result.decision is Decision.ACCEPTED, told(result)
    assert result.tests_judged == 2
    assert world.judge(world.wrong).decision is Decision.REJECTED


@pytest.mark.parametrize("side", ["suite/base", "suite/patched", "boot"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_no_verdict_is_false_and_nothing_false_is_kept(
    world: World, rounds: int, chance: random.Random, side: str, number: signal.Signals
) -> None:
    for _ in range(rounds):
        for path in (world.cache.root / "baselines").glob("*"):
            path.unlink()
        wrong = chance.random() < 0.5
        strike = Killer(Path(), side, number, chance)
        result = world.judge(world.wrong if wrong else world.base, strike)
        right = Decision.REJECTED if wrong else Decision.ACCEPTED
        print(side, number.name, "hit" if strike.hit else "missed", told(result))
        assert result.decision in (right, Decision.INFRASTRUCTURE), told(result)
        if result.decision is Decision.ACCEPTED:
            assert result.tests_judged > 0
        # What the next one would go by.
        assert set(world.known()) <= {"passed"}, world.known()
    again = world.judge(world.wrong)
    assert again.decision is Decision.REJECTED, told(again)
