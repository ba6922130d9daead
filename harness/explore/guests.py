# SPDX-License-Identifier: MIT
"""Runs a sequence of operations on a pristine guest, and compares all of it with the model.

Every sequence gets a clone of one template: driver loaded on two areas, applications running, and
every byte of the areas, and of the guards beside them, set by the host to a pattern. A sequence is
one exchange with the guest: what it must answer does not depend on what it answers.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import fdt

from harness.errors import HarnessError, JudgementError, Verdict
from harness.explore.areas import PAGE, AreaSpec
from harness.explore.ballast import weigh_down
from harness.explore.model import Model, Operation, Step
from harness.explore.pressure import PRESSURE
from harness.guest.guest import Guest
from harness.guest.witnesses import DEBUGFS
from harness.machine.config import MachineConfig
from harness.machine.machine import Machine
from harness.machine.template import TemplateStore
from harness.memory.counters import CmaCounters
from harness.memory.ranges import AddressRange

POINT = "explore-4"
"""Of the template; to be changed with what `_prepare` does."""
HOST = b"\xa5host's\x5a" * (PAGE // 8)
"""What every page holds before anybody has it."""
OPENERS = (0, 0, 1)
"""The area of each application, by number."""
USER = len(OPENERS)
"""Number of the process that opens no device and has movable data."""
GUARD = 1 << 20
"""Bytes of reserved memory on either side of the areas, which nobody may touch."""
DEVICES = ("/dev/CMA_demo", "/dev/CMA_demo1")
CALLS = ("cma_alloc_success", "cma_alloc_fail")
"""The kernel's counters of calls, from 5.13 on."""
_TIMEOUT = 60.0
_ASK = (
    "ask() { printf '%s\\n' \"$2\" 1<>/tmp/explore-$1.in;"
    ' read -r line 0<>/tmp/explore-$1.out; echo "$line"; }\n'
    'each() { to=$1; shift; for said; do ask $to "$said" >/dev/null;'
    ' [ "${line%% *}" = ok ] || break; done; echo "$line"; }'
)
"""Shell functions: one gives an application a command and prints its answer; the other gives it
several, and prints the first answer that is not ok, or the last.
"""


class Difference(JudgementError):
    """A guest did what the model does not allow. ``step`` counts from 1; 0: at the end."""

    def __init__(self, step: int, what: str) -> None:
        where = f"step {step}: " if step else "at the end: "
        super().__init__(where + what)
        self.step = step


@dataclasses.dataclass(frozen=True)
class Setup:
    """The system that is explored."""

    config: MachineConfig
    areas: tuple[AreaSpec, ...]
    """The driver's own area, and the default one."""
    debug_dirs: tuple[str, ...]
    """Their directories in debugfs."""
    counters: Mapping[str, CmaCounters] = dataclasses.field(default_factory=dict)
    """What sysfs counted by then, by the area's name."""
    vmstat: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """``/proc/vmstat`` by then."""
    unload: str = ""
    load: str = ""
    """The driver's name for rmmod, and what insmod takes."""
    pressure: bool = False
    """Whether memory pressure and pins are among the operations."""

    @property
    def guards(self) -> tuple[AddressRange, ...]:
        """Reserved memory beside the areas."""
        start = min(area.base for area in self.areas)
        end = max(area.base + area.pages * PAGE for area in self.areas)
        return AddressRange(start - GUARD, start), AddressRange(end, end + GUARD)

    def model(self) -> Model:
        """The model of a pristine guest."""
        return Model(self.areas, OPENERS, HOST, self.pressure)


def guarded(dtb: bytes, guards: Sequence[AddressRange]) -> bytes:
    """A device tree in which these ranges are reserved, and not even mapped."""
    tree = fdt.parse_dtb(dtb)
    parent = tree.get_node("/reserved-memory")
    for guard in guards:
        node = fdt.Node(f"guard@{guard.start:x}")
        node.append(fdt.PropWords("reg", guard.start, guard.size))
        node.append(fdt.Property("no-map"))
        parent.append(node)
    made: bytes = tree.to_dtb(version=17)
    return made


def _more(now: Mapping[str, int], before: Mapping[str, int], name: str) -> int | None:
    """By how much a counter has grown; None where there is none."""
    return now[name] - before[name] if name in now and name in before else None


def _asked(step: Step) -> str:
    """Who is asked for what, in words."""
    who = "debugfs" if step.application is None else f"application {step.application}"
    if step.operation.name in PRESSURE:
        who = "the process with the data"
    return f"{who}: `{step.command or step.operation.name}`"


class Explorer:
    """Clones of one template, each for one sequence."""

    def __init__(
        self, store: TemplateStore, setup: Setup, artifacts: Path, say: Callable[[str], None]
    ) -> None:
        self.setup = setup
        self.store = store
        self.artifacts = artifacts
        self._say = say
        self.sequences = 0
        self.steps = 0
        """How many sequences and steps were run."""

    def run(self, operations: Sequence[Operation]) -> None:
        """Runs a sequence. Raises `Difference`, or what befell the guest (`GuestCrash` …); where
        the host is at fault, once more before that is raised.
        """
        try:
            self._run(operations)
        except HarnessError as error:
            if error.verdict is not Verdict.INFRASTRUCTURE:
                raise
            self._run(operations)

    def _run(self, operations: Sequence[Operation]) -> None:
        model = self.setup.model()
        template = self.store.get(self.setup.config, self._point, self._prepare, say=self._say)
        with template.clone(self.artifacts) as machine:
            guest = Guest(machine, self.setup.areas[0].name)
            done = self._ask_all(guest, model, operations)
            self._compare_state(guest, model)
            self._compare_memory(machine, model)
            machine.settle()
        self.sequences += 1
        self.steps += done

    def _ask_all(self, guest: Guest, model: Model, operations: Sequence[Operation]) -> int:
        """Runs the steps, in one exchange or, where a step depends on an answer, some; how many."""
        steps: list[Step] = []
        done = 0
        for operation in operations:
            step = model.apply(operation)
            if step is None:
                continue
            steps.append(step)
            if step.told:
                answer = self._exchange(guest, steps, done)
                done += len(steps)
                if why := model.learn(answer):
                    raise Difference(done, f"{_asked(step)} was answered {answer!r}: {why}")
                steps = []
        if steps:
            self._exchange(guest, steps, done)
        if (closing := model.closing()) is not None:
            answer = guest.run(f"{_ASK}\nask {USER} {closing}", _TIMEOUT, check=False).text.strip()
            if answer != "ok":
                raise Difference(0, f"the data of a process: {answer!r}, expected 'ok'")
        return done + len(steps)

    def _exchange(self, guest: Guest, steps: Sequence[Step], done: int) -> str:
        """Runs steps after so many others; the last answer."""
        said = guest.run(self._script(steps), _TIMEOUT, check=False).text.splitlines()
        self._compare(steps, said, done)
        return said[-1]

    @property
    def _point(self) -> str:
        return f"{POINT}-pressure" if self.setup.pressure else POINT

    def _prepare(self, machine: Machine) -> None:
        """What the template has beyond a booted guest."""
        guest = Guest(machine, self.setup.areas[0].name)
        guest.insmod(f"area={self.setup.areas[0].name}:default")
        app = guest.app_path()
        devices = [DEVICES[served] for served in OPENERS]
        devices += ["/dev/null"] if self.setup.pressure else []
        for number, device in enumerate(devices):
            files = f"/tmp/explore-{number}"
            guest.run(
                f"mkfifo {files}.in {files}.out; {{ {app} --script --device {device}"
                f" <&3 >&4 2>/dev/null 3<&- 4>&- & }} 3<>{files}.in 4<>{files}.out;"
                f" echo $! >{files}.pid"
            )
            guest.run(f"{_ASK}; ask {number} pid")
        if self.setup.pressure:
            weigh_down(guest)
        for area in self.setup.areas:
            for first, count in area.free:
                machine.write_physical(area.base + first * PAGE, HOST * count)
        for guard in self.setup.guards:
            machine.write_physical(guard.start, HOST * (guard.size // PAGE))

    def _script(self, steps: Sequence[Step]) -> str:
        return "\n".join([_ASK, *(self._line(step) for step in steps)])

    def _line(self, step: Step) -> str:
        """One step as shell: it prints one line."""
        if step.operation.name == "kill":
            files = f"/tmp/explore-{step.application}"
            return (
                f"read -r p <{files}.pid; kill -9 $p;"
                " while [ -e /proc/$p ]; do usleep 500; done; echo gone"
            )
        name, _, number = step.command.partition(" ")
        if name == "fork":
            return f'child{number}="$(ask {step.application} fork)"; echo "$child{number}"'
        if name == "reap":
            return f'ask {step.application} "reap ${{child{number}#ok }}"'
        if name == "reload":
            again = f"insmod {self.setup.load} 2>/dev/null"
            gone = f"rmmod {self.setup.unload} 2>/dev/null"
            return f"if {gone}; then {again} && echo ok; else echo busy; fi"
        if step.operation.name in PRESSURE:
            return f"each {USER} {' '.join(map(shlex.quote, step.command.split('; ')))}"
        if step.application is not None:
            return f"ask {step.application} {shlex.quote(step.command)}"
        area = step.operation.numbers[0] % len(self.setup.areas)
        place = f"{DEBUGFS}/{self.setup.debug_dirs[area]}"
        if step.operation.name == "look":
            return f'read -r n <{place}/used; echo "ok $n"'
        words, _, file = step.command.partition(" ")[2].partition(" >")
        return f"if {words} 2>/dev/null >{place}/{file}; then echo ok; else echo error; fi"

    def _compare(self, steps: Sequence[Step], said: Sequence[str], done: int) -> None:
        for number, step in enumerate(steps, start=1):
            answer = said[number - 1] if number <= len(said) else "nothing"
            wanted = step.expected.split()
            if answer.split()[: len(wanted)] != wanted:
                raise Difference(
                    done + number,
                    f"{_asked(step)} was answered {answer!r}, expected {step.expected!r}",
                )

    def _compare_state(self, guest: Guest, model: Model) -> None:
        state = guest.cma()
        for area in model.areas:
            name = area.spec.name
            used = state.used(name)
            if used != area.used * PAGE:
                raise Difference(0, f"{name} has {used // PAGE} pages taken, expected {area.used}")
            counters, before = state.counters.get(name), self.setup.counters.get(name)
            if counters is not None and before is not None:
                allocated = counters.allocated - before.allocated
                found = (allocated, counters.failed - before.failed)
                if found != (area.allocated, area.failed):
                    raise Difference(
                        0,
                        f"sysfs counts {found[0]} pages allocated and {found[1]} refused in {name},"
                        f" expected {area.allocated} and {area.failed}",
                    )

        calls = [_more(state.vmstat, self.setup.vmstat, name) for name in CALLS]
        if None not in calls and calls != [*model.calls]:
            raise Difference(
                0,
                f"vmstat counts {calls[0]} allocations and {calls[1]} that failed, expected"
                f" {model.calls[0]} and {model.calls[1]}",
            )

    def _compare_memory(self, machine: Machine, model: Model) -> None:
        """Every byte of the areas that nobody else has, and of the guards beside them."""
        for number, area in enumerate(self.setup.areas):
            contents = model.contents(number)
            for first, count in area.free:
                start, size = first * PAGE, count * PAGE
                place = AddressRange.from_size(area.base + start, size)
                wanted = contents[start : start + size]
                unknown = {page - first for page in model.areas[number].unknown}
                self._compare_bytes(machine, place, wanted, area.name, unknown)
        for guard in self.setup.guards:
            self._compare_bytes(machine, guard, HOST * (guard.size // PAGE), "a guard")

    def _compare_bytes(
        self,
        machine: Machine,
        place: AddressRange,
        wanted: bytes,
        name: str,
        unknown: Collection[int] = (),
    ) -> None:
        """`unknown` are pages that may hold anything, counted from the start of `place`."""
        found = machine.read_physical(place.start, place.size)
        if found == wanted:
            return
        starts = range(0, place.size, PAGE)
        wrong = [
            i
            for i in starts
            if i // PAGE not in unknown and found[i : i + PAGE] != wanted[i : i + PAGE]
        ]
        if not wrong:
            return
        byte = next(i for i in range(wrong[0], wrong[0] + PAGE) if found[i] != wanted[i])
        count = f"{len(wrong)} page{'' if len(wrong) == 1 else 's'}"
        raise Difference(
            0,
            f"memory of {name} differs in {count}: at {place.start + byte:#x} it is"
            f" {found[byte : byte + 8].hex()}, expected {wanted[byte : byte + 8].hex()}",
        )
