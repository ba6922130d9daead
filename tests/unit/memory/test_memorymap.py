# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, JudgementError, Verdict
from harness.memory import (
    Absent,
    AddressRange,
    AmbiguousArea,
    AreaNotCreated,
    AreaOutsideRam,
    AreasOverlap,
    CannotPlace,
    CmaArea,
    Coverage,
    Exists,
    Failure,
    Reading,
    Windowed,
    WitnessDisagreement,
    debugfs_reading,
    parse_debugfs,
    parse_dmesg,
    parse_iomem,
    read_command_line,
    read_live_tree,
    reconcile,
)
from tests.unit.memory.builders import (
    AREA,
    MIB,
    NAMES,
    all_witnesses,
    based,
    capture,
    dtb,
    files_of,
    live_tree,
    observed,
    placed,
    places,
    quick,
)

BOTH = [
    CmaArea("linux,cma", AddressRange.from_size(0x69000000, 8 * MIB)),
    CmaArea("BiscuitOS_cma", AREA),
]


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_all_witnesses_of_a_patched_kernel_agree(version: str) -> None:
    memory_map = reconcile([dtb(), *all_witnesses(version)], require=NAMES, features=["iomem-cma"])
    assert [CmaArea(a.name, a.range) for a in memory_map.areas] == BOTH
    assert memory_map.area("BiscuitOS_cma").witnesses == (
        "device tree",
        "live device tree",
        "dmesg",
        "iomem",
        "debugfs",
        "sysfs",
    )
    assert memory_map.ram == (AddressRange(0x60000000, 0x80000000),)
    assert memory_map.ram_source == "/proc/iomem"
    assert memory_map.unplaced == ()


def test_5_0_without_debugfs_is_placed_by_the_exact_window_and_the_log() -> None:
    memory_map = reconcile(
        [
            dtb(),
            parse_dmesg(capture("5.0", "dmesg")).reading(),
            parse_iomem(capture("5.0", "iomem")).reading(lists_cma=False, names=NAMES),
            Absent("debugfs", "not in this kernel"),
        ],
        require=NAMES,
    )
    assert [CmaArea(a.name, a.range) for a in memory_map.areas] == BOTH
    assert memory_map.area("BiscuitOS_cma").witnesses == ("device tree", "dmesg")
    assert memory_map.absent == (Absent("debugfs", "not in this kernel"),)


def test_5_0_debugfs_with_its_cut_names_agrees() -> None:
    debugfs = parse_debugfs(files_of(capture("5.0", "debugfs")), known_names=NAMES)
    log = parse_dmesg(capture("5.0", "dmesg")).reading()
    memory_map = reconcile([dtb(), log, debugfs_reading(debugfs)], require=NAMES)
    assert memory_map.area("BiscuitOS_cma").witnesses == ("device tree", "dmesg", "debugfs")


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_what_the_kernel_refused_is_off_the_map_with_its_words(version: str) -> None:
    witnesses = all_witnesses(f"{version}-layout")
    memory_map = reconcile(witnesses, require=["wide"], features=["iomem-cma"])
    assert places(memory_map) == {
        "linux,cma": "0x69000000-0x697fffff",
        "BiscuitOS_cma": "0x69800000-0x69ffffff",
        "foo@6c000000": "0x6c000000-0x6c3fffff",
        "wide": "0x73800000-0x73bfffff",
    }
    assert "faraway" in {item.name for item in memory_map.unplaced}
    with pytest.raises(AreaNotCreated, match="failed to allocate memory for node 'faraway'"):
        reconcile(witnesses, require=["faraway"])
    with pytest.raises(AreaNotCreated, match="not listed by dmesg"):
        memory_map.area("faraway")


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_the_command_lines_area_is_on_the_map_and_the_bypassed_one_is_not(version: str) -> None:
    witnesses = all_witnesses(f"{version}-cmdline")
    memory_map = reconcile(witnesses, require=["reserved"], features=["iomem-cma"])
    assert places(memory_map) == {
        "BiscuitOS_cma": "0x69800000-0x69ffffff",
        "reserved": "0x7f000000-0x7fffffff",
    }
    assert "command line" in memory_map.area("reserved").witnesses
    with pytest.raises(AreaNotCreated, match="bypass linux,cma node"):
        reconcile(witnesses, require=["linux,cma"])


def test_command_line_and_log_alone_place_the_default_area() -> None:
    log = parse_dmesg(capture("6.1-cmdline", "dmesg")).reading()
    command_line = read_command_line(capture("6.1-cmdline", "cmdline"))
    assert command_line is not None
    memory_map = reconcile([dtb(), log, command_line], require=["reserved"])
    assert memory_map.area("reserved").range == AddressRange(0x7F000000, 0x80000000)
    # without the command line the size is only known rounded
    rounded = reconcile([dtb(), log])
    assert [a.exact for a in rounded.areas if a.name == "reserved"] == [False]
    with pytest.raises(CannotPlace, match="its size is rounded"):
        rounded.area("reserved")
    with pytest.raises(CannotPlace, match="no witness gives its exact range"):
        reconcile([dtb(), log], require=["reserved"])


def test_an_area_that_could_not_be_activated_is_not_created() -> None:
    line = "cma: CMA area BiscuitOS_cma could not be activated\n"
    log = parse_dmesg(capture("6.1", "dmesg") + line).reading()
    debugfs = observed(placed(0x69000000, name="linux,cma"), everything=True)
    memory_map = reconcile([dtb(), log, debugfs])
    assert list(places(memory_map)) == ["linux,cma"]
    with pytest.raises(AreaNotCreated, match="could not be activated"):
        reconcile([dtb(), log, debugfs], require=["BiscuitOS_cma"])


def test_a_declaration_alone_places_nothing() -> None:
    with pytest.raises(CannotPlace, match="no witness of the running kernel") as caught:
        reconcile([dtb(), Absent("dmesg", "lost")], require=["BiscuitOS_cma"])
    assert "dmesg: lost" in str(caught.value)
    assert caught.value.verdict is Verdict.INFRASTRUCTURE
    memory_map = reconcile([dtb()])
    with pytest.raises(CannotPlace, match="no witness of the running kernel"):
        memory_map.area("BiscuitOS_cma")
    assert memory_map.areas == ()
    assert {item.name for item in memory_map.unplaced} == set(NAMES)


def test_existence_and_a_wide_window_place_nothing_exactly() -> None:
    window = Windowed("a", MIB, (AddressRange(0x60000000, 0x70000000),), "board.dtb")
    declared = Reading("device tree", "board.dtb", Coverage.DECLARED, (window,))
    with pytest.raises(CannotPlace, match="no witness gives its exact range"):
        reconcile([declared, observed(Exists("a", "/sys/a"))], require=["a"])
    # with the base from the log, window and size are enough
    memory_map = reconcile([declared, observed(based(0x68000000, 1, "a"))], require=["a"])
    assert memory_map.area("a").range == AddressRange.from_size(0x68000000, MIB)


def test_an_area_nobody_knows_is_not_created() -> None:
    with pytest.raises(
        AreaNotCreated, match="not listed by dmesg, iomem, debugfs".replace(",", ".*")
    ):
        reconcile(all_witnesses("6.1"), require=["other"])
    with pytest.raises(AreaNotCreated, match="the areas are linux,cma"):
        reconcile(all_witnesses("6.1")).area("other")


def test_two_areas_of_one_name_are_ambiguous_only_where_it_matters() -> None:
    clash = observed(placed(), placed(0x70000000), placed(0x69000000, name="linux,cma"))
    with pytest.raises(AmbiguousArea, match="lists 2 CMA areas named BiscuitOS_cma"):
        reconcile([clash], require=["BiscuitOS_cma"])
    memory_map = reconcile([clash], require=["linux,cma"])
    assert [item.name for item in memory_map.unplaced] == ["BiscuitOS_cma"]


def test_overlapping_areas_are_named_with_what_they_share() -> None:
    other = placed(0x69C00000, name="other")
    with pytest.raises(AreasOverlap, match="overlap in 0x69c00000-0x69ffffff") as caught:
        reconcile([observed(placed(), other)])
    assert (caught.value.first.name, caught.value.second.name) == ("BiscuitOS_cma", "other")
    inside = placed(0x69900000, MIB, name="inside")
    with pytest.raises(AreasOverlap, match="overlap in 0x69900000-0x699fffff"):
        reconcile([observed(inside, placed())])
    assert reconcile([observed(placed(), placed(0x6A000000, name="next"))])


def test_an_area_must_be_in_ram() -> None:
    ram = Reading(
        "iomem", "/proc/iomem", Coverage.SOME, ram=(AddressRange(0x60000000, 0x69C00000),)
    )
    with pytest.raises(AreaOutsideRam, match="RAM is 0x60000000-0x69bfffff"):
        reconcile([observed(placed()), ram])
    touching = (AddressRange(0x60000000, 0x69C00000), AddressRange(0x69C00000, 0x70000000))
    assert reconcile(
        [observed(placed()), Reading("iomem", "/proc/iomem", Coverage.SOME, ram=touching)]
    )


def test_system_ram_must_be_in_what_the_live_tree_describes_and_the_blob_does_not_count() -> None:
    live = read_live_tree(live_tree("6.1")).reading()
    more = Reading(
        "iomem", "/proc/iomem", Coverage.SOME, ram=(AddressRange(0x60000000, 0xA0000000),)
    )
    with pytest.raises(WitnessDisagreement, match="System RAM"):
        reconcile([live, more])
    # a boot loader rewrites the memory node of the blob
    assert reconcile([dtb(), more]).ram == more.ram


def test_long_names_are_compared_as_the_kernel_keeps_them() -> None:
    long = "a" * 70
    readings = [observed(placed(name=long)), observed(placed(name="a" * 63), witness="dmesg")]
    assert len(reconcile(readings, require=[long]).areas) == 1


@quick
@given(
    st.lists(
        st.builds(
            Reading,
            st.sampled_from(["iomem", "dmesg", "device tree", "live device tree"]),
            st.just("source"),
            st.sampled_from(Coverage),
            st.lists(
                st.one_of(
                    st.builds(placed, st.integers(0, 9), st.integers(1, 9), st.sampled_from("ab")),
                    st.builds(based, st.integers(0, 9), st.integers(0, 2), st.sampled_from("ab")),
                    st.builds(Exists, st.sampled_from("ab"), st.just("x")),
                ),
                max_size=3,
            ).map(tuple),
            failures=st.lists(
                st.builds(Failure, st.sampled_from(["a", None]), st.text(), st.just("s")),
                max_size=1,
            ).map(tuple),
        ),
        max_size=4,
    ),
    st.sets(st.sampled_from("abc")),
)
def test_reconcile_raises_only_our_errors(readings: list[Reading], require: set[str]) -> None:
    try:
        memory_map = reconcile(readings, require=require, features=["iomem-cma"])
    except (JudgementError, HarnessError):
        return
    for name in require:
        assert memory_map.area(name).exact
