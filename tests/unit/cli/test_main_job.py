# SPDX-License-Identifier: MIT
"""How the main job ends: which line is the last, and on which stream."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import main_job
from harness.machine.deadline import Deadline
from harness.machine.errors import CommandFailed, GuestTimeout


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Any:
    def broken(*args: object, **options: object) -> None:
        raise CommandFailed("not in the area")

    monkeypatch.setattr(main_job, "Machine", broken)
    return SimpleNamespace(area="BiscuitOS_cma", config=None, images=SimpleNamespace(release="6.1"))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failing_run_ends_in_fail(
    as_json: bool, system: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_job.run(system, main_job.Output(tmp_path / "out", as_json)) == 1
    said = capsys.readouterr()
    last = (said.err if as_json else said.out).splitlines()[-1]
    assert last.startswith("FAIL BiscuitOS_cma ? holds ? ")
    if as_json:
        assert json.loads(said.out)["message"] == "not in the area"


def test_what_is_tried_again_is_not_told_as_a_failure(
    system: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandFailed):
        main_job.run(system, main_job.Output(tmp_path / "out", True), lambda: True)
    assert capsys.readouterr() == ("", "")


def test_a_deadline_for_all_of_it_is_named(
    system: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(*args: object, **options: object) -> None:
        while not Deadline(3600).expired:
            pass
        raise GuestTimeout("no answer")

    monkeypatch.setattr(main_job, "Machine", late)
    assert main_job.run(system, main_job.Output(tmp_path / "out", timeout=0.01)) == 1
    assert "all had to be done in 0.01 s (--timeout)" in capsys.readouterr().err
