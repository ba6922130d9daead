# SPDX-License-Identifier: MIT
"""Names for addresses in a trace, from the kernel's own map."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.host import tool
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


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\n80100000 T cma_alloc\n",
        b"zz T x\n\n80\n80100000 T cma_alloc\n80100001\n",
        b"80100000 T cma_alloc \n" + b"9" * 100_000 + b" T huge\n",
    ],
)
def test_a_map_that_somebody_made_up_names_what_it_can(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "System.map"
    path.write_bytes(content)
    assert Symbols(path).name(0x80100004) == "cma_alloc+0x4"


@pytest.mark.parametrize("length", [0, 4, 40, 52, 200])
def test_a_cut_or_made_up_vmlinux_names_nothing(tmp_path: Path, length: int) -> None:
    path = tmp_path / "vmlinux"
    header = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00" + b"\xff" * 180
    path.write_bytes(header[:length])
    symbols = Symbols(vmlinux=path)
    assert symbols.name(0x80100004) is None
    assert symbols.lines([0x80100004]) == {}


def test_binutils_run_confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "bin" / "arm-linux-gnueabihf-addr2line"
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(b"kernel")
    given: list[list[Path]] = []

    def run(command: list[str], readable: list[Path], seconds: float) -> object:
        given.append(readable)
        return subprocess.CompletedProcess(command, 0, b"mm/cma.c:1\n", b"")

    monkeypatch.setattr(tool, "run", run)
    symbols = Symbols(vmlinux=vmlinux)
    monkeypatch.setattr(Symbols, "_addr2line", [str(spy), "-e", str(vmlinux)])
    assert symbols.lines([0x80100004]) == {0x80100004: "mm/cma.c:1"}
    assert given == [[vmlinux]]
