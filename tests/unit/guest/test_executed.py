# SPDX-License-Identifier: MIT
"""Where the driver is in a guest is asked for only where what is known does not explain all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.guest import executed
from harness.imageset.symtab import Functions
from harness.machine.errors import MachineError

TEXT, INIT = 0x7F000000, 0x7F005000
LOG = b"".join(b"0x%08x:  e1a00000  nop\n" % address for address in (0x80101000, TEXT + 4, INIT))


class Asked:
    """A machine that says where a driver of two functions is."""

    def __init__(self, known: dict[str, int], boot_trace: Path) -> None:
        self.asked = 0
        self.module_sections = known
        self.config = SimpleNamespace(
            images=SimpleNamespace(module=Path("cma.ko"), vmlinux=None), trace=("mm/cma.c",)
        )
        self.listens = True
        self.channel = self
        self.boot_trace = boot_trace

    def get_many(self, patterns: list[str], timeout: float) -> dict[str, bytes]:
        self.asked += 1
        there = {".text": TEXT, ".init.text": INIT}
        return {f"/sys/module/cma/sections/{n}": b"0x%x\n" % base for n, base in there.items()}


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with a function of 64 bytes in each of its sections."""
    one = {name: Functions((0,), (64,), (name,)) for name in (".text", ".init.text")}
    monkeypatch.setattr(executed, "module_functions", lambda module: one)
    monkeypatch.setattr(executed, "_driver_tables", lambda module: {})


def ask(known: dict[str, int], place: Path) -> Asked:
    """The machine when it was asked what its boot executed."""
    (place / "trace.log").write_bytes(LOG)
    machine: Any = Asked(known, place / "trace.log")
    executed.executed_at_boot(machine)
    assert isinstance(machine, Asked)
    return machine


def test_a_driver_whose_place_is_known_is_not_asked_for(tmp_path: Path) -> None:
    assert ask({".text": TEXT, ".init.text": INIT}, tmp_path).asked == 0


def test_a_boot_whose_record_is_gone_is_no_boot_that_executed_nothing(tmp_path: Path) -> None:
    machine: Any = Asked({}, tmp_path / "trace.log")
    with pytest.raises(MachineError, match="what the boot executed cannot be read"):
        executed.executed_at_boot(machine)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {".text": TEXT},
        {".text": TEXT, ".init.text": INIT + 64},
        {".text": TEXT - 64, ".init.text": INIT},
    ],
    ids=["nothing", "a-part", "too-high", "too-low"],
)
def test_a_driver_that_was_loaded_elsewhere_meanwhile_is_asked_for(
    known: dict[str, int], tmp_path: Path
) -> None:
    machine = ask(known, tmp_path)
    assert machine.asked == 1
    assert machine.module_sections == {".text": TEXT, ".init.text": INIT}
