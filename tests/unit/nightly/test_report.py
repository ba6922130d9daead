# SPDX-License-Identifier: MIT
"""The report: whole, safe, and by itself."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from harness.nightly.attempt import Attempt
from harness.nightly.database import Database
from harness.nightly.history import Trend, load
from harness.nightly.job import JobKind, JobStatus
from harness.nightly.plot import BOTTOM, HEIGHT, TOP, plot, ticks
from harness.nightly.report import headline, write_report
from harness.testrun.result import CaseResult
from tests.unit.nightly.fake import HOST, PASSED, add_night, job, measured, mutated, with_test

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = "<script>alert('x')</script>&\"' {{ 7919 * 7907 }}"


class Page(html.parser.HTMLParser):
    """What is in a page; raises for tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        """Tag, attribute, value."""
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def a_history(path: Path) -> None:
    """Three nights with something of everything."""
    wrong = path.parent / "n2" / "6.1" / "a b" / "transcript.txt"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("the console\n")
    result = CaseResult(
        f"tests/x.py::{EVIL}", "failed", "product", f"{EVIL}\nand\nmore", 1.0, wrong
    )
    failed = Attempt(JobStatus.FAILED, 5.0, results=(result,), log=path.parent / "gone.txt")
    cma, layouts = job(), job("6.1/layouts")
    measure, mutants = job("6.1/512M/measure", JobKind.MEASURE), job("6.1/mutants", JobKind.MUTANTS)
    harness = job("6.1/harness")
    for number in range(3):
        jobs = {
            measure: [measured(1300.0 + number)],
            cma: [failed] if number == 2 else [with_test("passed", result.test)],
            layouts: [with_test("failed", verdict="infrastructure"), with_test("passed")],
            harness: [HOST, HOST],
            mutants: [mutated(good="caught", lost="SURVIVED")],
        }
        add_night(path, f"n{number}", jobs)


@pytest.fixture
def page(tmp_path: Path) -> tuple[Page, str]:
    a_history(tmp_path / "db")
    with Database(tmp_path / "db") as database:
        write_report(database, tmp_path / "out" / "report.html")
    text = (tmp_path / "out" / "report.html").read_text()
    return Page(text), text


def test_the_page_is_whole_and_says_it_all(page: tuple[Page, str]) -> None:
    found, _ = page
    for said in (
        "Night n2",
        "1 test newly fails, 1 mutant was not judged right, 1 job says nothing",
        "Newly failing (1)",
        "1 of 2 mutants killed, 50.0 %",
        "the host is full",
        "QEMU 7.2",
        "✗ 1",
        "✓²",
        "100 %",
        "3 of 3",
    ):
        assert said in found.words, said
    assert {"svg", "table", "details"} <= found.tags


def test_all_text_is_escaped(page: tuple[Page, str]) -> None:
    found, _ = page
    assert "script" not in found.tags
    assert f"tests/x.py::{EVIL}" in found.words
    assert str(7919 * 7907) not in found.words


def test_the_page_needs_nothing_from_outside(page: tuple[Page, str]) -> None:
    found, text = page
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert found.values("src") == []
    assert found.values("style") == [], "the policy would not let them"
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    for address in found.values("href"):
        assert not re.match(r"[a-z]+:|/", address), address
    assert not re.search(r"url\(|@import|https?:", text)


def test_the_policy_allows_the_page_s_own_style_and_nothing_else(page: tuple[Page, str]) -> None:
    found, text = page
    (policy,) = [value for value in found.values("content") if "default-src" in value]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    match = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert match is not None
    digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_what_is_wide_scrolls_by_itself_and_not_the_page(page: tuple[Page, str]) -> None:
    found, text = page
    tables = text.count("<table")
    assert len(re.findall(r'<div class="scroll"[^>]*>\s*<table', text)) == tables >= 4
    assert "<svg viewBox=" in text
    assert "width" not in {name for tag, name, _ in found.attributes if tag == "svg"}


def test_mutants_to_look_at_are_shown_and_the_others_folded(page: tuple[Page, str]) -> None:
    _, text = page
    shown, _, folded = text.partition("To look at (1)")[2].partition("<details>")
    assert "SURVIVED" in shown
    assert "breaks good" not in shown
    assert "breaks good" in folded


def test_links_are_relative_to_the_report_and_lead_somewhere(page: tuple[Page, str]) -> None:
    found, _ = page
    assert found.values("href") == ["#main", "../n2/6.1/a%20b/transcript.txt"]


def test_a_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    add_night(tmp_path / "db", "n", {job(): [PASSED]})
    with Database(tmp_path / "db") as database:
        write_report(database, tmp_path / "r.html")
        write_report(database, tmp_path / "r.html")
    assert sorted(path.name for path in tmp_path.iterdir() if "r.html" in path.name) == ["r.html"]


@pytest.mark.parametrize(
    ("attempts", "said", "colour"),
    [
        ([with_test("passed")], "All as expected", "good"),
        ([with_test("failed")], "1 test newly fails", "bad"),
        ([HOST, HOST], "1 job says nothing", "warn"),
    ],
)
def test_the_headline(tmp_path: Path, attempts: list[Attempt], said: str, colour: str) -> None:
    add_night(tmp_path / "db", "n", {job(): attempts})
    with Database(tmp_path / "db") as database:
        assert headline(load(database, 5)) == (said, colour)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (1300, 1300), (0.1, 0.1), (-5, 3), (1e-6, 2e6), (99.9, 100)]
)
def test_ticks_enclose_the_values_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert 3 <= len(found) <= 8
    assert found[0] < found[-1]


def test_a_plot_has_axes_units_and_each_value_in_its_place() -> None:
    trend = Trend("boot", "ms", {"<a>": [(0, 100.0), (1, 200.0)], "b": [(1, 150.0)]})
    root = ElementTree.fromstring(str(plot(trend, ["11-23", "11-24"])))
    texts = [element.text for element in root.iter("text")]
    assert {"ms", "night", "11-23", "11-24", "100", "200"} <= set(texts)
    dots = [(float(d.get("cx", 0)), float(d.get("cy", 0))) for d in root.iter("circle")]
    assert len(dots) == 3
    assert dots[0][0] < dots[1][0] == dots[2][0]
    assert TOP <= dots[1][1] < dots[2][1] < dots[0][1] <= HEIGHT - BOTTOM
    assert next(root.iter("title")).text == "<a>, 11-23: 100 ms"


def test_a_plot_of_one_night_and_of_percents() -> None:
    root = ElementTree.fromstring(str(plot(Trend("r", "%", {"a": [(0, 100.0)]}), ["11-24"])))
    ticks_said = [t.text or "" for t in root.iter("text") if "end" in t.get("class", "")]
    assert max(float(text) for text in ticks_said) == 100.0
