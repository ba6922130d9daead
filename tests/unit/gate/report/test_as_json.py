# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness.gate.report import as_json
from harness.gate.report.as_json import render
from harness.gate.result import ResultChange
from tests.unit.gate.report import samples


@pytest.mark.parametrize("make", samples.ALL)
def test_it_is_plain_data(make: samples.Make) -> None:
    plain = as_json.as_json(make())
    text = render(make())
    assert json.loads(text) == plain
    text.encode()
    assert "\\ud" not in text


@pytest.mark.parametrize("make", samples.ALL)
def test_every_result_has_every_key(make: samples.Make) -> None:
    keys = list(as_json.as_json(make()))
    assert keys == list(as_json.as_json(samples.accepted()))
    assert as_json.__doc__ is not None
    assert [key for key in keys if f"``{key}``" not in as_json.__doc__] == []


def test_its_values() -> None:
    plain = as_json.as_json(samples.rejected())
    assert plain["schema"] == 1
    assert (plain["decision"], plain["exit_status"]) == ("rejected", 1)
    assert plain["patches"][0]["files"] == ["linux/mm/cma.c", "linux/include/linux/cma.h"]
    finding = plain["findings"][1]
    assert finding["kind"] == "test newly fails"
    assert finding["verdict"] == "product"
    assert finding["artifact"] == "artifacts/gate/suite/transcript.txt"
    assert finding["detail"] == samples.EXPLANATION
    assert (plain["tests"]["run"], plain["tests"]["passed"], plain["tests"]["of"]) == (
        120,
        117,
        402,
    )
    assert plain["tests"]["changes"][1]["change"] == "newly passes"
    assert plain["measures"][2]["ratio"] == pytest.approx(1.3)
    assert [measure["regressed"] for measure in plain["measures"]] == [False, False, True, False]
    assert plain["own_seconds"] == pytest.approx(2.0)
    assert plain["artifacts"] == "artifacts/gate"


def test_a_failing_test_has_the_verdict_of_its_change() -> None:
    finding = samples.rejected().findings[1]
    change = samples.changed(finding.title, ResultChange.NEWLY_FAILS, "timeout")
    result = dataclasses.replace(samples.rejected(), findings=(finding,), tests=(change,))
    assert as_json.as_json(result)["findings"][0]["verdict"] == "timeout"


def test_a_range_has_its_last_address_inside() -> None:
    memory = as_json.as_json(samples.rejected())["memory"]
    assert memory["before"][4] == {
        "name": "BiscuitOS_cma",
        "cma": True,
        "range": {
            "start": 0x69800000,
            "end_inclusive": 0x69FFFFFF,
            "start_hex": "0x69800000",
            "end_inclusive_hex": "0x69ffffff",
        },
    }
    changes = {item["name"]: item for item in memory["changes"]}
    assert changes["BiscuitOS_cma"]["change"] == "moved"
    assert changes["fourth"]["before"] is None
    assert changes["second"]["after"] is None
    assert "linux,cma" not in changes


def test_a_figure_that_is_no_number_is_null() -> None:
    measure = as_json.as_json(samples.hostile())["measures"][1]
    assert measure["base"] is measure["patched"] is measure["ratio"] is None


def test_text_is_kept_as_it_was() -> None:
    plain = as_json.as_json(samples.hostile())
    assert plain["reason"] == samples.TRAP
    assert "\\xff" in plain["findings"][0]["detail"]


def test_write_makes_the_file(tmp_path: Path) -> None:
    as_json.write(samples.accepted(), tmp_path / "new" / "gate.json")
    text = (tmp_path / "new" / "gate.json").read_text(encoding="utf-8")
    assert json.loads(text) == as_json.as_json(samples.accepted())
