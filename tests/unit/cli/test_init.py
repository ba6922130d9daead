# SPDX-License-Identifier: MIT
"""``harness init``: a repository's first files, each of which is right as it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import app, settings
from harness.cli.starter import FILES


def test_each_file_is_written_and_said_and_none_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("mine\n")
    assert app.main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for file in FILES:
        assert (tmp_path / file.path).is_file()
        assert file.path in said
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "mine\n"
    assert said.count("is there already") == 1
    assert app.main(["init", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("is there already") == len(FILES)


def test_they_are_what_they_say(tmp_path: Path) -> None:
    assert app.main(["init", str(tmp_path)]) == 0
    found = settings.read(tmp_path / "harness.toml")
    assert (found.kernel, found.area) == ("6.1", "BiscuitOS_cma")
    ast.parse((tmp_path / "tests" / "test_first.py").read_text())
    subprocess.run(["sh", "-n", tmp_path / "ci" / "run"], check=True)
    workflows = [tmp_path / ".github" / "workflows" / "cma.yml", tmp_path / ".gitlab-ci.yml"]
    rules = "{extends: relaxed, rules: {line-length: disable}}"
    subprocess.run([sys.executable, "-m", "yamllint", "-s", "-d", rules, *workflows], check=True)
    for path in workflows:
        assert "@" not in path.read_text().replace("actions/checkout@v4", "").replace(
            "actions/cache@v4", ""
        ).replace("actions/upload-artifact@v4", "")
        assert "qemu-system-arm" in path.read_text()


def test_a_directory_that_is_none_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["init", str(tmp_path / "nothing")]) == 2
    assert "is no directory" in capsys.readouterr().err
