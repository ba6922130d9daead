# SPDX-License-Identifier: MIT
"""A gate run's result for people, for a merge request, for a CI and for programs."""

from __future__ import annotations

from pathlib import Path

from harness.gate.report import as_json, html, junit, kcidb, markdown, placed, text
from harness.gate.result import GateResult
from harness.host.files import write_texts
from harness.host.output import claim

TEXT, JSON, JUNIT = "verdict.txt", "result.json", "junit.xml"
HTML, MARKDOWN = "report.html", "summary.md"
KCIDB, KTAP = "kcidb.json", "results.ktap"
CODE_QUALITY = "code-quality.json"
REPORTS = (TEXT, JSON, JUNIT, HTML, MARKDOWN, KCIDB, KTAP, CODE_QUALITY)
"""The files that `write_all` writes."""


def write_all(result: GateResult, directory: Path) -> None:
    """Writes every report into `directory`, made where missing. Each file is whole or not there.

    Raises `UserError` for a directory that is not ours to write to, see `harness.host.output`.
    """
    claim(directory)
    write_texts(
        directory,
        {
            TEXT: text.render(result),
            JSON: as_json.render(result),
            JUNIT: junit.render(result),
            HTML: html.render(result, directory),
            MARKDOWN: markdown.render(result),
            KCIDB: kcidb.render(result),
            KTAP: kcidb.render_ktap(result),
            CODE_QUALITY: placed.code_quality(result),
        },
    )
