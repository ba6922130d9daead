# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from harness.gate.report import REPORTS, junit, write_all
from harness.host.output import MARKER
from tests.unit.gate.report import samples

FILES = sorted([MARKER, *REPORTS])


@pytest.mark.parametrize("make", samples.ALL)
def test_all_reports_are_written_and_nothing_else(make: samples.Make, tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    write_all(make(), directory)
    assert sorted(path.name for path in directory.iterdir()) == FILES
    assert (directory / "junit.xml").read_text(encoding="utf-8") == junit.render(make())


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    write_all(samples.rejected(), tmp_path)
    write_all(samples.accepted(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert (tmp_path / "verdict.txt").read_text(encoding="utf-8").startswith("ACCEPTED ")


def test_where_one_cannot_be_written_none_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(samples.accepted(), tmp_path)
    write_text = Path.write_text

    def full(path: Path, *args: str, **options: str) -> int:
        if "summary.md" in path.name:
            raise OSError(28, "No space left on device")
        return write_text(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_all(samples.rejected(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert (tmp_path / "verdict.txt").read_text(encoding="utf-8").startswith("ACCEPTED ")
