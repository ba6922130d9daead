# SPDX-License-Identifier: MIT
"""Findings at the lines that they are about: GitHub's annotations, GitLab's code-quality report.

Formats: GitHub, "Workflow commands for GitHub Actions"; GitLab, "Code Quality", "Implement a custom
tool" (a subset of Code Climate's).
"""

from __future__ import annotations

import hashlib
import json

from harness.gate.places import Place, Severity, places
from harness.gate.result import GateResult
from harness.plaintext import clean

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.CHECK: "notice"}
_GITLAB = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.CHECK: "info"}
_DETAIL = 30


def github(result: GateResult) -> str:
    """Workflow commands, a line each; empty where there is nothing to say."""
    return "".join(f"{_command(place)}\n" for place in places(result))


def _command(place: Place) -> str:
    detail = "\n".join(place.detail.strip().splitlines()[:_DETAIL])
    message = f"{place.text}\n{detail}" if detail else place.text
    words = f"file={_property(place.file)},line={place.line},title={_property(place.kind)}"
    return f"::{_COMMANDS[place.severity]} {words}::{_data(message)}"


def _data(text: str) -> str:
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def code_quality(result: GateResult) -> str:
    """The JSON document for GitLab's ``artifacts:reports:codequality``."""
    return json.dumps([_issue(place) for place in places(result)], indent=1) + "\n"


def _issue(place: Place) -> dict[str, object]:
    # Lines move from one version of a patch to the next; the finding is the same.
    same = f"{place.file}\0{place.kind}\0{place.text}"
    return {
        "description": f"{place.kind}: {place.text}",
        "check_name": place.kind,
        "fingerprint": hashlib.sha256(same.encode("utf-8", "backslashreplace")).hexdigest(),
        "severity": _GITLAB[place.severity],
        "location": {"path": place.file, "lines": {"begin": place.line}},
    }
