# SPDX-License-Identifier: MIT
"""What is known of a base goes from one machine's cache to another's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.coverage.functions import FunctionMap
from harness.coverage.record import CoverageRecord
from harness.gate import baseline
from harness.gate.baseline import Baselines
from harness.gate.selection import Evidence

IMAGES: Any = SimpleNamespace(digest=lambda: "base")
OTHER: Any = SimpleNamespace(digest=lambda: "other")
TEST = "tests/cma/test_app.py::test_it"


def said(_text: str) -> None:
    """Nothing is to be said."""


def known(place: Path) -> Baselines:
    """Baselines that know one system."""
    place.mkdir()
    found = Baselines(place, said)
    lines = CoverageRecord({}, (), {}, {TEST: {"mm/cma.c": frozenset({1})}}, "6.1")
    evidence = Evidence(lines, FunctionMap(frozenset(), {TEST: frozenset({"f"})}), frozenset())
    baseline._keep_evidence(evidence, found._path(IMAGES, baseline.tests_digest()))
    case = {"test": TEST, "outcome": "passed", "seconds": 2.5}
    results = {"whole": True, "cases": [case]}
    found._path(IMAGES, baseline.suite_digest()).write_text(json.dumps(results))
    return found


def test_what_is_copied_is_known_where_it_is_given(tmp_path: Path) -> None:
    known(tmp_path / "one").copy(IMAGES, tmp_path / "carried")
    assert Baselines(tmp_path / "two", said).stored(IMAGES) is None
    two = Baselines(tmp_path / "two", said, tmp_path / "carried")
    evidence = two.stored(IMAGES)
    assert evidence is not None
    assert evidence.functions.tests[TEST] == {"f"}
    assert two.seconds(IMAGES) == {TEST: 2.5}
    assert Baselines(tmp_path / "two", said).stored(IMAGES) is not None, "it is kept"
    assert two.stored(OTHER) is None


def test_only_what_is_of_the_base_is_copied(tmp_path: Path) -> None:
    one = known(tmp_path / "one")
    one._path(OTHER, baseline.suite_digest()).write_text("{}")
    one.copy(IMAGES, tmp_path / "carried")
    assert len(list((tmp_path / "carried").iterdir())) == 4
    one.copy(OTHER, tmp_path / "others")
    assert len(list((tmp_path / "others").iterdir())) == 1


def test_what_is_known_already_is_not_written_over(tmp_path: Path) -> None:
    known(tmp_path / "one").copy(IMAGES, tmp_path / "carried")
    two = tmp_path / "two"
    two.mkdir()
    (name,) = (path.name for path in (tmp_path / "carried").glob("*.lines"))
    (two / name).write_text("mine")
    Baselines(two, said, tmp_path / "carried")
    assert (two / name).read_text() == "mine"


def test_a_directory_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert Baselines(tmp_path, said, tmp_path / "missing").stored(IMAGES) is None


def test_evidence_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert baseline._read_evidence(path) is None
    for number, name in enumerate(("a", "b")):
        lines = CoverageRecord({}, (), {}, {})
        functions = FunctionMap(frozenset(), {name: frozenset({"cma_alloc"})})
        baseline._keep_evidence(Evidence(lines, functions), path)
        for file in tmp_path.iterdir():
            os.utime(file, (number, number))
        found = baseline._read_evidence(path)
        assert found is not None
        assert found.every == {name}
        assert baseline._read_evidence(path) is found, "parsed once"
    path.with_suffix(".lines").unlink()
    assert baseline._read_evidence(path) is None
