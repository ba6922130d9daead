# SPDX-License-Identifier: MIT
"""One page with everything, to be opened as a file: it loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from harness.gate.report import facts, svg
from harness.gate.report.mapdiff import Fate, differences
from harness.gate.report.markup import Markup, join, tag
from harness.gate.report.plain import counted, first, last, line
from harness.gate.report.style import sheet
from harness.gate.result import Change, Decision, Finding, GateResult, Measure

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LINES = 2000
"""Of one block; a browser shows no more with ease, and the files have all."""

_TONES = {Decision.ACCEPTED: "good", Decision.REJECTED: "bad"}
_TEST_TONES = {
    Change.NEWLY_FAILS: "bad",
    Change.NEWLY_PASSES: "good",
    Change.GONE: "warn",
}
_DIFF_CLASSES = {"+": "plus", "-": "minus", "@": "place"}


def render(result: GateResult, directory: Path | None = None) -> str:
    """The page. Artifacts below `directory`, where the page will be, become links."""
    sections = [
        (title, content)
        for title, content in (
            ("Patches", _patches(result)),
            ("Findings", _findings(result, directory)),
            ("Tests", _tests(result)),
            ("Memory map", _map(result)),
            ("Warnings gone", _list(result.warnings_gone)),
            ("Measures", _measures(result)),
            ("Boot transcript", _transcript(result)),
            ("Stages", _stages(result)),
            ("Notes", _list(result.notes)),
        )
        if content
    ]
    title = f"Patch gate: {facts.word(result.decision)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        # Ours alone, and a browser would show escaped CSS as it is.
        tag("style", Markup(sheet())),
    )
    links = [tag("li", tag("a", name, href=f"#{_id(name)}")) for name, _ in sections]
    body = tag(
        "body",
        tag("header", *_verdict(result, title)),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(_section(name, content) for name, content in sections)),
    )
    page = tag("html", head, "\n", body, lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(name: str, content: Markup) -> Markup:
    heading = tag("h2", name, id=_id(name))
    return tag("section", heading, content, "\n", aria_labelledby=_id(name))


def _verdict(result: GateResult, title: str) -> list[Markup]:
    reason = tag(
        "p",
        tag("strong", facts.word(result.decision)),
        " ",
        line(result.reason),
    )
    rows = [
        ("Base", result.base),
        ("Patched kernel", result.release),
        ("Tests", facts.tests_line(result)),
        ("Started", result.started),
        ("Time", facts.own_line(result) if result.stages else ""),
        ("Artifacts", str(result.artifacts or "")),
    ]
    pairs = [join([tag("dt", name), tag("dd", line(value))]) for name, value in rows if value]
    tone = _TONES.get(result.decision, "warn")
    return [
        tag("h1", title),
        tag("div", reason, class_=f"verdict {tone}"),
        tag("dl", *pairs),
    ]


def _patches(result: GateResult) -> Markup:
    return join(
        tag(
            "article",
            tag("h3", line(patch.subject) or "(no subject)"),
            tag("p", tag("code", line(patch.name)), " by ", line(patch.author) or "nobody named"),
            tag("ul", *(tag("li", tag("code", line(name))) for name in patch.files)),
        )
        for patch in result.patches
    )


def _findings(result: GateResult, directory: Path | None) -> Markup:
    return join(_finding(finding, result, directory) for finding in result.findings)


def _finding(finding: Finding, result: GateResult, directory: Path | None) -> Markup:
    verdict = facts.verdict(finding, result)
    tone = "bad" if result.decision is Decision.REJECTED else "warn"
    parts = [
        tag("h3", tag("span", f"{finding.kind.value}:", class_=f"tone {tone}"), " ", finding.title),
        tag("p", f"{facts.MEANINGS[finding.kind]} Verdict: {verdict}.", class_="muted"),
    ]
    if finding.detail:
        parts.append(_block(first(finding.detail, _LINES), f"Explanation of {finding.title}"))
    if finding.excerpt:
        excerpt = last(finding.excerpt, _LINES)
        words = f"Transcript, the last {counted(len(excerpt), 'line')}"
        parts.append(_folded(words, _block(excerpt, f"Transcript of {finding.title}")))
    if finding.artifact is not None:
        shown: Markup = tag("code", line(facts.shown_path(finding.artifact, result)))
        below = facts.link(finding.artifact, directory)
        if below is not None:
            # With "./" a colon in a file's name cannot make a scheme of it.
            shown = tag("a", shown, href="./" + quote(below.as_posix(), errors="surrogateescape"))
        parts.append(tag("p", "All of it: ", shown))
    return tag("article", *parts)


def _tests(result: GateResult) -> Markup:
    if not result.tests:
        return Markup()
    rows = []
    for change, tests in facts.changes(result).items():
        for test in tests:
            tone = f"tone {_TEST_TONES.get(change, '')}" if change in _TEST_TONES else "muted"
            cells = [
                tag("td", tag("span", change.value, class_=tone)),
                tag("td", tag("code", line(test.test))),
                tag("td", test.verdict),
                tag("td", line(test.message, 300)),
            ]
            rows.append(cells)
    counts = tag("p", facts.tests_line(result) + ".")
    return join([counts, _table("Tests", ["Change", "Test", "Verdict", "Message"], rows)])


def _map(result: GateResult) -> Markup:
    before, after = svg.before_and_after(result)
    missing = tag("p", "Not known: this system did not boot.", class_="muted")
    if before is None and after is None:
        return Markup()
    drawings = tag(
        "div",
        tag("div", tag("h3", "Before"), before or missing),
        tag("div", tag("h3", "After"), after or missing),
        class_="maps",
    )
    rows = []
    for item in differences(result):
        tone = "muted" if item.fate is Fate.SAME else "tone warn"
        places = [tag("code", str(place)) if place else "" for place in (item.before, item.after)]
        cells = [
            tag("td", line(item.name)),
            tag("td", "CMA" if item.cma else "other"),
            *(tag("td", place) for place in places),
            tag("td", tag("span", item.text, class_=tone)),
        ]
        rows.append(cells)
    if not rows:
        return drawings
    heads = ["Area", "Kind", "Before", "After", "Change"]
    return join([drawings, _table("Areas", heads, rows)])


def _measures(result: GateResult) -> Markup:
    if not result.measures:
        return Markup()
    rows = [_measure(measure) for measure in result.measures]
    heads = ["Measure", "Base", "Patched", "Change", "Ratio", "Limit", ""]
    return _table("Measures", heads, rows, numbers=range(1, 6))


def _measure(measure: Measure) -> list[Markup]:
    limit = f"{measure.limit:.3f}" if measure.limit is not None else "none"
    numbers = [
        facts.figure(measure.base, measure.unit),
        facts.figure(measure.patched, measure.unit),
        facts.change_text(measure),
        f"{measure.ratio:.3f}" if measure.base else "",
        limit,
    ]
    state = tag("span", "regression", class_="tone bad") if measure.regressed else ""
    cells = [tag("td", number, class_="number") for number in numbers]
    return [tag("td", line(measure.name)), *cells, tag("td", state)]


def _transcript(result: GateResult) -> Markup:
    if not result.transcript_diff:
        return Markup()
    rows = first("\n".join(result.transcript_diff), _LINES)
    coloured = [
        tag("span", row, class_=_DIFF_CLASSES[row[0]]) if row[:1] in _DIFF_CLASSES else row
        for row in rows
    ]
    return join(
        [
            tag("p", "What the two kernels say at boot: - the base, + the patched one."),
            _block(coloured, "Difference of the boot transcripts"),
        ]
    )


def _stages(result: GateResult) -> Markup:
    if not result.stages:
        return Markup()
    rows = [
        [
            tag("td", line(stage.name)),
            tag("td", f"{stage.seconds:.1f} s", class_="number"),
            tag("td", f"{stage.own:.1f} s", class_="number"),
        ]
        for stage in result.stages
    ]
    table = _table("Stages", ["Stage", "Time", "The harness's own"], rows, numbers=range(1, 3))
    return join([tag("p", facts.own_line(result) + "."), table])


def _list(texts: Sequence[str]) -> Markup:
    return tag("ul", *(tag("li", line(text)) for text in texts)) if texts else Markup()


def _block(rows: Iterable[str], label: str) -> Markup:
    """Lines that scroll inside themselves, with the keyboard too."""
    return _scrolling(tag("pre", join(rows, "\n")), label)


def _table(
    label: str, heads: Sequence[str], rows: Iterable[Sequence[Markup]], numbers: Iterable[int] = ()
) -> Markup:
    right = set(numbers)
    head = [
        tag("th", text, scope="col", class_="number" if index in right else None)
        for index, text in enumerate(heads)
    ]
    body = join((tag("tr", *cells) for cells in rows), "\n")
    return _scrolling(
        tag("table", tag("thead", tag("tr", *head)), tag("tbody", body)), f"{label}, a table"
    )


def _scrolling(content: Markup, label: str) -> Markup:
    return tag(
        "div", content, class_="scroll", tabindex=0, role="region", aria_label=line(label, 120)
    )


def _folded(words: str, content: Markup) -> Markup:
    return tag("details", tag("summary", words), content)
