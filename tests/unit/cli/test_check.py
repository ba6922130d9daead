# SPDX-License-Identifier: MIT
"""What a developer runs before a commit, and what CI says of coverage."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from harness.host.project import ROOT


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_check_that_there_is_not_is_bad_input() -> None:
    done = run(ROOT / "scripts" / "check", "--only", "lnit")
    assert done.returncode == 2
    assert done.stderr == "error: --only lnit: there are lint format types imports tests\n"


def test_the_last_line_is_the_verdict_with_what_failed(tmp_path: Path) -> None:
    text = (ROOT / "scripts" / "check").read_text()
    # What each check runs is replaced: two of them fail.
    text = re.sub(r"^(lint|format|imports)\(\) {.*", r"\1() { echo fine; }", text, flags=re.M)
    text = re.sub(
        r"^types\(\) {.*", "types() { false; echo no type >&2; false; }", text, flags=re.M
    )
    text = re.sub(r"(?ms)^tests\(\) {\n.*?\n}", "tests() { return 4; }", text)
    nothing = "set_up() { :; }\nkeep_bytecode() { :; }\n"
    (tmp_path / "lib.sh").write_text(f"root={tmp_path} test_list=x\n{nothing}")
    (tmp_path / "check").write_text(text)
    done = run("bash", tmp_path / "check")
    lines = re.sub(r"[\d.]+ s( \(.*\))?", "TIME", done.stdout).splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert lines == [
        "tests: FAILED, TIME",
        "lint: ok, TIME",
        "format: ok, TIME",
        "no type",
        "types: FAILED, TIME",
        "imports: ok, TIME",
        "check: FAILED in TIME: tests types",
    ]


def test_every_hook_runs_a_check_that_there_is() -> None:
    script = (ROOT / "scripts" / "check").read_text()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    names = [line.split("--only ")[1] for line in hooks.splitlines() if "--only" in line]
    assert len(names) == 5
    assert [name for name in names if f"\n{name}() " not in script] == []


def test_coverage_names_the_files_below_the_limit_the_lowest_first(tmp_path: Path) -> None:
    figures = {"a.py": 79.6, "b.py": 80.0, "c.py": 12.3, "empty.py": 0.0}
    files = {
        name: {"summary": {"percent_covered": percent, "num_statements": int(percent > 0)}}
        for name, percent in figures.items()
    }
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files, "totals": {"percent_covered": 88.76}}))
    done = run(sys.executable, ROOT / ".ci" / "coverage", report)
    assert done.stdout.splitlines() == [
        "coverage: 88.8 % of harness/",
        "  below 80 %: c.py 12.3 %",
        "  below 80 %: a.py 79.6 %",
    ]
