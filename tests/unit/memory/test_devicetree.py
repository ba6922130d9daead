# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.memory import (
    AddressRange,
    AreaNotCreated,
    AreaNotInDeviceTree,
    DeviceTreeError,
    MalformedDeviceTree,
    NoReservedMemory,
    NotADeviceTree,
    Placed,
    TruncatedDeviceTree,
    Windowed,
    parse_dmesg,
    read_dtb,
    read_live_tree,
    reconcile,
)
from tests.unit.memory.builders import BISCUITOS, MIB, Declared, build_dtb, live_tree, quick

BLOB = build_dtb(BISCUITOS)


def test_biscuitos_tree_gives_two_areas_with_windows_and_no_vram() -> None:
    tree = read_dtb(BLOB, "board.dtb")
    assert [node.name for node in tree.cma_nodes] == ["linux,cma", "BiscuitOS_cma"]
    area = tree.area("BiscuitOS_cma")
    assert area.size == 8 * MIB
    assert area.windows == (AddressRange(0x69800000, 0x6A000000),)
    assert tree.area("linux,cma").cma_default
    assert not area.cma_default
    assert tree.memory == (AddressRange(0x60000000, 0x80000000),)
    reading = tree.reading()
    assert not reading.observes
    claim = next(claim for claim in reading.claims if claim.name == "BiscuitOS_cma")
    assert isinstance(claim, Windowed)
    assert claim.pinned == AddressRange(0x69800000, 0x6A000000)
    assert claim.source == "board.dtb /reserved-memory/BiscuitOS_cma"


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_live_tree_of_a_guest_says_the_same_as_the_blob(version: str) -> None:
    live, blob = read_live_tree(live_tree(version)), read_dtb(BLOB)
    assert {c.name: str(c) for c in live.reading().claims} == {
        c.name: str(c) for c in blob.reading().claims
    }
    assert live.memory == blob.memory
    assert live.reading().witness == "live device tree"


def test_layout_of_a_6_1_guest_is_read_as_that_kernel_read_it() -> None:
    tree = read_live_tree(live_tree("6.1-layout"))
    claims = {claim.name: claim for claim in tree.reading().claims}
    foo = claims["foo@6c000000"]
    assert isinstance(foo, Placed)
    assert foo.range == AddressRange(0x6C000000, 0x6C400000)  # the first of two tuples
    assert "off@6f000000" not in claims
    wide = claims["wide"]
    assert isinstance(wide, Windowed)
    assert len(wide.windows) == 2
    assert wide.pinned is None
    assert tree.area("wide").alignment == 8 * MIB
    failures = {failure.area: failure.text for failure in tree.reading().failures}
    assert "alignment has 8 bytes" in failures["twocell"]
    assert "neither reg nor size" in failures["nosize"]
    with pytest.raises(MalformedDeviceTree, match="alignment has 8 bytes"):
        tree.area("twocell")
    with pytest.raises(AreaNotInDeviceTree, match="it is disabled"):
        tree.area("off@6f000000")


def test_an_area_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(AreaNotInDeviceTree, match=r"no CMA area other.*linux,cma, BiscuitOS_cma"):
        read_dtb(BLOB).area("other")
    with pytest.raises(AreaNotInDeviceTree, match="it is not reusable, it is no-map") as caught:
        read_dtb(BLOB).area("vram@4c000000")
    assert isinstance(caught.value, UserError)
    assert caught.value.present == ("linux,cma", "BiscuitOS_cma")


def test_the_unit_address_is_part_of_the_name() -> None:
    tree = read_dtb(build_dtb([Declared("foo@6c000000", reg=((0x6C000000, MIB),))]))
    assert tree.area("foo@6c000000").base_name == "foo"
    with pytest.raises(AreaNotInDeviceTree, match="ask for foo@6c000000"):
        tree.area("foo")


@pytest.mark.parametrize(
    ("status", "is_cma"), [("okay", True), ("ok", True), ("disabled", False), ("fail", False)]
)
def test_only_ok_and_okay_nodes_are_areas(status: str, is_cma: bool) -> None:
    tree = read_dtb(build_dtb([Declared("a", size=MIB, status=status)]))
    assert [node.name for node in tree.cma_nodes] == ["a"] * is_cma


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"\x7fELF\x01\x01\x01" + bytes(60), "an ELF file"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
        (b"/dts-v1/;\n/ { };\n", "source text: compile it with `dtc"),
        (b"", "empty"),
        (b"hello, world", "text that begins"),
        (bytes(36) + b"\x18\x28\x6f\x01", "an ARM zImage"),
        (b"\xed\xfe\x0d\xd0" + bytes(60), "bytes swapped"),
        (bytes(60), "data that begins 00 00 00 00"),
    ],
)
def test_what_is_no_device_tree_is_said_by_name(blob: bytes, words: str) -> None:
    with pytest.raises(NotADeviceTree) as caught:
        read_dtb(blob, "x.dtb")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.dtb: ")


@pytest.mark.parametrize("kept", [5, 27, 40, len(BLOB) // 2, len(BLOB) - 1])
def test_a_cut_blob_is_truncated_whatever_is_left_of_it(kept: int) -> None:
    with pytest.raises(TruncatedDeviceTree):
        read_dtb(BLOB[:kept])


def test_bytes_after_the_blob_do_not_matter() -> None:
    assert read_dtb(BLOB + b"\xff" * 100) == read_dtb(BLOB)


def with_nops(blob: bytes) -> bytes:
    """The blob with a NOP tag before each token of its structure."""
    nop = struct.pack(">I", 4)
    header = list(struct.unpack_from(">10I", blob))
    start, strings, size = header[2], header[3], header[9]
    at, out = start, b""
    while at < start + size:
        (token,) = struct.unpack_from(">I", blob, at)
        if token == 1:
            end = (blob.index(b"\0", at + 4) + 4) & ~3
        elif token == 3:
            end = (at + 12 + struct.unpack_from(">I", blob, at + 4)[0] + 3) & ~3
        else:
            end = at + 4
        out += nop + blob[at:end]
        at = end
    texts = blob[strings : strings + header[8]]
    header[1], header[3], header[9] = start + len(out) + len(texts), start + len(out), len(out)
    return struct.pack(">10I", *header) + blob[40:start] + out + texts


def test_tags_that_say_nothing_are_passed_over() -> None:
    blob = with_nops(BLOB)
    assert len(blob) > len(BLOB)
    assert read_dtb(blob) == read_dtb(BLOB)


def test_a_property_that_was_made_nops_is_gone() -> None:
    """As fdt_nop_property() of a boot loader does to a status."""
    blob = build_dtb([Declared("a", size=MIB, status="disabled")])
    assert read_dtb(blob).cma_nodes == ()
    at = blob.index(b"disabled\0") - 12
    assert struct.unpack_from(">II", blob, at) == (3, 9)
    gone = blob[:at] + struct.pack(">I", 4) * 6 + blob[at + 24 :]
    assert [node.name for node in read_dtb(gone).cma_nodes] == ["a"]


def test_what_lies_beyond_the_size_in_the_header_is_not_read() -> None:
    blob = bytearray(BLOB)
    struct.pack_into(">I", blob, 4, len(BLOB) - 8)
    with pytest.raises(MalformedDeviceTree, match="structure of the device tree is damaged"):
        read_dtb(bytes(blob))


def test_no_reserved_memory_is_an_error_only_for_who_asks_for_an_area() -> None:
    tree = read_live_tree({"#address-cells": b"\0\0\0\1", "#size-cells": b"\0\0\0\1"})
    assert tree.reading().claims == ()
    with pytest.raises(NoReservedMemory, match="no /reserved-memory node"):
        tree.area("BiscuitOS_cma")


@pytest.mark.parametrize("missing", ["ranges", "#address-cells", "#size-cells"])
def test_a_reserved_memory_that_the_kernel_ignores_declares_nothing(missing: str) -> None:
    files = {p: raw for p, raw in live_tree("6.1").items() if p != f"reserved-memory/{missing}"}
    tree = read_live_tree(files)
    assert tree.reading().claims == ()
    assert {failure.area for failure in tree.reading().failures} == {"linux,cma", "BiscuitOS_cma"}
    with pytest.raises(NoReservedMemory, match=f"it has no {missing}"):
        tree.area("linux,cma")


def test_cells_that_differ_from_the_roots_are_ignored_by_the_kernel() -> None:
    files = live_tree("6.1") | {"reserved-memory/#size-cells": b"\0\0\0\2"}
    with pytest.raises(NoReservedMemory, match="are 1 and 2, and the root's 1 and 1"):
        read_live_tree(files).area("linux,cma")


@pytest.mark.parametrize("raw", [b"\0\0\0\3", b"\0\0\0\0", b"\1", b""])
def test_impossible_cell_counts_are_errors(raw: bytes) -> None:
    with pytest.raises(MalformedDeviceTree, match="#address-cells of /"):
        read_live_tree(live_tree("6.1") | {"#address-cells": raw})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": b"\0\0"}, "size has 2 bytes"),
        ({"size": bytes(4)}, "size is 0"),
        ({"alloc-ranges": bytes(5)}, "alloc-ranges has 5 bytes"),
        ({"alloc-ranges": b"\x60" + bytes(7)}, "tuple of size 0"),
        ({"alloc-ranges": b""}, "alloc-ranges is empty"),
        ({"reg": bytes(12)}, "reg has 12 bytes"),
        ({"reg": b""}, "reg is empty"),
        ({"reg": bytes(8)}, "reg has a tuple of size 0"),
    ],
)
def test_malformed_properties_spoil_their_own_area_only(
    change: dict[str, bytes], words: str
) -> None:
    changed = {f"reserved-memory/BiscuitOS_cma/{name}": raw for name, raw in change.items()}
    tree = read_live_tree(live_tree("6.1") | changed)
    with pytest.raises(MalformedDeviceTree, match=words):
        tree.area("BiscuitOS_cma")
    assert [claim.name for claim in tree.reading().claims] == ["linux,cma"]


@pytest.mark.parametrize(
    ("pairs", "windows"),
    [
        (((0, 0),), []),
        (((0x69000000, 0), (0x69800000, 0x800000)), [(0x69800000, 0x6A000000)]),
        (((0x69800000, 0x800000), (0, 0)), []),
    ],
)
def test_the_kernel_s_own_reading_of_an_empty_range(
    pairs: tuple[tuple[int, int], ...], windows: list[tuple[int, int]]
) -> None:
    """An end of 0 is none, and what cannot hold the area is passed over."""
    node = read_dtb(build_dtb([Declared("a", size=0x800000, windows=pairs)])).area("a")
    assert list(node.windows) == [AddressRange(*pair) for pair in windows]


def test_of_several_static_ranges_the_first_counts_even_if_others_are_empty() -> None:
    declared = Declared("a", reg=((0x69800000, 0x800000), (0x70000000, 0)))
    assert read_dtb(build_dtb([declared])).area("a").reg[0].start == 0x69800000


def test_compatible_is_compared_as_the_kernel_does() -> None:
    declared = Declared("a", size=0x800000, compatible="Shared-DMA-Pool")
    assert read_dtb(build_dtb([declared])).area("a").is_cma


def test_a_skipped_default_is_the_reason_for_each_node_that_says_so() -> None:
    both = [Declared(name, size=0x800000, flags=("reusable", "linux,cma-default")) for name in "ab"]
    reading = read_dtb(build_dtb(both)).reading()
    assert reading.default_areas == ("a", "b")
    words = 'OF: reserved mem: Skipping dt linux,cma-default for "cma=" kernel param.'
    log = parse_dmesg(f"Booting Linux on physical CPU 0x0\n{words}\n").reading()
    for name in "ab":
        with pytest.raises(AreaNotCreated, match="Skipping dt"):
            reconcile([reading, log], require=[name])


def test_reservations_are_those_of_this_blob() -> None:
    one = build_dtb([], reservations=((0x60000000, 0x1000), (0x70000000, 0x2000)))
    assert read_dtb(one).reservations == (
        AddressRange(0x60000000, 0x60001000),
        AddressRange(0x70000000, 0x70002000),
    )
    # the library keeps one list for all trees: a second reading must not see the first's
    assert read_dtb(BLOB).reservations == ()


def test_text_like_cells_are_numbers_all_the_same() -> None:
    """0x41424300 is "ABC" to the library, which guesses types."""
    tree = read_dtb(build_dtb([Declared("a", size=0x41424300)]))
    assert tree.area("a").size == 0x41424300


numbers = {1: st.integers(1, 2**32 - 1), 2: st.integers(1, 2**64 - 1)}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, list[Declared]]:
    address_cells, size_cells = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    pairs = st.tuples(numbers[address_cells], numbers[size_cells])
    names = draw(
        st.lists(
            st.from_regex(r"[A-Za-z_][A-Za-z0-9,._+-]{0,20}", fullmatch=True),
            unique=True,
            max_size=5,
        )
    )
    areas = []
    for name in names:
        static = draw(st.booleans())
        areas.append(
            Declared(
                name,
                size=None if static else draw(numbers[size_cells]),
                windows=() if static else tuple(draw(st.lists(pairs, max_size=3))),
                reg=tuple(draw(st.lists(pairs, min_size=1, max_size=3))) if static else (),
                alignment=draw(st.none() | numbers[address_cells]),
                flags=tuple(draw(st.sets(st.sampled_from(["reusable", "no-map"])))),
                compatible=draw(st.sampled_from(["shared-dma-pool", "other"])),
                status=draw(st.sampled_from([None, "okay", "disabled"])),
            )
        )
    return address_cells, size_cells, areas


@quick
@given(layouts())
def test_any_layout_is_read_back(layout: tuple[int, int, list[Declared]]) -> None:
    address_cells, size_cells, areas = layout
    memory = ((0x60000000, 0x20000000), (2 ** (32 * address_cells) - 4096, 4095))
    blob = build_dtb(areas, address_cells=address_cells, size_cells=size_cells, memory=memory)
    tree = read_dtb(blob)
    assert tree.memory == tuple(AddressRange.from_size(*bank) for bank in memory)
    assert tree.reserved is not None
    for declared, node in zip(areas, tree.reserved, strict=True):
        assert (node.name, node.size) == (declared.name, declared.size)
        assert node.alignment == declared.alignment
        assert node.windows == tuple(AddressRange.from_size(*pair) for pair in declared.windows)
        assert node.reg == tuple(AddressRange.from_size(*pair) for pair in declared.reg)
        assert node.problems == ()
        assert node.is_cma == (
            declared.compatible == "shared-dma-pool"
            and "reusable" in declared.flags
            and "no-map" not in declared.flags
            and declared.status != "disabled"
        )


@quick
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_errors(blob: bytes) -> None:
    for data in (blob, b"\xd0\x0d\xfe\xed" + blob):
        with pytest.raises(DeviceTreeError):
            read_dtb(data)


@quick
@given(st.integers(0, len(BLOB) * 8 - 1), st.integers(0, len(BLOB) * 8 - 1))
def test_flipped_bits_raise_only_our_errors(first: int, second: int) -> None:
    blob = bytearray(BLOB)
    for bit in (first, second):
        blob[bit // 8] ^= 1 << bit % 8
    try:
        tree = read_dtb(bytes(blob))
        for node in tree.reserved or ():
            assert node.why_not_cma() or tree.area(node.name) or True
        tree.reading()
    except DeviceTreeError:
        pass


def test_every_single_bit_of_the_header_may_be_flipped() -> None:
    for bit in range(40 * 8):
        blob = bytearray(BLOB)
        blob[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(DeviceTreeError):
            read_dtb(bytes(blob)).reading()


@quick
@given(st.dictionaries(st.text(max_size=30), st.binary(max_size=20), max_size=8))
def test_arbitrary_live_trees_raise_only_our_errors(files: dict[str, bytes]) -> None:
    try:
        read_live_tree(files).reading()
        read_live_tree(live_tree("6.1") | files).reading()
    except DeviceTreeError:
        pass


def test_an_old_format_is_refused_with_the_cure() -> None:
    blob = bytearray(BLOB)
    struct.pack_into(">II", blob, 20, 3, 1)
    with pytest.raises(MalformedDeviceTree, match="convert it with `dtc"):
        read_dtb(bytes(blob))


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")
def test_what_dtc_compiles_is_read(tmp_path: Path) -> None:
    source = tmp_path / "board.dts"
    source.write_text(
        "/dts-v1/; /memreserve/ 0x61000000 0x1000; / { #address-cells = <2>; #size-cells = <1>;"
        ' memory@0 { device_type = "memory"; reg = <0x1 0x60000000 0x20000000>; };'
        " reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges;"
        ' pool { compatible = "vendor,pool", "shared-dma-pool"; reusable; size = <0x400000>;'
        " alignment = <0 0x400000>; alloc-ranges = <1 0x61000000 0x800000>; }; }; };"
    )
    blob = subprocess.run(["dtc", "-q", source], check=True, capture_output=True).stdout
    tree = read_dtb(blob)
    assert tree.memory == (AddressRange.from_size(0x160000000, 0x20000000),)
    assert tree.reservations == (AddressRange.from_size(0x61000000, 0x1000),)
    node = tree.area("pool")
    assert (node.size, node.alignment) == (0x400000, 0x400000)
    assert node.windows == (AddressRange.from_size(0x161000000, 0x800000),)
