# SPDX-License-Identifier: MIT
"""What a gate decides, with the builds, the boots and the suite replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.builders.cache import Cache
from harness.builders.changed_code import ChangedCode
from harness.builders.kernel import KernelTree
from harness.builders.patch_tree import PatchError
from harness.builders.sandbox import Contained, NoSandbox
from harness.coverage.changed import LineFate
from harness.coverage.functions import FUNCTIONS, FunctionMap
from harness.coverage.record import CoverageRecord
from harness.errors import BuildError, HarnessError, UserError, Verdict
from harness.gate import gate as module
from harness.gate.cachecheck import CacheCheck
from harness.gate.events import Chosen, Event, StageBegun, StageDone
from harness.gate.gate import Gate
from harness.gate.inputs import Input
from harness.gate.options import Options
from harness.gate.probe import Probe, difference
from harness.gate.report import text
from harness.gate.report.as_json import as_json
from harness.gate.result import Area, Decision, FindingKind, GateResult, ResultChange
from harness.gate.selection import GUARDS
from harness.host.confine import Confinement, Means
from harness.host.progress import LineProgress
from harness.host.tool import UNCONFINED
from harness.imageset.model import ImageSet
from harness.imageset.objects import CodeChange
from harness.machine.crash import Crash, CrashKind
from harness.machine.errors import GuestCrash, GuestStopped, GuestTimeout, QemuDied
from harness.memory.errors import CannotPlace, MalformedDebugfs, ZeroedIomem
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.selection import read_selection
from harness.testrun.result import CaseResult, SuiteResult
from harness.testrun.suite import Enough, coverage_of

PATIENCE = 10.0
PATCH = Input("x.patch", "what it does", "A", "diff", ("mm/cma.c",))
CHANGED = ChangedCode({"mm/cma.o": CodeChange(frozenset({"cma_alloc"}))})
BOOT = Probe(
    ("[    0.000001] one", "[    0.000002] two"),
    ("a warning of the base, 17",),
    1500.0,
    {"one page": 700.0, "1 MiB": 11000.0},
    (Area("linux,cma", AddressRange(0x69000000, 0x69800000)),),
)


class Trouble(HarnessError):
    verdict = Verdict.INFRASTRUCTURE


@dataclasses.dataclass
class World:
    """Everything around the gate, and what it does in this test."""

    tmp_path: Path
    apply: Exception | None = None
    build: Exception | None = None
    build_fails_once: bool = False
    files: Sequence[str] = ("linux/mm/cma.c",)
    steps: Sequence[str] = ("mm/cma.o", "vmlinux")
    warnings: Sequence[str] = ()
    warnings_of_base: Sequence[str] = ()
    base_boots: list[Probe | HarnessError] = dataclasses.field(default_factory=lambda: [BOOT])
    boots: list[Probe | HarnessError] = dataclasses.field(default_factory=lambda: [BOOT])
    before: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"a": "passed"})
    after: list[Mapping[str, str]] = dataclasses.field(default_factory=lambda: [{"a": "passed"}])
    base_again: list[Mapping[str, str]] = dataclasses.field(default_factory=list)
    patched_again: list[Mapping[str, str]] = dataclasses.field(default_factory=list)
    """What failing tests give when they are run again; as before where nothing is said."""
    last: Mapping[str, str] = dataclasses.field(default_factory=dict)
    look: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"a": "passed"})
    """What a first look gives, where nothing is known of the base."""
    canary: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"a": "passed"})
    diff: str = ""
    """What the patch changes in the tree."""
    kernel: bytes = b"kernel"
    """The base's."""
    laid: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Files of the base that the kernel which it is built from has not so."""
    base_lines: CoverageRecord = dataclasses.field(
        default_factory=lambda: CoverageRecord({}, (), {}, {})
    )
    """What the base's run says of executed lines."""
    executed: CoverageRecord | None = None
    """What the patched run says of executed lines."""
    functions: Mapping[str, frozenset[str]] | None = None
    """What each test of the base executes; None: all of them what is changed."""
    no_map: bool = False
    """Nobody knows what they execute."""
    boot: frozenset[str] = frozenset()
    code: ChangedCode = CHANGED
    """What the patch makes different in the build."""
    events: list[Event] = dataclasses.field(default_factory=list)
    require_coverage: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    done: list[str] = dataclasses.field(default_factory=list)
    again_began: threading.Event = dataclasses.field(default_factory=threading.Event)
    waits: bool = False
    """The run of the patched system goes on until a failing test of it is run again."""
    selected: set[str] = dataclasses.field(default_factory=set)
    base_selected: list[set[str] | None] = dataclasses.field(default_factory=list)

    def build_set(self, to: Path) -> ImageSet:
        to.mkdir(parents=True, exist_ok=True)
        self.done.append(f"build {to.name}")
        if to.name == "patched" and self.build is not None:
            error = self.build
            self.build = None if self.build_fails_once else error
            raise error
        kernel = to / "zImage"
        kernel.write_bytes(b"origin" if to.name == "origin" else self.kernel)
        return ImageSet(kernel, kernel, release="6.1.0")

    def warnings_before(self, steps: Sequence[str]) -> Sequence[str]:
        return self.warnings_of_base

    # Boots and tests

    def probe(self, images: ImageSet, place: Path, timeout: float) -> Probe:
        boots = self.boots if place.name == "patched" else self.base_boots
        boot = boots.pop(0)
        if isinstance(boot, HarnessError):
            raise boot
        return boot

    def run_suite(
        self,
        suite: object,
        images: ImageSet,
        to: Path,
        select: Path | None = None,
        targets: Sequence[str] = (),
        stop_after: int = 0,
        ends: Enough | None = None,
    ) -> SuiteResult:
        self.done.append(f"suite {to.name}")
        if to.name == "patched" and select is not None:
            self.selected = read_selection(select)
        if to.name == "base":
            self.base_selected.append(read_selection(select) if select else None)
            if not self.no_map:
                self.base_lines.write(coverage_of(to))
                every = dict.fromkeys(self.before, frozenset({"cma_alloc"}))
                made = FunctionMap(self.boot, self.functions or every)
                made.write(coverage_of(to).with_name(FUNCTIONS))
            return run(self.before)
        if to.name == "patched":
            self.last = self.after.pop(0)
            if self.executed is not None:
                self.executed.write(coverage_of(to))
            found = until(self.last, ends)
            if self.waits:
                assert self.again_began.wait(PATIENCE)
            return found
        if to.name.startswith("patched-part-") and "again" not in to.name:
            assert select is not None
            out = {line[1:] for line in select.read_text().splitlines() if line[:1] == "!"}
            return until({test: r for test, r in self.last.items() if test not in out}, ends)
        if to.name == "look":
            return until(self.look, ends)
        side, again, _number = to.name.partition("-again-")
        if side == "look":
            return run(self.look)
        if not again:
            return run(self.canary)
        self.again_began.set()
        given = self.base_again if side == "base" else self.patched_again
        same = self.before if side == "base" else self.last
        return run(given.pop(0) if given else same)

    def judge(self) -> GateResult:
        cache = Cache(self.tmp_path / "cache")
        cache.directory("entries")
        options = Options(
            self.tmp_path / "out",
            "6.1",
            require_coverage=self.require_coverage,
            **self.options,
        )
        return Gate(options, cache, LineProgress(), self.events.append).judge([PATCH])


class FakeShop:
    """The part of a patch_tree that the gate uses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.steps, self.warnings = list(world.steps), list(world.warnings)
        self.root, self.log = world.tmp_path / "shop", world.tmp_path / "log"
        self.origin = world.tmp_path / "origin"
        self.kernel = KernelTree(world.tmp_path / "tree", "6.1.0", frozenset())
        self.building = 0.0
        self.said: list[str] = []
        self.touched = list(world.files)
        self.laid = dict(world.laid)
        self.made = list(world.steps)
        self.unlaid = world.build_set
        self.build = world.build_set
        self.warnings_before = world.warnings_before

    @property
    def made_of_source(self) -> bool:
        return any(not step.startswith(str(self.root / "images")) for step in self.steps)

    def restore(self) -> None:
        self._world.done.append("made good")

    def diff(self, context: int = 0) -> str:
        return self._world.diff

    def diff_of_all(self) -> str:
        return self._world.diff

    def apply(self, path: Path, *, loosely: bool = False) -> list[str]:
        assert path.read_text() == "diff"
        if self._world.apply is not None:
            raise self._world.apply
        return list(self._world.files)


def until(results: Mapping[str, str], ends: Enough | None) -> SuiteResult:
    """As `run`, as far as it gets."""
    whole = run(results)
    for number, case in enumerate(whole.cases, 1):
        if ends is not None and ends(case) and number < len(whole.cases):
            return dataclasses.replace(whole, cases=whole.cases[:number], cut=True)
    return whole


def run(results: Mapping[str, str]) -> SuiteResult:
    """Results as ``passed``, ``xfailed``, ``lost`` (the run), or a verdict: a failure."""
    cases = []
    for name, result in results.items():
        if result in ("passed", "skipped", "xfailed"):
            cases.append(CaseResult(name, result))  # type: ignore[arg-type]
        elif result != "lost":
            cases.append(CaseResult(name, "failed", result, f"{name} says {result}"))
    bad = any(case.failed for case in cases)
    status = 3 if "lost" in results.values() else int(bad)
    return SuiteResult(status, tuple(cases), 1.0, Path("log"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)

    @contextlib.contextmanager
    def opened(*_arguments: object) -> Iterator[FakeShop]:
        try:
            yield FakeShop(made)
        finally:
            made.done.append("restored")

    monkeypatch.setattr(module, "open_patch_tree", opened)
    monkeypatch.setattr("harness.gate.change.changed_code", lambda *_arguments: made.code)
    full = Confinement(Means.NAMESPACES, 1, filtered=True, asked=True, landlock=0)
    monkeypatch.setattr("harness.builders.sandbox.check", lambda: full)
    monkeypatch.setattr("harness.gate.probe.probe", made.probe)
    monkeypatch.setattr("harness.gate.canary.run_suite", made.run_suite)
    # A process, which has tests of its own.
    monkeypatch.setattr(CacheCheck, "begin", lambda check: made.done.append("reads the cache"))
    monkeypatch.setattr("harness.gate.settled.run_suite", made.run_suite)
    return made


DIFF = """\
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -0,0 +1,3 @@
+/* a comment */
+executed();
+idle();
"""
REMOVES = """\
--- a/mm/cma.c
+++ b/mm/cma.c
@@ -2,2 +1,0 @@
-executed();
-idle();
"""


def executed(*lines: int) -> CoverageRecord:
    """One test that executed these lines of two that have code."""
    code = {"mm/cma.c": frozenset({2, 3})}
    return CoverageRecord(code, (), {}, {"a": {"mm/cma.c": frozenset(lines)}})


def kinds(result: GateResult) -> list[FindingKind]:
    return [finding.kind for finding in result.findings]


def test_a_patch_that_changes_no_result_is_accepted(world: World) -> None:
    result = world.judge()
    assert (result.decision, result.reason) == (
        Decision.ACCEPTED,
        "1 tests pass as they do on the base",
    )
    assert result.decision.exit_status == 0
    assert result.findings == ()
    assert result.map_before == result.map_after == BOOT.areas
    assert world.done.index("restored") < world.done.index("suite patched"), "the tree is free"


def test_a_first_look_rejects_before_anything_is_known_of_the_base(world: World) -> None:
    world.look = {"b": "passed", "a": "product"}
    result = world.judge()
    assert result.decision is Decision.REJECTED
    assert result.selection.startswith("a first look")
    assert kinds(result) == [FindingKind.TEST]
    assert [finding.test for finding in result.findings] == ["a"]
    assert [change.test for change in result.tests] == ["a"], "of the others nothing is known"
    assert not [note for note in result.notes if "nothing is known" in note]
    suites = [done for done in world.done if done.startswith("suite")]
    assert set(suites) == {"suite look", "suite look-again-1", "suite canary"}


def test_the_cache_is_read_while_a_patch_is_built(world: World) -> None:
    world.judge()
    begun = world.done.index("reads the cache")
    assert world.done.index("build base") < begun < world.done.index("build patched")


@pytest.mark.parametrize(
    ("look", "canary"),
    [
        ({"a": "passed"}, {"a": "passed"}),
        ({"a": "product"}, {"a": "product"}),
        ({"a": "infrastructure"}, {"a": "passed"}),
        ({"a": "product"}, {"a": "lost"}),
    ],
    ids=["passes", "base-fails-too", "host", "nothing-known-of-the-base"],
)
def test_what_a_first_look_does_not_reject_is_judged_by_what_the_base_executes(
    world: World, look: Mapping[str, str], canary: Mapping[str, str]
) -> None:
    world.look, world.canary = look, canary
    result = world.judge()
    assert result.decision is Decision.ACCEPTED
    assert {"suite look", "suite base", "suite patched"} <= set(world.done)
    assert not result.selection.startswith("a first look")


def test_nobody_looks_first_where_the_base_is_known(world: World) -> None:
    world.after *= 2
    world.boots *= 2
    world.base_boots *= 2
    world.judge()
    world.done.clear()
    world.look = {"a": "product"}
    assert world.judge().decision is Decision.ACCEPTED
    assert "suite look" not in world.done


def test_what_changes_nothing_that_is_built_needs_no_run_of_the_base(world: World) -> None:
    world.code = ChangedCode()
    world.before = dict.fromkeys(GUARDS, "passed")
    world.after = [world.before]
    result = world.judge()
    assert result.decision is Decision.ACCEPTED
    assert world.selected == set(GUARDS)
    assert world.base_selected == [set(GUARDS)]
    assert "suite look" not in world.done


@pytest.fixture
def later(world: World) -> World:
    """A base some commits after one that was run."""
    world.before = {"a": "passed", "b": "passed", "c": "passed"}
    world.functions = {
        "a": frozenset({"cma_alloc"}),
        "b": frozenset({"cma_release"}),
        "c": frozenset({"printk"}),
    }
    world.after = [world.before, {"a": "passed", "b": "passed"}]
    world.boots *= 2
    world.base_boots *= 2
    world.kernel = b"origin"
    assert world.judge().decision is Decision.ACCEPTED
    world.kernel, world.laid = b"kernel", {"mm/cma.c": None}
    world.code = ChangedCode({"mm/cma.o": CodeChange(frozenset({"cma_alloc", "cma_release"}))})
    world.done.clear()
    world.base_selected.clear()
    return world


def test_a_base_some_commits_later_is_not_run_as_a_whole(later: World) -> None:
    result = later.judge()
    assert result.decision is Decision.ACCEPTED
    assert later.selected == {"a", "b"}, "also who executes what the commits before changed"
    assert later.base_selected == [{"a", "b"}], "the others are not run on the base"
    assert result.selection.endswith("the base was never run")
    assert "suite look" not in later.done


def test_where_what_differs_by_then_concerns_all_tests_a_first_look_is_taken(later: World) -> None:
    later.code = ChangedCode(reach="the device tree")
    later.look = {"a": "product"}
    assert later.judge().decision is Decision.REJECTED
    assert "suite look" in later.done
    assert "suite base" not in later.done


@pytest.mark.parametrize("options", [{"whole": True}, {"tests": ("a",)}], ids=["whole", "tests"])
def test_nobody_looks_first_where_tests_were_asked_for(
    world: World, options: Mapping[str, Any]
) -> None:
    world.options = options
    assert world.judge().decision is Decision.ACCEPTED
    assert "suite look" not in world.done


def test_the_base_s_results_are_kept(world: World) -> None:
    world.after = [{"a": "passed"}] * 2
    world.boots, world.base_boots = [BOOT] * 2, [BOOT] * 2
    world.judge()
    world.judge()
    assert world.done.count("suite base") == 1


def test_what_an_earlier_run_found_is_kept_and_not_mixed_with_this_one(world: World) -> None:
    world.after = [{"a": "passed"}] * 2
    world.boots, world.base_boots = [BOOT] * 2, [BOOT] * 2
    world.judge()
    out = world.tmp_path / "out"
    (out / "result.json").write_text("first")
    (out / "mine.txt").write_text("mine")
    world.judge()
    (earlier,) = (out / "earlier").iterdir()
    assert (earlier / "result.json").read_text() == "first"
    assert (earlier / "patches").is_dir()
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / "result.json").exists()


def test_a_directory_that_is_not_the_gate_s_is_refused_before_anything_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.host.output.ARTIFACTS", Path("/nowhere"))
    precious = world.tmp_path / "out" / "images" / "holiday.jpg"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with pytest.raises(UserError, match="files that are not this harness's"):
        world.judge()
    assert precious.read_text() == "mine"
    assert world.done == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PatchError("applying x failed\nHunk"), FindingKind.APPLY),
        (UserError("../x"), FindingKind.SCOPE),
    ],
)
def test_what_cannot_be_applied_is_not_judged(
    world: World, error: Exception, kind: FindingKind
) -> None:
    world.apply = error
    result = world.judge()
    assert (result.decision, kinds(result)) == (Decision.NOT_JUDGED, [kind])
    assert result.decision.exit_status == 2
    assert world.done == ["build base", "restored"]


def test_what_changes_nothing_that_is_built_is_not_judged(world: World) -> None:
    world.steps = (str(world.tmp_path / "shop" / "images" / "module" / "cma.o"),)
    result = world.judge()
    assert (result.decision, kinds(result)) == (Decision.NOT_JUDGED, [FindingKind.SCOPE])


def test_a_driver_patch_is_in_scope_whatever_make_says(world: World) -> None:
    world.steps, world.files = (), ("images/module/cma.c",)
    assert world.judge().decision is Decision.ACCEPTED


class TestSelection:
    def test_one_test_can_be_asked_for(self, world: World) -> None:
        world.options = {"tests": ("a",), "command": "harness gate x.patch"}
        world.after = [{"a": "product"}]
        result = world.judge()
        assert (world.selected, world.base_selected) == ({"a"}, [{"a"}])
        assert result.findings[0].again == "harness gate x.patch --test a"

    def test_the_tests_that_execute_what_is_changed_are_run(self, world: World) -> None:
        world.before = {"a": "passed", "b": "passed"}
        world.functions = {"a": frozenset({"cma_alloc"}), "b": frozenset({"cma_release"})}
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert world.selected == {"a"}
        assert result.tests == (), "that b was not run is no loss"
        assert (result.tests_run, result.tests_of) == (1, 2)
        assert result.selection == "1 test executes what it changes (cma_alloc); 0 more guard"

    def test_what_the_boot_executes_takes_all(self, world: World) -> None:
        world.before = world.last = {"a": "passed", "b": "passed"}
        world.after = [world.before]
        world.functions = {"a": frozenset({"cma_alloc"}), "b": frozenset({"cma_release"})}
        world.boot = frozenset({"cma_alloc"})
        result = world.judge()
        assert world.selected == {"a", "b"}
        assert result.selection.startswith("all tests: the boot executes")

    def test_what_is_kept_of_the_base_chooses_too(self, world: World) -> None:
        world.functions = {"a": frozenset({"cma_alloc"})}
        for _ in range(2):
            world.boots, world.base_boots = [BOOT], [BOOT]
            world.after, world.selected = [{"a": "passed"}], set()
            world.judge()
            assert world.selected == {"a"}
        assert world.done.count("suite base") == 1

    @pytest.mark.parametrize("file", ["*.lines", "*.functions", "*.blind"])
    def test_a_damaged_map_is_as_if_it_were_missing(self, world: World, file: str) -> None:
        for count in (1, 2):
            world.boots, world.base_boots, world.after = [BOOT], [BOOT], [{"a": "passed"}]
            assert world.judge().decision is Decision.ACCEPTED
            assert world.done.count("suite base") == count
            (found,) = (world.tmp_path / "cache" / "baselines").glob(file)
            found.write_bytes(b"\xff")

    def test_a_test_that_ended_early_there_is_always_run(self, world: World) -> None:
        """Its host stood still: what it would have executed is not known."""
        world.before = {"a": "passed", "b": "infrastructure"}
        world.base_again = [world.before] * 3
        world.functions = {"a": frozenset({"cma_alloc"}), "b": frozenset({"early"})}
        for _ in range(2):
            world.boots, world.base_boots = [BOOT], [BOOT]
            world.after, world.selected = [{"a": "passed", "b": "passed"}], set()
            world.judge()
            assert world.selected == {"a", "b"}
        assert world.base_selected[0] is None
        assert world.base_selected[1:] == [{"b"}], "the map is kept"

    def test_only_what_is_not_known_of_the_base_is_run_there(self, world: World) -> None:
        """The map holds for other versions of the harness than the results do."""
        world.judge()
        (results,) = (world.tmp_path / "cache" / "baselines").glob("*.json")
        results.unlink()
        world.boots, world.base_boots, world.after = [BOOT], [BOOT], [{"a": "passed"}]
        assert world.judge().decision is Decision.ACCEPTED
        assert world.base_selected == [None, {"a"}]

    def test_where_nobody_knows_what_a_test_executes_it_is_run(self, world: World) -> None:
        world.before = {"a": "passed", "blind": "passed"}
        world.after = [world.before]
        world.functions = {"a": frozenset({"cma_alloc"})}
        world.judge()
        assert world.selected == {"a", "blind"}

    def test_without_a_map_all_are_run(self, world: World) -> None:
        world.no_map = True
        result = world.judge()
        assert world.selected == set()
        assert result.selection == "all tests: what each executes is not known on the base"

    def test_a_watcher_hears_of_stages_and_of_the_choice(self, world: World) -> None:
        world.functions = {"a": frozenset({"cma_alloc"})}
        world.judge()
        begun = [event.name for event in world.events if isinstance(event, StageBegun)]
        done = [event.stage.name for event in world.events if isinstance(event, StageDone)]
        assert begun == done
        assert begun[:3] == ["base", "apply", "build"]
        chosen = [event.selection.tests for event in world.events if isinstance(event, Chosen)]
        assert chosen == [("a",)]


@pytest.mark.parametrize(
    ("error", "kind", "title"),
    [
        (
            BuildError("making the kernel failed\nmm/cma.c:1:1: error: no\nlog: /x"),
            FindingKind.BUILD,
            "mm/cma.c:1:1: error: no",
        ),
        (
            Contained("it tried to reach the network"),
            FindingKind.CONTAINED,
            "the build was contained: it tried to reach the network",
        ),
    ],
)
def test_what_does_not_build_is_rejected(
    world: World, error: Exception, kind: FindingKind, title: str
) -> None:
    world.build = error
    result = world.judge()
    assert (result.decision, kinds(result)) == (Decision.REJECTED, [kind])
    assert result.findings[0].title == title
    assert "log: " not in result.findings[0].detail


def test_a_build_that_fails_once_is_no_fault_of_the_patch_s(world: World) -> None:
    """Its compiler was killed, or a file of the tree was damaged."""
    world.build, world.build_fails_once = BuildError("cc1 was killed\nKilled"), True
    result = world.judge()
    assert result.decision is Decision.ACCEPTED
    assert "built again in a tree made good" in result.notes[0]
    built = [step for step in world.done if step != "reads the cache"]
    assert built[:4] == ["build base", "build patched", "made good", "build patched"]


@pytest.mark.parametrize(
    "error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ValueError("odd"), KeyError("x")]
)
def test_what_nobody_foresaw_is_infrastructure_and_has_its_reports(
    world: World, error: Exception
) -> None:
    world.build = error
    result = world.judge()
    assert (result.decision, kinds(result)) == (
        Decision.INFRASTRUCTURE,
        [FindingKind.INFRASTRUCTURE],
    )
    assert type(error).__name__ in result.reason


def test_nobody_is_blamed_for_what_damaged_files_did(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [["kernel-6.1: tree/obj/vmlinux"], []]
    monkeypatch.setattr(Cache, "damaged", lambda cache: bad.pop(0))
    world.boots = [GuestTimeout("no answer"), GuestTimeout("no answer"), BOOT]
    world.base_boots = [BOOT, BOOT]
    result = world.judge()
    assert result.decision is Decision.ACCEPTED
    assert "files of the cache were damaged: kernel-6.1" in result.notes[0]
    assert bad == [[]], "an acceptance blames nobody"


def test_a_verdict_against_the_patch_looks_at_the_cache_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Cache, "damaged", lambda cache: asked.append(1) or [])  # type: ignore[func-returns-value]
    world.after = [{"a": "product"}]
    assert world.judge().decision is Decision.REJECTED
    assert asked == [1]


def test_a_full_disk_is_infrastructure(world: World) -> None:
    world.build = OSError(errno.ENOSPC, "No space left on device")
    assert world.judge().decision is Decision.INFRASTRUCTURE


def test_only_warnings_that_the_base_has_not_are_new(world: World) -> None:
    world.warnings = ("mm/cma.c:10:5: warning: old", "mm/cma.c:11:5: warning: new")
    world.warnings_of_base = ("mm/cma.c:8:5: warning: old",)
    result = world.judge()
    assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.COMPILER_WARNING])
    assert result.findings[0].title == "mm/cma.c:11:5: warning: new"


def crash() -> GuestCrash:
    return GuestCrash(Crash((CrashKind.PANIC,), "Kernel panic", "Kernel panic\ntrace", 0))


class TestBoot:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (crash(), FindingKind.CRASH),
            (GuestTimeout("no answer after 30 s"), FindingKind.TIMEOUT),
            (GuestStopped("the guest reset itself"), FindingKind.CRASH),
        ],
    )
    def test_a_kernel_that_does_not_boot_is_rejected(
        self, world: World, error: HarnessError, kind: FindingKind
    ) -> None:
        world.boots = [error] * 2
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [kind])
        assert "the base booted beside it" in result.notes[-1]
        assert not any("suite" in step for step in world.done)

    def test_where_the_base_does_not_boot_either_nothing_is_known(self, world: World) -> None:
        world.boots, world.base_boots = [crash()], [GuestTimeout("no answer")] * 2
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert result.decision.exit_status == 3
        assert "the base itself does not boot" in result.reason

    def test_infrastructure_is_tried_once_more_and_that_is_said(self, world: World) -> None:
        world.boots = [QemuDied("QEMU ended", -9, ""), BOOT]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert "booted again" in result.notes[0]

    def test_no_answer_counts_when_it_comes_twice(self, world: World) -> None:
        """A host that stood still for this one boot is no reason."""
        world.boots = [GuestTimeout("no answer after 30 s"), BOOT]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert "booted again, after no answer" in result.notes[0]

    def test_twice_is_the_end(self, world: World) -> None:
        world.boots = [QemuDied("QEMU ended", -9, "")] * 2
        assert world.judge().decision is Decision.INFRASTRUCTURE

    def test_a_wrong_answer_after_the_boot_goes_on_to_the_tests(self, world: World) -> None:
        class Wrong(HarnessError):
            verdict = Verdict.PRODUCT

        world.boots = [Wrong("two witnesses disagree")]
        world.after = [{"a": "product"}]
        result = world.judge()
        assert (result.decision, kinds(result)) == (
            Decision.REJECTED,
            [FindingKind.BOOT, FindingKind.TEST],
        )
        assert result.map_after == ()

    @pytest.mark.parametrize(
        "wrong",
        [
            MalformedDebugfs("bitmap", "0 words, and 2048 pages need 64"),
            CannotPlace("BiscuitOS_cma", "no witness knows it"),
            ZeroedIomem("/proc/iomem", "every range is zero"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_witnesses_that_fall_silent_are_the_patch_s_fault(
        self, world: World, wrong: HarnessError
    ) -> None:
        world.boots = [wrong, wrong]
        # No test can tell either, where nobody says where the areas are.
        world.after = [dict.fromkeys("abcdefgh", "infrastructure")] * 9
        if wrong.verdict is Verdict.PRODUCT:
            world.after = [{"a": "passed"}]
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.BOOT])

    def test_a_new_warning_of_the_kernel_s_is_rejected(self, world: World) -> None:
        warnings = ("a warning of the base, 18", "CMA: something new")
        world.boots = [dataclasses.replace(BOOT, warnings=warnings)]
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.KERNEL_WARNING])
        assert result.findings[0].title == "CMA: something new"

    def test_a_warning_that_is_gone_is_told(self, world: World) -> None:
        world.boots = [dataclasses.replace(BOOT, warnings=())]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert result.warnings_gone == BOOT.warnings

    @pytest.mark.parametrize(
        "slow", [{"boot_ms": 2000.0}, {"cycle_us": {"one page": 1100.0, "1 MiB": 11000.0}}]
    )
    def test_what_is_much_slower_is_a_regression(
        self, world: World, slow: dict[str, object]
    ) -> None:
        world.boots = [dataclasses.replace(BOOT, **slow)]  # type: ignore[arg-type]
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.REGRESSION])

    def test_what_is_printed_differently_is_shown_and_no_reason(self, world: World) -> None:
        lines = ("[    0.000009] one", "[    0.000002] three")
        world.boots = [dataclasses.replace(BOOT, transcript=lines)]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert "-two" in result.transcript_diff
        assert "+three" in result.transcript_diff
        assert "-one" not in result.transcript_diff, "times alone are no difference"


class TestCoverage:
    def test_code_that_nothing_executed_is_told_first(self, world: World) -> None:
        world.diff, world.executed = DIFF, executed(2)
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert result.reason.startswith("but 1 of 2 changed lines was executed by no test; 1 test")
        fates = [(line.line, line.fate, line.tests) for line in result.changed]
        assert fates == [
            (1, LineFate.NOT_CODE, ()),
            (2, LineFate.TESTS, ("a",)),
            (3, LineFate.NONE, ()),
        ]

    def test_all_that_is_executed_takes_no_word(self, world: World) -> None:
        world.diff, world.executed = DIFF, executed(2, 3)
        assert world.judge().reason == "1 tests pass as they do on the base"

    def test_a_line_that_is_taken_out_is_judged_by_the_base(self, world: World) -> None:
        world.diff, world.base_lines = REMOVES, executed(2)
        result = world.judge()
        assert result.reason.startswith("but 1 of 2 changed lines was executed by no test; 1 test")
        fates = [(line.line, line.fate, line.tests) for line in result.removed]
        assert fates == [(2, LineFate.TESTS, ("a",)), (3, LineFate.NONE, ())]
        assert "mm/cma.c:3: removed, on the base executed by none: idle();" in text.render(result)

    def test_what_no_one_knows_of_a_line_that_is_taken_out_is_not_said(self, world: World) -> None:
        world.diff, world.no_map = REMOVES, True
        assert world.judge().reason == "1 tests pass as they do on the base"

    def test_it_can_be_required(self, world: World) -> None:
        world.diff, world.executed, world.require_coverage = DIFF, executed(2), True
        result = world.judge()
        assert result.decision is Decision.REJECTED
        assert kinds(result) == [FindingKind.COVERAGE]

    def test_where_the_run_does_not_tell_nothing_is_claimed(self, world: World) -> None:
        world.diff, world.require_coverage = DIFF, True
        result = world.judge()
        assert (result.decision, result.changed) == (Decision.ACCEPTED, ())
        assert "which changed lines were executed is not known" in result.notes


class TestSuite:
    def test_a_test_that_newly_fails_is_a_reason(self, world: World) -> None:
        world.after = [{"a": "product"}]
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.TEST])
        assert result.findings[0].detail == "a says product"
        assert "canary: the base passes a" in result.notes[-1]

    @pytest.mark.parametrize(
        ("verdict", "kind"), [("crash", FindingKind.CRASH), ("timeout", FindingKind.TIMEOUT)]
    )
    def test_the_verdict_is_the_test_s(self, world: World, verdict: str, kind: FindingKind) -> None:
        world.after = [{"a": verdict}]
        assert kinds(world.judge()) == [kind]

    def test_what_the_canary_fails_too_says_nothing_of_the_patch(self, world: World) -> None:
        world.after, world.canary = [{"a": "timeout"}], {"a": "timeout"}
        result = world.judge()
        assert (result.decision, kinds(result)) == (
            Decision.INFRASTRUCTURE,
            [FindingKind.INFRASTRUCTURE],
        )

    def test_what_failed_before_is_no_reason(self, world: World) -> None:
        world.before = {"a": "product", "b": "xfailed"}
        world.after = [{"a": "product", "b": "xfailed"}]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert [change.change for change in result.tests] == [ResultChange.STILL_FAILS] * 2

    def test_a_known_failure_that_is_repaired_newly_passes(self, world: World) -> None:
        world.before = {"a": "xfailed"}
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert [change.change for change in result.tests] == [ResultChange.NEWLY_PASSES]

    def test_a_test_that_is_not_run_any_more_is_told(self, world: World) -> None:
        world.before = {"a": "passed", "b": "passed"}
        world.after = [{"a": "passed", "b": "skipped"}]
        changes = world.judge().tests
        assert [(change.test, change.change) for change in changes] == [("b", ResultChange.GONE)]

    def test_failures_that_pass_again_leave_no_test_out(self, world: World) -> None:
        names = [f"t{number}" for number in range(9)]
        world.before = dict.fromkeys(names, "passed")
        world.after = [{**dict.fromkeys(names, "timeout"), "t8": "crash"}]
        world.patched_again = [dict.fromkeys(names, "passed")] * 9
        world.canary = dict.fromkeys(names, "passed")
        result = world.judge()
        assert result.decision is Decision.REJECTED
        assert [change.test for change in result.tests if change.case.system_at_fault] == ["t8"]
        assert "the other tests are run" in " ".join(result.notes)

    def test_what_the_base_fails_too_ends_no_run(self, world: World) -> None:
        names = [f"t{number}" for number in range(6)]
        world.before = {**dict.fromkeys(names, "product"), "t9": "passed"}
        world.after = [{**dict.fromkeys(names, "product"), "t9": "crash"}]
        world.base_again = [world.before]
        world.canary = {"t9": "passed"}
        assert world.judge().decision is Decision.REJECTED
        assert not [step for step in world.done if "part" in step]

    def test_tests_that_are_never_had_are_nobody_s_fault(self, world: World) -> None:
        names = [f"t{number}" for number in range(30)]
        world.before = dict.fromkeys(names, "passed")
        world.after = [dict.fromkeys(names, "timeout")]
        world.patched_again = [dict.fromkeys(names, "passed")] * 30
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert "it failed once and passed 2 times" in result.reason
        assert sum(step == "suite patched-part-2" for step in world.done) == 1

    def test_a_failure_that_does_not_come_again_says_nothing(self, world: World) -> None:
        world.after, world.patched_again = [{"a": "timeout"}], [{"a": "passed"}] * 2
        result = world.judge()
        assert (result.decision, kinds(result)) == (
            Decision.INFRASTRUCTURE,
            [FindingKind.INFRASTRUCTURE],
        )
        assert "it failed once and passed 2 times" in result.findings[0].title

    def test_a_failure_that_comes_twice_of_three_times_counts(self, world: World) -> None:
        world.after = [{"a": "product"}]
        world.patched_again = [{"a": "passed"}, {"a": "product"}]
        assert kinds(world.judge()) == [FindingKind.TEST]

    def test_what_infrastructure_failed_is_judged_by_its_next_run(self, world: World) -> None:
        """QEMU killed once in the patched run, of a good patch and of a bad one."""
        world.after, world.patched_again = [{"a": "infrastructure"}], [{"a": "passed"}]
        assert world.judge().decision is Decision.ACCEPTED
        world.boots, world.base_boots = [BOOT], [BOOT]
        world.after, world.patched_again = [{"a": "infrastructure"}], [{"a": "product"}] * 2
        assert world.judge().decision is Decision.REJECTED

    def test_infrastructure_that_goes_on_is_infrastructure(self, world: World) -> None:
        world.after = [{"a": "infrastructure"}]
        assert world.judge().decision is Decision.INFRASTRUCTURE

    def test_the_first_failure_is_run_again_while_the_others_still_run(self, world: World) -> None:
        world.before = {"a": "passed", "b": "passed"}
        world.after = [{"a": "product", "b": "passed"}]
        world.waits = True
        assert kinds(world.judge()) == [FindingKind.TEST]
        assert [step for step in world.done if "again" in step] == ["suite patched-again-1"]

    def test_a_crash_counts_at_once(self, world: World) -> None:
        world.after, world.patched_again = [{"a": "crash"}], [{"a": "passed"}] * 3
        assert kinds(world.judge()) == [FindingKind.CRASH]
        assert not any("again" in step for step in world.done)

    def test_a_run_that_is_lost_is_run_once_more(self, world: World) -> None:
        world.after = [{"a": "lost"}, {"a": "passed"}]
        result = world.judge()
        assert result.decision is Decision.ACCEPTED
        assert any("the suite was run again" in note for note in result.notes)

    def test_a_run_that_is_lost_twice_is_infrastructure(self, world: World) -> None:
        world.after = [{"a": "lost"}] * 2
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert "pytest's exit status 3" in result.reason


class TestBase:
    """Trouble of the base is no known failure."""

    @pytest.mark.parametrize("trouble", ["infrastructure", "timeout", "product", "crash"])
    def test_a_failure_that_does_not_come_again_is_not_stored(
        self, world: World, trouble: str
    ) -> None:
        world.before, world.base_again = {"a": trouble, "b": "passed"}, [{"a": "passed"}] * 3
        world.after = [{"a": "product", "b": "passed"}]
        world.canary = {"a": "passed"}
        result = world.judge()
        assert (result.decision, kinds(result)) == (Decision.REJECTED, [FindingKind.TEST])

    @pytest.mark.parametrize("trouble", ["infrastructure", "lost"])
    def test_what_infrastructure_failed_is_never_stored(self, world: World, trouble: str) -> None:
        world.before = {"a": trouble, "b": "passed"}
        world.after = [{"a": "passed", "b": "passed"}] * 2
        world.judge()
        world.boots, world.base_boots = [BOOT], [BOOT]
        world.before = {"a": "passed", "b": "passed"}
        world.judge()
        assert world.done.count("suite base") > 1, "it was asked again"

    def test_a_failure_that_comes_again_is_a_known_one(self, world: World) -> None:
        world.before, world.after = (
            {"a": "product", "b": "passed"},
            [{"a": "product", "b": "passed"}] * 2,
        )
        assert world.judge().decision is Decision.ACCEPTED
        world.boots, world.base_boots = [BOOT], [BOOT]
        world.judge()
        assert world.done.count("suite base") == 1
        assert world.done.count("suite base-again-1") == 1

    def test_where_no_test_judged_it_nothing_is_known(self, world: World) -> None:
        """QEMU of the base was killed each time: zero tests judge nothing."""
        world.before = {"a": "infrastructure"}
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert "no test judged it" in result.reason
        assert result.tests_judged == 0

    @pytest.mark.parametrize("before", [{}, {"a": "skipped"}])
    def test_a_base_without_a_test_judges_nothing(
        self, world: World, before: Mapping[str, str]
    ) -> None:
        world.before, world.after = before, [before]
        assert world.judge().decision is Decision.INFRASTRUCTURE

    def test_a_failing_test_of_which_nothing_is_known_on_the_base_is_no_reason(
        self, world: World
    ) -> None:
        world.before = {"a": "infrastructure", "b": "passed"}
        world.after, world.canary = [{"a": "product", "b": "passed"}], {"a": "infrastructure"}
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert "nothing is known of it on the base" in result.reason

    def test_a_verdict_names_how_many_tests_judged_it(self, world: World) -> None:
        world.before = {"a": "passed", "b": "passed", "c": "skipped"}
        world.after = [{"b": "passed", "c": "skipped", "a": "product"}]
        result = world.judge()
        assert result.reason.endswith("(2 tests judged it)")
        assert as_json(result)["tests"]["judged"] == 2

    def test_a_test_that_left_no_result_is_infrastructure(self, world: World) -> None:
        world.before = {"a": "passed", "b": "passed"}
        result = world.judge()
        assert result.decision is Decision.INFRASTRUCTURE
        assert "1 tests left no result" in result.reason

    @pytest.mark.parametrize("damage", ["", "[{", "[1]", '[{"test": 1}]', "\udcff", "null", "{}"])
    def test_a_damaged_record_is_as_if_it_were_missing(self, world: World, damage: str) -> None:
        world.after = [{"a": "passed"}] * 2
        world.judge()
        (record,) = (world.tmp_path / "cache" / "baselines").glob("*.json")
        record.write_bytes(damage.encode(errors="surrogateescape"))
        world.boots, world.base_boots = [BOOT], [BOOT]
        assert world.judge().decision is Decision.ACCEPTED
        assert world.done.count("suite base") == 2
        assert json.loads(record.read_text())["cases"][0]["test"] == "a"


def test_a_host_without_a_sandbox_judges_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise NoSandbox("it does not start")

    monkeypatch.delenv(UNCONFINED, raising=False)
    monkeypatch.setattr("harness.builders.sandbox.check", fail)
    assert world.judge().decision is Decision.INFRASTRUCTURE
    assert world.done == []
    monkeypatch.setenv(UNCONFINED, "1")
    result = world.judge()
    assert result.decision is Decision.ACCEPTED
    assert any("--unconfined" in note for note in result.notes)


def test_a_lesser_confinement_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Confinement(Means.BARE, 1, filtered=True, asked=True, landlock=7)
    monkeypatch.setattr("harness.builders.sandbox.check", lambda: bare)
    assert any("no namespaces" in note for note in world.judge().notes)


def test_a_hundred_thousand_warnings_are_counted_and_not_all_told(world: World) -> None:
    world.warnings = tuple(f"mm/x.c:1:1: warning: w{'x' * n}" for n in range(0, 30_000, 100))
    result = world.judge()
    assert result.decision is Decision.REJECTED
    assert result.reason.startswith("new compiler warning: mm/x.c:1:1: warning: w, and 299 more")
    assert len(result.findings) == 101
    assert result.findings[-1].title == "and 200 more like these"


def test_what_an_endless_kernel_prints_is_compared_as_far_as_anybody_reads() -> None:
    endless = dataclasses.replace(BOOT, transcript=tuple(f"line {n} " * 200 for n in range(20_000)))
    found = difference(BOOT, endless)
    assert len(found) == 1000
    assert sum(map(len, found)) < 500_000
