# SPDX-License-Identifier: MIT
"""The history as one HTML page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from harness.host.facts import DIRTY
from harness.host.output import save
from harness.mutants.runner import MutantStatus
from harness.nightly import plot
from harness.nightly.attempt import MutantResult
from harness.nightly.book import SLOTS
from harness.nightly.database import Database
from harness.nightly.history import (
    NightRun,
    What,
    changes,
    flakes,
    kill_rates,
    load,
    mutant_colour,
    trends,
)
from harness.nightly.job import JobStatus
from harness.report import page

NIGHTS = 14
"""How many nights a report is about, unless it is said otherwise."""
_UNKNOWN = (JobStatus.INFRASTRUCTURE, JobStatus.EMPTY, JobStatus.NOT_RUN)
_SYMBOLS = {
    JobStatus.PASSED: ("✓", "good"),
    JobStatus.FAILED: ("✗", "bad"),
    JobStatus.INFRASTRUCTURE: ("!", "warn"),
    JobStatus.EMPTY: ("∅", "warn"),
    JobStatus.NOT_RUN: ("·", "none"),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One job in one night."""

    symbol: str
    colour: str
    said: str
    link: str = ""


HEADS = ("<!doctype html", "<html")
"""How a page begins."""


def write_report(database: Database, to: Path, count: int = NIGHTS) -> NightRun:
    """Writes the report on the last `count` nights, all at once; returns the last of them."""
    nights = load(database, count)
    text = render(nights, Links(database.path.parent, to.absolute().parent))
    save(to.absolute(), text, HEADS)
    return nights[-1]


class Links:
    """Paths of the database as links of the report."""

    def __init__(self, database: Path, report: Path) -> None:
        """`database` and `report` are the directories that the two are in."""
        self._database = database
        self._report = report

    def __call__(self, artifact: str | Path | None) -> str:
        """A relative link; empty for what is not there, as in a database without its artifacts."""
        path = self._database / (artifact or "")
        if not artifact or not path.exists():
            return ""
        return urllib.parse.quote(os.path.relpath(path, self._report))


def render(nights: Sequence[NightRun], links: Links) -> str:
    """The page."""
    tonight = nights[-1]
    found = changes(nights)
    names = list(tonight.jobs)
    names += sorted({name for night in nights for name in night.jobs} - set(names))
    labels = _labels(nights)
    return page.render(
        "night.html.j2",
        tonight=tonight,
        nights=nights,
        labels=labels,
        commit=tonight.project.removesuffix(DIRTY)[:12],
        dirty=tonight.project.endswith(DIRTY),
        headline=headline(nights),
        groups=[(what.value, [c for c in found if c.what is what]) for what in What],
        rows=[(name, [_cell(night, name, links) for night in nights]) for name in names],
        unknown=[job for job in tonight.jobs.values() if job.status in _UNKNOWN],
        flakes=flakes(nights),
        rates=kill_rates(tonight),
        mutants=_mutants(tonight),
        plots=[
            (trend, plot.plot(trend, labels), enumerate(trend.series)) for trend in trends(nights)
        ],
        mark=plot.mark,
        jobs=tonight.jobs.values(),
        busy=sum(one.busy for one in tonight.work),
        span=max((one.span for one in tonight.work), default=0.0),
        slots=sum(int(facts.get(SLOTS, "0")) for facts in tonight.hosts.values()),
        link=links,
    )


def headline(nights: Sequence[NightRun]) -> tuple[str, str]:
    """The night in a sentence, and its colour."""
    tonight = nights[-1]
    found = changes(nights)
    counts = {what: sum(change.what is what for change in found) for what in What}
    wrong = sum(colour == "bad" for _, _, colour in _mutants(tonight))
    said = [
        _count(counts[What.NEWLY_FAILS], "test newly fails", "tests newly fail"),
        _count(counts[What.STILL_FAILS], "test still fails", "tests still fail"),
        _count(counts[What.NEWLY_PASSES], "test newly passes", "tests newly pass"),
        _count(wrong, "mutant was not judged right", "mutants were not judged right"),
    ]
    unknown = sum(job.status in _UNKNOWN for job in tonight.jobs.values())
    said.append(_count(unknown, "job says nothing", "jobs say nothing"))
    if tonight.missing:
        said.append(_count(tonight.missing, "job is missing", "jobs are missing"))
    text = ", ".join(part for part in said if part) or "All as expected"
    if any(job.status is JobStatus.FAILED for job in tonight.jobs.values()):
        return text, "bad"
    return text, "warn" if unknown or tonight.missing else "good"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""


def _labels(nights: Sequence[NightRun]) -> list[str]:
    """``11-24``; with the time where two are of one day."""
    days = [night.started[5:10] for night in nights]
    return [
        night.started[5:16].replace("T", " ") if days.count(day) > 1 else day
        for night, day in zip(nights, days, strict=True)
    ]


def _cell(night: NightRun, name: str, links: Links) -> Cell:
    job = night.jobs.get(name)
    if job is None:
        return Cell("", "none", f"{name}, {night.id}: not in this night")
    symbol, colour = _SYMBOLS[job.status]
    if job.status is JobStatus.FAILED and job.failing:
        symbol += f" {job.failing}"
    more = ""
    if job.attempts > 1:
        symbol += "²"
        more = f" at attempt {job.attempts}"
    return Cell(
        symbol, colour, f"{name}, {night.id}: {job.status.value}{more}", links(job.artifact)
    )


def _mutants(night: NightRun) -> list[tuple[str, MutantResult, str]]:
    """Kernel, mutant and colour, those first that somebody must look at."""
    rows = [
        (job.kernel, mutant, mutant_colour(mutant.status))
        for job in night.jobs.values()
        for mutant in job.mutants
        if mutant.status != MutantStatus.OTHER_KERNEL.value
    ]
    return sorted(
        rows, key=lambda row: (("bad", "warn", "good").index(row[2]), row[0], row[1].name)
    )
