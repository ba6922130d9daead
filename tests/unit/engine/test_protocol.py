# SPDX-License-Identifier: MIT
"""What both engines do alike: results once, what tasks leave, limits, and an end of all."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from harness.engine.task import HERE, PYTHON, Done, Engine, Task


def task(name: str, code: str, timeout: float = 60.0, **more: object) -> Task:
    return Task(name, (PYTHON, "-c", code, HERE), timeout, **more)  # type: ignore[arg-type]


def run(engine: Engine, place: Path, *tasks: Task) -> dict[str, Done]:
    for one in tasks:
        engine.submit(one, place / one.name)
    found = list(engine.results())
    assert len(found) == len(tasks)
    return {done.task.name: done for done in found}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(*pids: int) -> bool:
    end = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


WRITES = """
import pathlib, sys
here = pathlib.Path(sys.argv[1])
(here / "sub").mkdir()
(here / "sub" / "result.json").write_text(f'{{"log": "{here}/log.txt"}}')
(here / "images").mkdir()
(here / "images" / "large").write_text("x")
(here / "link").symlink_to("/etc/passwd")
print((here / "given").read_text())
sys.exit(7)
"""


def test_each_result_comes_once_with_status_output_and_files(
    engine: Engine, tmp_path: Path
) -> None:
    writes = task("writes", WRITES, files={"given": b"some words"}, dropped=("images",))
    found = run(engine, tmp_path, writes, *(task(f"t{n}", f"exit({n})") for n in range(5)))
    assert {name: done.status for name, done in found.items()} == {
        "writes": 7,
        **{f"t{n}": n for n in range(5)},
    }
    done = found["writes"]
    assert done.directory == tmp_path / "writes"
    assert done.said == "exit status 7\nsome words"
    said = (done.directory / "sub" / "result.json").read_text()
    assert said == f'{{"log": "{done.directory}/log.txt"}}'
    assert not done.late
    assert not done.trouble


def test_a_task_whose_time_is_over_is_ended_with_all_that_it_started(
    engine: Engine, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    code = f"""
import os, pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("{pids}.new").write_text(f"{{os.getpid()}} {{child.pid}}")
os.rename("{pids}.new", "{pids}")
time.sleep(600)
"""
    (done,) = run(engine, tmp_path, task("late", code, timeout=1.5)).values()
    assert done.late
    assert done.status < 0
    assert gone(*map(int, pids.read_text().split()))


def test_what_is_submitted_first_or_meanwhile_is_run(engine: Engine, tmp_path: Path) -> None:
    for name in ("a", "b"):
        engine.submit(task(name, "pass"), tmp_path / name)
    names = []
    for done in engine.results():
        names.append(done.task.name)
        if done.task.name == "a":
            engine.submit(task("c", "pass"), tmp_path / "c", first=True)
    assert sorted(names) == ["a", "b", "c"]


def test_at_the_end_nothing_runs_on(engine: Engine, tmp_path: Path) -> None:
    pids = [tmp_path / f"pid-{number}" for number in (1, 2)]
    for path in pids:
        code = f"""
import os, pathlib, subprocess
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("{path}.new").write_text(f"{{os.getpid()}} {{child.pid}}")
os.rename("{path}.new", "{path}")
child.wait()
"""
        engine.submit(task(path.name, code), tmp_path / "out" / path.name)

    class Enough(Exception):
        pass

    def look() -> None:
        if all(path.exists() for path in pids):
            raise Enough

    with contextlib.suppress(Enough):
        list(engine.results(look))
    assert sorted(engine.state().running) == ["pid-1", "pid-2"]
    engine.cancel()
    assert gone(*(int(word) for path in pids for word in path.read_text().split()))
    assert list(engine.results()) == []


def test_nothing_runs_beside_what_must_be_alone(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"""
import os, time
def note(what):
    with open("{log}", "a") as file:
        file.write(what + "\\n")
note("begin NAME")
time.sleep(0.05)
note("end NAME")
"""
    names = ["a", "m", "b", "n", "c"]
    tasks = [task(name, code.replace("NAME", name), alone=name in "mn") for name in names]
    run(engine, tmp_path / "out", *tasks)
    lines = log.read_text().split("\n")
    for name in "mn":
        at = lines.index(f"begin {name}")
        assert lines[at + 1] == f"end {name}"
