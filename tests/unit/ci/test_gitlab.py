# SPDX-License-Identifier: MIT
"""``.gitlab-ci.yml`` is run by an emulator of GitLab's runner, with programs that take no time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host.project import ROOT
from harness.nightly.database import Database
from harness.nightly.history import NightRun, load

RUNNER = ROOT / ".ci" / "node" / "node_modules" / ".bin" / "gitlab-ci-local"
IMAGE = "  image: debian:12\n"
SECONDS = 300.0

pytestmark = [
    pytest.mark.slow("pipelines of several jobs, each with shells and Python of its own"),
    pytest.mark.skipif(
        not RUNNER.exists() or not all(map(shutil.which, ("node", "rsync"))),
        reason="gitlab-ci-local or rsync is not installed; .ci/run brings the first where npm is",
    ),
]

NIGHTLY = f'#!/bin/sh\nexec {sys.executable} -m tests.unit.ci.pipeline "$@"\n'
GATE = """#!/bin/sh
mkdir -p "$3"
echo '<testsuites/>' >"$3/junit.xml"
grep -q good "$1"
"""
NOTHING = "#!/bin/sh\n"


class Project:
    """A repository with the CI's file, and programs in the place of the project's."""

    def __init__(self, place: Path) -> None:
        self.place = place / "project"
        self.home = place / "home"
        shutil.copytree(ROOT / "scripts", self.place / "scripts")
        # Without an image a job runs in a shell of this machine.
        text = (ROOT / ".gitlab-ci.yml").read_text()
        assert IMAGE in text
        (self.place / ".gitlab-ci.yml").write_text(text.replace(IMAGE, ""))
        programs = {
            "scripts/nightly": NIGHTLY,
            "scripts/gate": GATE,
            "scripts/harness": NOTHING,
            ".ci/run": NOTHING,
            "bin/apt-get": NOTHING,
        }
        for name, text in programs.items():
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        (self.place / ".gitignore").write_text("/.gitlab-ci-local\n/artifacts\n/.cache\n")
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", "https://gitlab.example.org/group/project.git")
        self.git("update-ref", "refs/remotes/origin/main", self.commit("first"))

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *who, *words], cwd=self.place, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def run(self, source: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = {"CI_PIPELINE_SOURCE": source, **variables}
        words = [f"--variable={name}={value}" for name, value in given.items()]
        return subprocess.run(
            [
                # All jobs share the directory: what one night leaves is there in the next.
                *(str(RUNNER), "--no-color", "--home", str(self.home), *words),
            ],
            cwd=self.place,
            env={
                **os.environ,
                "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def nights(self) -> list[NightRun]:
        """What the report's artifacts have."""
        path = self.place / "artifacts" / "nightly" / "nightly.sqlite"
        assert (path.parent / "report.html").is_file()
        with Database(path) as database:
            return load(database, 10)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_what_fails_in_one_night_fails_it_and_not_the_next(project: Project) -> None:
    first = project.run("schedule")
    assert first.returncode == 0, first.stdout + first.stderr
    (night,) = project.nights()
    assert (night.shards, night.missing, len(night.jobs)) == (4, 0, 4)

    # A shard that leaves nothing, and one with a red test.
    second = project.run("schedule", LOST="2", RED="3")
    assert second.returncode != 0
    before, night = project.nights()
    assert (before.missing, night.missing, len(night.jobs)) == (0, 1, 3)
    found = sorted(job.status.value for job in night.jobs.values())
    assert found == ["failed", "passed", "passed"]

    third = project.run("schedule")
    assert third.returncode == 0, third.stdout + third.stderr
    assert [night.missing for night in project.nights()] == [0, 1, 0]


def test_each_patch_of_a_merge_request_is_judged(project: Project) -> None:
    base = project.git("rev-parse", "HEAD")
    patches = project.place / "patches"
    patches.mkdir()
    (patches / "a b.patch").write_text("good\n")
    project.commit("one patch")
    request = {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base}
    done = project.run("merge_request_event", **request)
    assert done.returncode == 0, done.stdout + done.stderr
    (patches / "c.mbox").write_text("bad\n")
    project.commit("another")
    done = project.run("merge_request_event", **request)
    assert done.returncode != 0
    judged = project.place.glob("artifacts/gate/*/junit.xml")
    assert sorted(path.parent.name for path in judged) == ["1", "2"]
