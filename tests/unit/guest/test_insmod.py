# SPDX-License-Identifier: MIT
"""A driver that does not load: whose fault that is."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, UserError
from harness.guest.guest import Guest
from harness.host.project import IMAGES
from harness.imageset.module import NO_WAY
from harness.machine.channel import CommandResult
from harness.machine.errors import CommandFailed


def guest_that_logs(log: str, monkeypatch: pytest.MonkeyPatch) -> Guest:
    def run(self: Guest, command: str, **options: Any) -> Any:
        if command.startswith("insmod"):
            raise CommandFailed("insmod: can't insert")
        return types.SimpleNamespace(text=log if "dmesg" in command else "6.1.192", status=0)

    monkeypatch.setattr(Guest, "run", run)
    monkeypatch.setattr(Guest, "release", lambda self: "6.1.192")
    monkeypatch.setattr(Guest, "module_path", lambda self: "/lib/cma.ko")
    images = types.SimpleNamespace(features=frozenset(), module=Path("cma.ko"))
    guest = Guest.__new__(Guest)
    guest.machine = types.SimpleNamespace(config=types.SimpleNamespace(images=images))  # type: ignore[assignment]
    return guest


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (f"CMA_demo: this kernel {NO_WAY}, and no node of the tree has one", UserError),
        ("CMA_demo CMA_demo.0: no CMA area is called BiscuitOS_cma", CommandFailed),
    ],
)
def test_a_kernel_that_has_no_way_for_a_driver_is_not_at_fault(
    monkeypatch: pytest.MonkeyPatch, log: str, expected: type[HarnessError]
) -> None:
    with pytest.raises(expected):
        guest_that_logs(log, monkeypatch).insmod()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("rmmod: can't unload module 'CMA_area_module_0': No such file or directory", UserError),
        ("rmmod: can't unload module 'CMA_area_module_0.0.1': Resource busy", CommandFailed),
    ],
)
def test_a_module_whose_name_the_guest_s_rmmod_cuts_is_not_at_fault(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: type[HarnessError]
) -> None:
    def run(self: Guest, command: str, **options: Any) -> CommandResult:
        return CommandResult(command, said.encode(), b"", 1, 0.1)

    guest = guest_that_logs("", monkeypatch)
    monkeypatch.setattr(Guest, "run", run)
    monkeypatch.setattr(Guest, "module_name", lambda self: "CMA_area_module_0.0.1")
    monkeypatch.setattr(Guest, "by_heap", False)
    with pytest.raises(expected):
        guest.rmmod()


def test_the_driver_says_so_in_these_words() -> None:
    assert NO_WAY in (IMAGES / "module" / "cma.c").read_text()
