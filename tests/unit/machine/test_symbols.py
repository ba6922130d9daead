# SPDX-License-Identifier: MIT
"""Names for addresses in a trace, from the kernel's own map."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.symbols import Symbols

MAP = """\
80008000 T _text
80100000 T cma_alloc
80100400 t cma_clear_bitmap
80200000 D some_data
80300000 T last_function
"""


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    path = tmp_path / "System.map"
    path.write_text(MAP)
    return Symbols(path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x80100000, "cma_alloc+0x0"),
        (0x801003FF, "cma_alloc+0x3ff"),
        (0x80100400, "cma_clear_bitmap+0x0"),
        (0x80007FFF, None),
        (0x90000000, None),
    ],
)
def test_an_address_is_named_by_the_symbol_below_it(
    symbols: Symbols, address: int, name: str | None
) -> None:
    assert symbols.name(address) == name


def test_bare_addresses_of_a_trace_get_their_names(symbols: Symbols) -> None:
    trace = "[    1.0] PC is at 0x0\n[    1.0] [<80100404>] from [<80100010>]\n[    1.0] end"
    lines = symbols.symbolise(trace).splitlines()
    assert lines[2] == ("    = 80100404 cma_clear_bitmap+0x4; 80100010 cma_alloc+0x10")
    assert [lines[0], lines[1], lines[3]] == trace.splitlines()


def test_what_the_kernel_has_named_itself_is_not_named_again(symbols: Symbols) -> None:
    trace = "[<80100404>] (cma_clear_bitmap) from [<80100010>] (cma_alloc+0x10/0x400)"
    assert symbols.symbolise(trace) == trace


def test_without_a_map_a_trace_stays_as_it_is() -> None:
    assert Symbols().symbolise("[<80100404>] from nowhere") == "[<80100404>] from nowhere"
