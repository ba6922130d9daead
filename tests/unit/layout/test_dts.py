# SPDX-License-Identifier: MIT
"""The device tree of a layout, read back by the harness's own reader."""

from __future__ import annotations

import shutil

import pytest

from harness.memory.devicetree import read_dtb
from tests.cma.layout import Area, Layout, layout_dtb
from tests.cma.layout.dts import _dtc
from tests.cma.layout.model import MIB, window

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="needs dtc")

BOARD = b"""/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    memory@60000000 { device_type = "memory"; reg = <0x60000000 0x20000000>; };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        vram@4c000000 { compatible = "shared-dma-pool"; reg = <0x4c000000 0x800000>; no-map; };
        linux,cma { compatible = "shared-dma-pool"; reusable; size = <0x800000>; };
    };
};
"""


def test_the_layout_s_areas_replace_the_board_s() -> None:
    board = _dtc(["-I", "dts", "-O", "dtb"], BOARD)
    wide = (*window(0x6A000000, 8 * MIB), *window(0x6C000000, 16 * MIB))
    areas = (
        Area("static", 4 * MIB, at=0x69000000, more=window(0x6E000000, 4 * MIB), default=True),
        Area("dynamic", windows=wide, alignment=8 * MIB),
        Area("off", enabled=False),
    )
    tree = read_dtb(layout_dtb(board, Layout("test", "", areas)))
    nodes = {node.name: node for node in tree.cma_nodes}
    assert set(nodes) == {"static", "dynamic"}
    assert nodes["static"].reg[0].start == 0x69000000
    assert nodes["dynamic"].windows == wide
    assert any(node.name.startswith("vram") for node in tree.reserved or ()), (
        "the board's own stays"
    )
