# SPDX-License-Identifier: MIT
"""The model, sequences as files, and the shrinking, without a guest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import fdt
import pytest
from hypothesis import configuration

from harness.cli.explore import _replay
from harness.errors import HarnessError, JudgementError, UserError
from harness.explore.areas import PAGE, AreaSpec
from harness.explore.campaign import explore, machine_of, minimised
from harness.explore.guests import HOST, OPENERS, guarded
from harness.explore.model import (
    OPERATIONS,
    Model,
    Operation,
    effective,
)
from harness.explore.sequence import Found, read
from harness.guest import application
from harness.memory.ranges import AddressRange

AREAS = (
    AreaSpec("own", 0x69800000, 2048),
    AreaSpec("default", 0x69000000, 2048, foreign=((0, 64),)),
)


SMALL = (AreaSpec("own", 0x69800000, 32), AreaSpec("default", 0x69000000, 32))


def model() -> Model:
    return Model(AREAS, OPENERS, HOST)


def small() -> Model:
    """Whose contents are quickly made."""
    return Model(SMALL, OPENERS, HOST)


def answers(*operations: tuple[object, ...]) -> list[tuple[str, str] | None]:
    made = model()
    found = []
    for name, *numbers in operations:
        step = made.apply(Operation(str(name), tuple(int(str(n)) for n in numbers)))
        found.append((step.command, step.expected) if step else None)
    return found


def test_a_replay_s_figures_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    def differs(_operations: object) -> None:
        raise JudgementError("two areas")

    sequence = (Operation("check", ()),)
    assert _replay(SimpleNamespace(run=lambda operations: None), sequence, True) == 0
    assert json.loads(capsys.readouterr().out) == {"length": 1}
    with pytest.raises(JudgementError):
        _replay(SimpleNamespace(run=differs), sequence, True)
    assert json.loads(capsys.readouterr().out) == {"length": 1, "difference": "two areas"}


def test_nothing_is_written_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "__hypothesis_home_directory", None)
    explore(lambda sequence: None, 0, 1, tmp_path / "examples", examples=3, steps=3)
    assert configuration.storage_directory("x").path.is_relative_to(tmp_path)


def test_first_fit_with_the_driver_s_alignment() -> None:
    assert answers(("alloc", 0, 1), ("alloc", 1, 3), ("alloc", 0, 1), ("alloc", 2, 1)) == [
        ("alloc 4096", "ok 0x69800000 0x1000"),
        ("alloc 12288", "ok 0x69804000 0x3000"),
        ("alloc 4096", "ok 0x69801000 0x1000"),
        # The first 64 pages of the other area are somebody's from the boot on.
        ("alloc 4096", "ok 0x69040000 0x1000"),
    ]


def test_who_may_release_what() -> None:
    assert [pair and pair[1] for pair in answers(
        ("alloc", 0, 4),
        ("release_foreign", 1, 0, 0),
        ("release_part", 0, 0, 0, 2),
        ("release_part", 0, 0, 0, 4),
        ("map", 0, 0, 0, 0),
        ("release", 0, 0),
        ("unmap", 0, 0),
        ("release", 0, 0),
        ("release", 0, 0),
    )] == ["ok 0x69800000 0x4000", "error EINVAL", "error EINVAL", None, "ok", "error EBUSY", "ok",
           "ok", None]  # fmt: skip


def test_what_ends_with_its_opener() -> None:
    made = model()
    for name, *numbers in (("alloc", 0, 2048), ("alloc", 1, 1), ("kill", 0), ("alloc", 0, 1)):
        step = made.apply(Operation(str(name), tuple(map(int, numbers))))
    assert step is None
    assert made.areas[0].used == 0
    assert (made.areas[0].allocated, made.areas[0].failed) == (2048, 1)
    assert made.calls == (1, 1)


def test_a_child_keeps_what_its_parent_has_mapped() -> None:
    said = answers(
        ("alloc", 0, 4),
        ("map", 0, 0, 0, 0),
        ("fork", 0),
        ("unmap", 0, 0),
        ("release", 0, 0),
        ("kill", 0),
        ("reap", 0, 0),
        ("release", 0, 0),
        ("reap", 0, 0),
    )
    assert [pair and pair[1] for pair in said[2:]] == [
        "ok", "ok", "error EBUSY", None, "ok", "ok", None,
    ]  # fmt: skip
    assert [pair and pair[0] for pair in said if pair and pair[0][-2:] == " 0"] == [
        "fork 0", "reap 0",
    ]  # fmt: skip


def test_the_driver_can_be_removed_when_nobody_has_it_open() -> None:
    kills = [("kill", number) for number in range(3)]
    said = answers(("reload", 0), *kills[:2], ("reload", 0), kills[2], ("reload", 1))
    expected = ["busy", "gone", "gone", "busy", "gone", "ok"]
    assert [pair and pair[1] for pair in said] == expected


def test_debugfs_gives_back_the_newest_first() -> None:
    made = model()
    for count in (4, 8):
        made.apply(Operation("debug_alloc", (0, count)))
    made.apply(Operation("debug_free", (0, 6)))
    assert made.areas[0].debug == [(10, 2), (0, 4)]
    assert made.areas[0].used == 6


def test_contents_follow_what_is_written() -> None:
    made = model()
    made.apply(Operation("alloc", (0, 2)))
    assert made.contents(0)[: 3 * PAGE] == bytes(2 * PAGE) + HOST
    made.apply(Operation("fill", (0, 0)))
    assert made.contents(0)[: 2 * PAGE] == application.pattern(1, 2 * PAGE)
    assert made.areas[0].unknown == set()
    made.apply(Operation("release", (0, 0)))
    assert made.areas[0].unknown == {0, 1}


def test_an_operation_that_is_none_is_told() -> None:
    for operation in (Operation("nonsense"), Operation("alloc", (1,)), Operation("contents", (0,))):
        with pytest.raises(ValueError, match=r"no operation|takes"):
            model().apply(operation)


def test_a_sequence_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = Found((Operation("alloc", (0, 3)), Operation("kill", (0,))), "6.1.0", "odd\nwords")
    assert read(found.write(tmp_path)) == found
    assert found.write(tmp_path).name == f"{found.name}.json"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "kernel": "", "difference": "", "operations": [%s]}',
    ],
)
@pytest.mark.parametrize("row", ['["x"]', '["alloc", 1]', '["alloc", 0, -1]', '["kill", "0"]'])
def test_what_is_no_sequence_is_told(tmp_path: Path, content: str, row: str) -> None:
    (tmp_path / "x.json").write_text(content.replace("%s", row))
    with pytest.raises(UserError, match="no sequence"):
        read(tmp_path / "x.json")


class LosesAPage:
    """A system that gives back one page less than a region has, unless it has only one."""

    def __call__(self, operations: Sequence[Operation]) -> None:
        made, lost = small(), False
        for operation in operations:
            own = made.regions[operation.numbers[0] % len(OPENERS)]
            sizes = [region.count for region in own]
            made.apply(operation)
            if operation.name == "release" and len(own) < len(sizes):
                lost |= sum(sizes) - sum(region.count for region in own) > 1
        if lost:
            raise JudgementError("a page is left")


@pytest.mark.slow("long sequences are made and shrunk")
def test_a_difference_is_shrunk_to_what_it_takes() -> None:
    found = explore(LosesAPage(), seconds=0, seed=7, examples=300, steps=20)
    assert found is not None
    assert effective(small(), found[0]) == (
        Operation("alloc", (0, 2)),
        Operation("release", (0, 0)),
    )
    assert "a page is left" in str(found[1])


def test_a_difference_that_is_not_to_be_shrunk_is_told_as_it_was_found() -> None:
    lengths: list[int] = []

    def run(operations: Sequence[Operation]) -> None:
        lengths.append(len(operations))
        if len(operations) > 3:
            raise JudgementError(f"differs after {len(operations)}")

    found = explore(run, seconds=0, seed=1, examples=30, steps=20, shorten=0)
    assert found is not None
    assert len(found[0]) > 3
    assert str(found[1]) == f"differs after {len(found[0])}"
    assert sum(length > 3 for length in lengths) <= 4, "and once more, to be sure"


@pytest.mark.parametrize("then", [None, HarnessError("no memory")])
def test_a_difference_that_does_not_come_again_is_told(then: HarnessError | None) -> None:
    calls = 0

    def run(operations: Sequence[Operation]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise JudgementError("differs")
        if then is not None:
            raise then

    if then is None:
        found = explore(run, seconds=0, seed=1)
        assert found is not None
        assert str(found[1]) == "differs"
    else:
        with pytest.raises(HarnessError, match="no memory"):
            explore(run, seconds=0, seed=1)


def test_what_is_not_needed_is_taken_out_also_where_it_needs_another() -> None:
    def run(operations: Sequence[Operation]) -> None:
        names = [operation.name for operation in operations]
        # A fill is possible only after an alloc; neither is needed.
        if "kill" in names and ("alloc" in names or "fill" not in names):
            raise JudgementError(f"differs after {len(names)}")

    words = ["look", "alloc", "look", "fill", "look", "kill", "look"]
    sequence = [Operation(word, (0, 0)) for word in words]
    found, error = minimised(run, sequence, JudgementError("differs"))
    assert [operation.name for operation in found] == ["kill"]
    assert str(error) == "differs after 1"
    assert minimised(run, sequence, JudgementError("as it was"), 0)[0] == tuple(sequence)


def test_no_difference_is_none() -> None:
    seen: list[Sequence[Operation]] = []
    assert explore(seen.append, seconds=0, seed=1, examples=30, steps=20) is None
    assert len(seen) >= 30


def test_each_operation_is_offered_and_what_costs_much_least_of_all() -> None:
    # By the rules: what is drawn depends on all modules that are loaded, whatever the seed.
    rules = [name.rpartition("_")[0] for name in vars(machine_of(lambda _: None, []))]
    offered = Counter(name for name in rules if name in OPERATIONS)
    assert offered.keys() == OPERATIONS.keys()
    assert {name for name, often in offered.items() if often == 1} == {"pressure"}


def test_the_host_s_trouble_is_not_shrunk() -> None:
    calls = 0

    def run(operations: Sequence[Operation]) -> None:
        nonlocal calls
        calls += 1
        raise HarnessError("no memory")

    with pytest.raises(HarnessError, match="no memory"):
        explore(run, seconds=0, seed=1)
    assert calls == 1


def test_the_guards_are_reserved(tmp_path: Path) -> None:
    tree = fdt.FDT()
    tree.set_property("#address-cells", 1, path="/reserved-memory")
    made = guarded(tree.to_dtb(version=17), [AddressRange(0x6A000000, 0x6A100000)])
    node = fdt.parse_dtb(made).get_node("/reserved-memory/guard@6a000000")
    assert list(node.get_property("reg")) == [0x6A000000, 0x100000]
    assert node.exist_property("no-map")


def test_sequences_are_small_files(tmp_path: Path) -> None:
    path = Found((Operation("look", (1,)),)).write(tmp_path)
    assert json.loads(path.read_text())["operations"] == [["look", 1]]
