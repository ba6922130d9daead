# SPDX-License-Identifier: MIT
"""The commands that run on an engine, each on both: their results are the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import explore, explore_jobs
from harness.cli.options import words_of
from harness.engine.choose import ClusterChoice
from harness.engine.member import Member
from harness.engine.task import Engine
from harness.gate import queue
from harness.gate.bisect import BisectSettings, Mark
from harness.gate.commitjob import CommitJobs
from harness.gate.queue import QueueSettings
from harness.gate.result import Decision
from harness.mutants import parts
from harness.mutants.generated_parts import PartSettings, run_generated
from harness.mutants.patchfile import Mutant
from harness.mutants.report import as_json
from harness.mutants.runner import MutantStatus
from harness.mutants.score import Fate, Score
from harness.nightly.commands import NightCommands
from harness.nightly.job import JobStatus
from harness.nightly.night import NightRunner
from tests.unit.engine.stub import Stubbed
from tests.unit.nightly.fake import Kept, Silent, job

GATE = """
import json, pathlib, sys
words = sys.argv[1:]
to = pathlib.Path(words[words.index("--output") + 1])
if "--warm" in words:
    (to / "baselines").mkdir()
    (to / "baselines" / "known.json").write_text("7")
    sys.exit("--boot-limit" not in words)
if "--baselines" in words:
    given = pathlib.Path(words[words.index("--baselines") + 1])
    (to / "known").write_bytes((given / "known.json").read_bytes())
patch = next(pathlib.Path(word) for word in words if word.endswith(".patch"))
text = patch.read_text().strip()
if text == "dies":
    sys.exit(3)
if text == "unsteady" and "SECOND" not in str(to):
    (to / "result.json").write_text(json.dumps({"decision": "infrastructure", "reason": "disk"}))
    sys.exit(3)
(to / "result.json").write_text(json.dumps({"decision": text, "reason": f"{text}: {to}/build.log"}))
(to / "images").mkdir()
(to / "images" / "zImage").write_text("large")
sys.exit(["accepted", "rejected", "not judged", "infrastructure"].index(text))
"""


def test_a_queue_of_patches(engine: Engine, tmp_path: Path) -> None:
    given = tmp_path / "queue"
    given.mkdir()
    texts = ["accepted", "rejected", "not judged", "dies", "accepted"]
    for number, text in enumerate(texts):
        (given / f"{number} a.patch").write_text(text)
    (given / ".hidden").write_text("accepted")
    watch = Silent()
    stub = Stubbed(engine, GATE)
    place = tmp_path / "out"
    settings = QueueSettings("6.12", ("--boot-limit", "2.0"), workers=1)
    files = queue.files_of(given)
    judged = sorted(
        queue.judge_all(stub, files, "6.12", settings, place, watch), key=lambda one: one.name
    )
    assert [one.decision for one in judged] == [
        Decision.ACCEPTED,
        Decision.REJECTED,
        Decision.NOT_JUDGED,
        Decision.INFRASTRUCTURE,
        Decision.ACCEPTED,
    ]
    assert judged[1].reason == f"rejected: {place / '1_a.patch'}/build.log"
    assert queue.exit_status(judged) == 1
    assert queue.summary(judged).startswith("5 patches: 2 accepted, 1 rejected")
    assert len(stub.tasks) == 7, "infrastructure once more"
    assert [task.name for task in stub.tasks if "--warm" in task.argv] == [queue.BASE]
    for task in stub.tasks:
        assert "--kernel 6.12" in " ".join(task.argv)
        assert "--boot-limit" in task.argv
    assert {(one.directory / "known").read_text() for one in judged} == {"7"}
    names = [row["name"] for row in json.loads(queue.as_json(judged))["patches"]]
    assert names == [f"{number} a.patch" for number in range(5)]


def test_what_cannot_be_read_is_its_own_patch_s_trouble(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "good.patch").write_text("accepted")
    (tmp_path / "memory.patch").symlink_to("/proc/self/mem")
    (tmp_path / "dangling.patch").symlink_to("nowhere")
    settings = QueueSettings("6.12", whole=True)
    files = queue.files_of(tmp_path)
    given = Stubbed(engine, GATE), files, "6.12", settings, tmp_path / "out", Silent()
    judged = {one.name: one for one in queue.judge_all(*given)}
    assert judged["good.patch"].decision is Decision.ACCEPTED
    for name in ("memory.patch", "dangling.patch"):
        assert judged[name].decision is Decision.NOT_JUDGED
        assert "cannot read" in judged[name].reason
    assert queue.exit_status(list(judged.values())) == 2


@pytest.mark.parametrize(
    "settings",
    [
        QueueSettings("6.12", whole=True),
        QueueSettings("6.12", select=Path(__file__)),
        QueueSettings("6.12"),
    ],
    ids=["whole", "select", "base-fails"],
)
def test_a_queue_goes_on_without_what_is_known_of_the_base(
    engine: Engine, tmp_path: Path, settings: QueueSettings
) -> None:
    (tmp_path / "a.patch").write_text("accepted")
    stub = Stubbed(engine, GATE)
    files = queue.files_of(tmp_path)
    (one,) = queue.judge_all(stub, files, "6.12", settings, tmp_path / "out", Silent())
    assert one.decision is Decision.ACCEPTED
    assert not (one.directory / "known").exists()
    asked = settings.select is None and not settings.whole
    assert ["--warm" in task.argv for task in stub.tasks] == ([True, False] if asked else [False])


MUTANTS = """
import json, pathlib, sys
words = sys.argv[1:]
to = pathlib.Path(words[words.index("--output") + 1])
names = [words[at + 1] for at, word in enumerate(words) if word == "--only"]
rows = []
for name in names:
    if "dies" in name:
        continue
    status = "infrastructure" if "host" in name and len(names) > 1 else "caught"
    rows.append({"name": name, "subject": "s", "kind": "mutant", "status": status, "test": "t",
                 "verdict": "product", "message": "", "build_seconds": 1.5, "test_seconds": 2.0})
(to / "mutants.json").write_text(json.dumps({"mutants": rows}))
sys.exit(0)
"""


def mutant(name: str, harmless: bool = False, kernels: tuple[str, ...] = ()) -> Mutant:
    files = ("images/app/a.c",) if "app" in name else ("mm/cma.c",)
    return Mutant(Path(f"{name}.patch"), "s", harmless, "" if harmless else "x", kernels, files)


def test_mutants_in_parts(engine: Engine, tmp_path: Path) -> None:
    names = ["a", "b", "app-c", "host", "e", "dies", "g"]
    mutants = [mutant(name) for name in names]
    mutants += [mutant("h", harmless=True), mutant("i", harmless=True), mutant("j", kernels=("9",))]
    stub = Stubbed(engine, MUTANTS)
    results = list(parts.run_parts(stub, mutants, "6.1", tmp_path / "out", Silent()))
    found = {result.mutant.name: result for result in results}
    assert len(results) == len(mutants)
    assert {name for name, r in found.items() if r.status is MutantStatus.CAUGHT} == {
        *{"a", "b", "app-c", "host", "e", "g", "h", "i"}
    }
    assert found["dies"].status is MutantStatus.INFRASTRUCTURE
    assert found["j"].status is MutantStatus.OTHER_KERNEL
    assert (found["a"].build_seconds, found["a"].test) == (1.5, "t")
    assert as_json(results)["summary"].startswith("6 of 7 mutants caught")


def test_parts_keep_harmless_changes_together_and_lose_none() -> None:
    mutants = [mutant(f"m{number}") for number in range(9)] + [mutant("h", True), mutant("k", True)]
    made = parts.parts(mutants, 4)
    assert sorted(map(len, made)) == [1, 2, 4, 4]
    assert {m.name for part in made for m in part} == {m.name for m in mutants}
    assert {m.name for m in made[0]} == {"h", "k"}


GENERATED = """
import json, pathlib, sys
words = sys.argv[1:]
to = pathlib.Path(words[words.index("--output") + 1])
assert (to / "coverage.json").read_text() == "known"
assert words[words.index("--coverage") + 1] == str(to / "coverage.json")
names = [words[at + 1] for at, word in enumerate(words) if word == "--only"]
rows = []
for name in names:
    fate = "unknown" if "host" in name and len(names) > 1 else "killed"
    if "dies" not in name:
        rows.append({"name": name, "file": "mm/cma.c", "function": "f", "operator": "o",
                     "fate": fate, "test": "t", "seconds": 2.0})
(to / "generated.json").write_text(json.dumps({"mutants": rows}))
"""


def test_generated_mutants_in_parts(engine: Engine, tmp_path: Path) -> None:
    names = ["a", "b [1]", "`c * d`", "host", "dies", "f"]
    scores = [Score(name, "mm/cma.c", "f", "o", Fate.UNKNOWN) for name in names]
    stub = Stubbed(engine, GENERATED)
    settings = PartSettings("6.1", ("mm/cma.c:f",), b"known", 2)
    results = list(run_generated(stub, scores, settings, tmp_path / "out", Silent()))
    assert sorted(result.name for result in results) == sorted(names)
    assert {result.name for result in results if result.fate is Fate.KILLED} == {*names} - {"dies"}
    assert {result.test for result in results} == {"t", ""}
    assert len(stub.tasks) == 4, "what is unknown once more"
    words = stub.tasks[0].argv
    assert words[words.index("--generate") + 1] == "mm/cma.c:f"
    assert words[-2:] == ("--jobs", "2")


PYTEST = """
import pathlib, sys
words = sys.argv[1:]
(junit,) = [word.partition("=")[2] for word in words if word.startswith("--junitxml=")]
case = '<testcase classname="tests.x" name="test_{}" time="1.5">{}</testcase>'
inner = case.format(1, "") + case.format(2, '<failure message="red"/>' if "512" in words else "")
pathlib.Path(junit).write_text(f"<testsuites><testsuite>{inner}</testsuite></testsuites>")
sys.exit("512" in words)
"""


def test_a_night(engine: Engine, tmp_path: Path) -> None:
    jobs = [job("6.1/512M/cma"), job("6.1/layouts", kernel="6.12")]
    kept, watch = Kept(), Silent()
    stub = Stubbed(engine, PYTEST)
    NightRunner(stub, NightCommands("n"), kept, tmp_path, watch).run(jobs, {"6.12": "no space"})
    assert sorted(kept.attempts, key=str) == [
        ("6.1/512M/cma", 1, JobStatus.FAILED, True),
        ("6.1/layouts", 2, JobStatus.INFRASTRUCTURE, True),
    ]
    assert watch.counted == [True, True]
    assert (tmp_path / "6.1/512M/cma/attempt-1/junit.xml").is_file()


EXPLORE = """
import json, pathlib, sys
words = sys.argv[1:]
to = pathlib.Path(words[words.index("--output") + 1])
seed = int(words[words.index("--seed") + 1])
known = (to / "examples" / "before").read_text()
if "--json" in words:
    print(json.dumps({"seed": seed, "found": str(to)}) if seed == 1007 else "no room")
else:
    print(f"seed {seed} {known}")
(to / "examples" / f"new-{seed}").write_text("new")
if seed == 1007:
    (to / "found.json").write_text("{}")
sys.exit(seed == 1007)
"""


@pytest.fixture
def explored(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubbed:
    """An engine for explorations, and something that was found before."""
    stub = Stubbed(engine, EXPLORE)
    monkeypatch.setattr(explore_jobs, "open_engine", lambda choice, jobs: stub)
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "before").write_text("known before")
    return stub


def test_an_exploration(
    explored: Stubbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = {"processors": 2, "kernel": "6.12", "unpatched": False, "memory": None, "area": "A"}
    status = explore_jobs.explore_jobs(2, 0.5, 7, tmp_path, system, ClusterChoice())
    assert status == 1
    said = capsys.readouterr().out
    assert "seed 7 known before" in said
    assert f"--replay {tmp_path / 'found.json'}" in said
    assert {path.name for path in (tmp_path / "examples").iterdir()} == {
        "before",
        "new-7",
        "new-1007",
    }
    words = " ".join(explored.tasks[0].argv)
    assert words.endswith("--kernel 6.12 --area A")
    assert "--processors 2" in words


@pytest.mark.usefixtures("explored")
def test_an_exploration_s_figures_are_one_json_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = 2, 0.5, 7, tmp_path, {"area": "A"}, ClusterChoice(), True
    assert explore_jobs.explore_jobs(*given) == 1
    said = sorted(json.loads(capsys.readouterr().out), key=lambda one: one["seed"])
    assert said == [
        {"seed": 7, "status": 0, "error": "no room"},
        {"seed": 1007, "status": 1, "found": str(tmp_path / "found.json")},
    ]


def test_a_worker_that_is_ended_while_it_connects_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engine import serve, worker

    class Connecting:
        def __init__(self, _address: str, plugins: Any) -> None:
            self.plugin = plugins[0]

        async def __aenter__(self) -> None:
            self.plugin.place, self.plugin._lock = worker.make_place(tmp_path)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

        async def __aexit__(self, *_error: object) -> None:
            raise AssertionError

    monkeypatch.setattr(serve, "Worker", Connecting)
    ended = serve._until_signal(lambda: serve._worker("tcp://127.0.0.1:9", {}, lambda text: None))
    assert asyncio.run(ended) == 143
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_s_troubles_leave_standard_output_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from harness.engine.dask import DaskEngine

    members = [Member("a", "one", 1, 1, "other code"), Member("b", "two", 1, 1)]
    connection: Any = SimpleNamespace(lost=False, members=lambda: members, close=lambda: None)
    with DaskEngine(connection):
        pass
    said = capsys.readouterr()
    assert said.out == ""
    assert "worker one " in said.err


@pytest.mark.parametrize("more", [[], ["--config", "a", "--config", "b", "--memory", "256"]])
def test_an_exploration_s_processes_get_the_options_that_were_given(
    more: list[str], tmp_path: Path
) -> None:
    for name in more[1:4:2]:
        (tmp_path / name).touch()
    words = [str(tmp_path / word) if word in ("a", "b") else word for word in more]
    seen = explore.command.make_context("explore", words).params
    own = ("minutes", "seed", "replay", "processors", "jobs", "cluster", "output", "as_json")
    system = {name: value for name, value in seen.items() if name not in own}
    again = explore.command.make_context("explore", words_of(system)).params
    assert again == seen


COMMIT = """
import json, pathlib, sys
words = sys.argv[1:]
to, commit = (words[words.index(name) + 1] for name in ("--to", "--commit"))
targets = json.loads((pathlib.Path(to) / "targets.json").read_text())
if commit.startswith("f"):
    sys.exit(3)
mark = "bad" if commit.startswith("b") else "good"
content = {"commit": commit, "mark": mark, "why": f"asked {targets}", "tests": ["t"]}
(pathlib.Path(to) / "tested.json").write_text(json.dumps(content))
"""


def test_commits_of_a_bisection(engine: Engine, tmp_path: Path) -> None:
    from harness.errors import HarnessError

    stub = Stubbed(engine, COMMIT)
    settings = BisectSettings(tmp_path / "tree", tmp_path / "out", workers=1)
    jobs = CommitJobs(stub, settings, "a" * 40, Silent())
    tested = jobs.test(["b" * 40, "a" * 40, "b" * 40], ["t"])
    assert [one.mark for one in tested] == [Mark.BAD, Mark.GOOD, Mark.BAD]
    assert tested[0].why == "asked ['t']"
    assert [one.commit[0] for one in tested] == ["b", "a", "b"]
    assert {task.kernels for task in stub.tasks} == {(f"{tmp_path / 'tree'}@{'a' * 40}",)}
    with pytest.raises(HarnessError, match="nothing is known of ffff"):
        jobs.test(["f" * 40], [])
