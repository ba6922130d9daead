# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.bench import plot, saved
from harness.errors import HarnessError, UserError

SOURCE = 'int cma_alloc(void)\n{\n\tpr_debug("%s(cma)\\n", __func__);\n\treturn 0;\n}\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "mm").mkdir()
    (tmp_path / saved.FILE).write_text(SOURCE)
    return tmp_path


def test_each_save_is_another_line_of_code(tree: Path) -> None:
    editor = saved.Editor(tree)
    texts = []
    for _ in range(3):
        editor.save()
        texts.append((tree / saved.FILE).read_text())
    assert len(set(texts)) == 3
    for text in texts:
        new = [line for line in text.splitlines() if line not in SOURCE.splitlines()]
        assert len(new) == 1
        assert "nop" in new[0]
        assert text.replace(f"{new[0]}\n", "") == SOURCE, "it is all that differs"


def test_another_verdict_than_the_one_that_is_due_is_an_error() -> None:
    lines = ["run 1: building\n", "run 1: FAIL in 9.1 s (mm/cma.c)\n", "run 2: PASS in 1.0 s (x)\n"]
    with pytest.raises(HarnessError, match="FAIL in"):
        saved._await(iter(lines), "PASS")
    left = iter(lines[:1] + lines[2:])
    saved._await(left, "PASS")
    with pytest.raises(HarnessError, match="building"):
        saved._await(iter(lines[:1]), "PASS")


def test_a_directory_without_a_kernel_s_tree_is_the_user_s_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "cache_root", lambda: tmp_path)
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    for place in (tmp_path / "nothing", other):
        with pytest.raises(UserError, match="no git tree of Linux"), saved.clone(place):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"], "nothing is left"


def test_a_figure_has_its_unit() -> None:
    rows = [("coverage", 0.083), ("record", 12_340.0), ("memory", 2**21), ("clone", 0.08)]
    told = [plot.shown(*row) for row in (*rows, ("watch", 9.4))]
    assert told == ["+8.3%", "12.3 kB", "2 MiB", "80.0 ms", "9.40 s"]
