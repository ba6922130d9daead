# SPDX-License-Identifier: MIT
from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.gate.report import html, svg
from harness.gate.result import Finding, FindingKind
from harness.report.bar import spread
from harness.report.page import STYLE
from tests.unit.gate.report import samples
from tests.unit.gate.report.samples import MIB, RAM, area

VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page read back: it complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


@pytest.mark.parametrize("make", samples.ALL)
def test_the_page_loads_and_runs_nothing(make: samples.Make) -> None:
    text = html.render(make(), samples.ARTIFACTS)
    page = Page(text)
    for name, attributes in page.tags:
        assert name not in {"script", "link", "img", "iframe", "object", "base", "form", "image"}
        assert not [key for key in attributes if key.startswith("on")]
        assert not {"src", "srcset", "style", "xlink:href"} & set(attributes)
    assert all(re.match(r"#|\./", item["href"]) for item in page.all("a"))
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    (policy,) = policies
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'",
        policy,
    )
    sheet = "".join(page.text("style"))
    assert "url(" not in sheet
    assert "@import" not in sheet
    assert "http" not in re.sub(r"http-equiv", "", text)


@pytest.mark.parametrize("make", samples.ALL)
def test_headings_are_in_order_and_the_language_is_told(make: samples.Make) -> None:
    page = Page(html.render(make()))
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    assert page.text("title")[0] == f"Patch gate: {make().decision.value.upper()}"
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {item["href"] for item in page.all("a")} == {f"#{name}" for name in ids}
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"


def test_what_others_wrote_is_text() -> None:
    text = html.render(samples.hostile())
    page = Page(text)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\\u202e" in text
    shown = "".join(data for _, data in page.texts)
    assert shown.count("<script>alert(1)</script>") > 20
    assert len(page.all("h3")) == 1 + 2 + 2


def test_a_rejection_has_all_of_it() -> None:
    page = Page(html.render(samples.rejected()))
    assert page.text("h2") == [
        "Patches",
        "Findings",
        "Tests",
        "Memory map",
        "Boot timeline",
        "Warnings gone",
        "Measures",
        "Boot transcript",
        "Stages",
        "Notes",
    ]
    assert page.text("summary") == ["Transcript, the last 4 lines"]
    blocks = "".join(page.text("pre"))
    assert "7 MiB below it" in blocks
    assert "Find CMA: default" in blocks
    coloured = {
        a["class"] for a in page.all("span") if a.get("class") in ("plus", "minus", "place")
    }
    assert coloured == {"plus", "minus", "place"}
    assert "+cma: Reserved 8 MiB at 0x6a000000" in page.text("span")
    assert {"612.3 ms", "+0.1 %", "1.300", "1.100", "from 0"} <= set(page.text("td"))
    assert page.text("span").count("regression") == 1


def test_empty_sections_are_left_out() -> None:
    page = Page(html.render(samples.not_judged()))
    assert page.text("h2") == ["Patches", "Findings"]
    assert page.all("svg") == []


def test_what_scrolls_can_be_reached_with_the_keyboard() -> None:
    page = Page(html.render(samples.rejected()))
    scrolling = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert len(scrolling) == len(page.all("pre")) + len(page.all("table"))
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)


def test_artifacts_below_the_page_are_links() -> None:
    page = Page(html.render(samples.rejected(), samples.ARTIFACTS))
    hrefs = [item["href"] for item in page.all("a") if item["href"].startswith("./")]
    assert hrefs == ["./build/patched.log", "./suite/transcript.txt"]
    elsewhere = Page(html.render(samples.rejected(), Path("elsewhere")))
    assert [item for item in elsewhere.all("a") if not item["href"].startswith("#")] == []


def test_no_link_leads_out_of_the_artifacts() -> None:
    finding = Finding(FindingKind.CRASH, "x", artifact=samples.ARTIFACTS / ".." / "secret")
    result = dataclasses.replace(samples.rejected(), findings=(finding,))
    page = Page(html.render(result, samples.ARTIFACTS))
    assert all(item["href"].startswith("#") for item in page.all("a"))


def test_the_maps_mark_what_differs() -> None:
    before, after = (Page(str(drawing)) for drawing in svg.before_and_after(samples.rejected()))
    notes = {"BiscuitOS_cma": "moved 8 MiB up", "second": "missing", "fourth": "new"}
    texts = after.text("text")
    for name, note in notes.items():
        place = texts.index(name)
        assert texts[place + 2] == note
    assert "0x6a000000-0x6a7fffff 8 MiB" in texts
    place = before.text("text").index("BiscuitOS_cma")
    assert before.text("text")[place + 1 : place + 3] == [
        "0x69800000-0x69ffffff 8 MiB",
        "then 0x6a000000-0x6a7fffff",
    ]
    classes = [rect["class"] for rect in after.all("rect")]
    # data, BiscuitOS_cma, first, second, third, fourth
    assert sum("changed" in words for words in classes) == 6
    assert sum("ghost" in words for words in classes) == 1
    assert sum("cma changed" in words for words in classes) == 5


def test_a_long_name_is_cut_in_the_drawing_and_whole_beside_it() -> None:
    page = Page(html.render(samples.hostile()))
    assert max(map(len, page.text("text"))) == 36
    assert any(cell.endswith("</pre></svg>") for cell in page.text("td"))


def test_equal_maps_have_no_marks() -> None:
    for drawing in svg.before_and_after(samples.accepted()):
        page = Page(str(drawing))
        assert len(page.all("rect")) == 1 + len(samples.BEFORE)
        assert not any("changed" in attributes["class"] for attributes in page.all("rect"))


def test_a_system_that_did_not_boot_has_no_map() -> None:
    before, after = svg.before_and_after(samples.infrastructure())
    assert before is not None
    assert after is None
    assert "Not known: this system did not boot." in html.render(samples.infrastructure())


def rows(page: Page) -> list[float]:
    return [float(attributes["y"]) for attributes in page.all("text")]


@pytest.mark.parametrize("start", [0x60000000, 0x69000000, 0x7FF90000])
@pytest.mark.parametrize("number", [1, 7, 40])
def test_labels_of_small_areas_do_not_overlap(start: int, number: int) -> None:
    areas = tuple(area(f"area{n}", start + n * 0x10000, 0x10000) for n in range(number))
    result = dataclasses.replace(
        samples.accepted(), map_before=(RAM, *areas), map_after=(RAM, *areas)
    )
    drawing, _ = svg.before_and_after(result)
    page = Page(str(drawing))
    heights = rows(page)
    assert all(after - before >= 15 for before, after in itertools.pairwise(heights))
    box = [float(word) for word in page.all("svg")[0]["viewbox"].split()]
    assert heights[0] >= 10
    assert heights[-1] <= box[3]
    assert page.text("text")[0] == "System RAM"
    assert page.text("text")[-1].startswith(f"0x{areas[-1].span.start:08x}")
    assert max(map(len, page.text("text"))) <= 36


def test_areas_are_to_scale_in_ram() -> None:
    lone = area("high", 0x70000000, 0x10000000)
    result = dataclasses.replace(samples.accepted(), map_before=(lone,), map_after=(lone,))
    scope, high = Page(str(svg.before_and_after(result)[0])).all("rect")
    assert float(high["y"]) == pytest.approx(float(scope["y"]) + float(scope["height"]) / 2)
    assert float(high["height"]) == pytest.approx(float(scope["height"]) / 2)


def test_a_label_with_room_is_where_its_area_is() -> None:
    assert spread([(10.0, 38), (200.0, 38)], 320) == [10.0, 200.0]
    assert spread([(100.0, 40), (100.0, 40)], 320) == [80.0, 120.0]
    assert spread([(-15.0, 40), (310.0, 40)], 320) == [0.0, 280.0]


def test_an_area_of_512_mib_is_larger_than_one_of_8() -> None:
    page = Page(str(svg.before_and_after(samples.accepted())[0]))
    heights = [float(rect["height"]) for rect in page.all("rect")]
    assert heights[0] == heights[1] > 30 * heights[3]
    assert RAM.span.size == 512 * MIB


def colours(scheme: int) -> dict[str, str]:
    """The colours of the style sheet: 0 light, 1 dark."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    return dict(re.findall(r"--(\w[\w-]*): (#\w+);", blocks[scheme]))


@pytest.mark.parametrize("palette", [colours(0), colours(1)], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_text_has_contrast(palette: dict[str, str], ground: str) -> None:
    for name in ("text", "muted", "link", "good", "bad", "warn", "changed"):
        assert contrast(palette[name], palette[ground]) >= 4.5, name


@pytest.mark.parametrize("palette", [colours(0), colours(1)], ids=["light", "dark"])
def test_areas_have_contrast_with_what_holds_them(palette: dict[str, str]) -> None:
    assert contrast(palette["cma"], palette["holds"]) >= 3
    assert contrast(palette["changed"], palette["holds"]) >= 3


def contrast(one: str, other: str) -> float:
    """As the WCAG has it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
