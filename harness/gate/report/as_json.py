# SPDX-License-Identifier: MIT
"""The result as plain data, for programs.

Schema 1. Keys are always there; a later schema may add some without a new number, and gets a new
number where one goes or changes its meaning. Text is as it was found, control characters included;
bytes that were no UTF-8 are shown as ``\\x80``.

``schema``
    1
``decision``, ``exit_status``, ``reason``
    ``accepted`` 0, ``rejected`` 1, ``not judged`` 2 or ``infrastructure`` 3; one line why
``patches``
    list of ``name``, ``subject``, ``author``, ``files`` (paths in the tree)
``base``, ``release``, ``started``
    text; ``release`` is empty where the patched kernel did not boot, ``started`` is ISO 8601
``findings``
    list of ``kind``, ``verdict``, ``title``, ``detail``, ``artifact`` (path or null), ``excerpt``;
    of a failing test also ``test``, ``line`` (where it failed), ``story`` (what its guest was told
    and answered, lines), ``alike`` (other tests with the same cause), ``again`` (a command).
    ``kind`` is a value of `harness.gate.result.FindingKind`; ``verdict`` is ``product``, ``crash``,
    ``timeout``, ``infrastructure`` or ``not judged``
``tests``
    ``run``, ``passed``, ``judged`` (with a known result on both systems), ``of`` (tests of the
    whole suite), ``selection`` (which were chosen, and why) and ``changes``: list of ``test``,
    ``change`` (a value of `harness.gate.result.Change`), ``verdict``, ``message``
``changed_lines``
    list of ``file``, ``line`` (in the patched tree; in the base's where it is ``removed`` and
    no code put in its place), ``text``, ``removed``, ``executed_by`` (a value of
    `harness.coverage.changed.LineFate`), ``tests`` (the most specific first)
``warnings_gone``, ``transcript_diff``, ``notes``
    lists of lines
``measures``
    list of ``name``, ``unit``, ``base``, ``patched``, ``ratio``, ``limit`` (ratio or null),
    ``regressed``; a figure that is no finite number is null
``memory``
    ``before`` and ``after``: lists of ``name``, ``cma``, ``range``; ``after`` is empty where the
    patched system did not boot. ``changes``: list of ``name``, ``cma``, ``change`` (a value of
    `harness.gate.report.mapdiff.Fate`), ``before`` and ``after`` (range or null), without the
    unchanged. A range has ``start`` and ``end_inclusive``, the last address inside, as numbers, and
    the same as ``start_hex`` and ``end_inclusive_hex``
``stages``
    list of ``name``, ``seconds``, ``own`` (seconds in which neither compiler nor guest ran)
``seconds``, ``own_seconds``
    sums of these
``artifacts``
    path or null
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from harness.gate.report import facts
from harness.gate.report.mapdiff import changed
from harness.gate.result import Area, Finding, GateResult, Measurement
from harness.host.files import write_text
from harness.memory.ranges import AddressRange
from harness.plaintext import encodable

SCHEMA = 1


def as_json(result: GateResult) -> dict[str, Any]:
    """The result as dictionaries, lists, text and numbers."""
    return {
        "schema": SCHEMA,
        "decision": result.decision.value,
        "exit_status": result.decision.exit_status,
        "reason": encodable(result.reason),
        "patches": [_plain(dataclasses.asdict(patch)) for patch in result.patches],
        "base": encodable(result.base),
        "release": encodable(result.release),
        "started": encodable(result.started),
        "findings": [_finding(finding, result) for finding in result.findings],
        "tests": _tests(result),
        "changed_lines": [
            {
                "file": encodable(item.file),
                "line": item.line,
                "text": encodable(item.text),
                "removed": item.removed,
                "executed_by": item.fate.value,
                "tests": _plain(item.tests),
            }
            for item in (*result.changed, *result.removed)
        ],
        "warnings_gone": _plain(result.warnings_gone),
        "measures": [_measure(measure) for measure in result.measures],
        "memory": _memory(result),
        "transcript_diff": _plain(result.transcript_diff),
        "notes": _plain(result.notes),
        "stages": [_plain(dataclasses.asdict(stage)) for stage in result.stages],
        "seconds": _number(facts.total_seconds(result)),
        "own_seconds": _number(facts.own_seconds(result)),
        "artifacts": _plain(result.artifacts),
    }


def render(result: GateResult) -> str:
    """The same as text: JSON that any reader takes."""
    return json.dumps(as_json(result), indent=2, allow_nan=False) + "\n"


def write(result: GateResult, path: Path) -> None:
    """Writes it to `path`, which is never there in part."""
    write_text(path, render(result))


def _finding(finding: Finding, result: GateResult) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "verdict": encodable(facts.verdict(finding, result)),
        "title": encodable(finding.title),
        "detail": encodable(finding.detail),
        "artifact": _plain(finding.artifact),
        "excerpt": encodable(finding.excerpt),
        "test": encodable(finding.test),
        "line": encodable(finding.line),
        "story": _plain(finding.story),
        "alike": _plain(finding.alike),
        "again": encodable(finding.again),
    }


def _tests(result: GateResult) -> dict[str, Any]:
    return {
        "run": result.tests_run,
        "passed": result.tests_passed,
        "judged": result.tests_judged,
        "of": result.tests_of,
        "selection": encodable(result.selection),
        "changes": [
            {
                "test": encodable(test.test),
                "change": test.change.value,
                "verdict": encodable(test.verdict),
                "message": encodable(test.message),
            }
            for test in result.tests
        ],
    }


def _measure(measure: Measurement) -> dict[str, Any]:
    return {
        "name": encodable(measure.name),
        "unit": encodable(measure.unit),
        "base": _number(measure.base),
        "patched": _number(measure.patched),
        "ratio": _number(measure.ratio),
        "limit": _number(measure.limit),
        "regressed": measure.regressed,
    }


def _memory(result: GateResult) -> dict[str, Any]:
    return {
        "before": [_area(area) for area in result.map_before],
        "after": [_area(area) for area in result.map_after],
        "changes": [
            {
                "name": encodable(item.name),
                "cma": item.cma,
                "change": item.fate.value,
                "before": _range(item.before),
                "after": _range(item.after),
            }
            for item in changed(result)
        ],
    }


def _area(area: Area) -> dict[str, Any]:
    return {"name": encodable(area.name), "cma": area.cma, "range": _range(area.span)}


def _range(span: AddressRange | None) -> dict[str, Any] | None:
    if span is None:
        return None
    return {
        "start": span.start,
        "end_inclusive": span.last,
        "start_hex": f"0x{span.start:08x}",
        "end_inclusive_hex": f"0x{span.last:08x}",
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: object) -> Any:
    """Containers of text, numbers and paths as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    return encodable(str(value)) if isinstance(value, str | Path) else value
