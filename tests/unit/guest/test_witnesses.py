# SPDX-License-Identifier: MIT
"""Which kernel log is a witness: the ring buffer, or the console where the buffer has wrapped."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from harness.guest.witnesses import Witnesses
from harness.imageset.model import ImageSet
from harness.machine.channel import Channel, CommandResult
from harness.memory.model import Absent, Reading
from tests.unit.memory.builders import capture

WRAPPED = "[  99.000000] the last line of many\n"


class Dmesg:
    """A guest whose ``dmesg`` prints this."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_many(self, _patterns: object, _timeout: float) -> dict[str, bytes]:
        return {}

    def run(self, command: str, _timeout: float) -> CommandResult:
        return CommandResult(command, self.text.encode(), b"", 0, 0.0)


def kernel_log(dmesg: str, console: str) -> Reading | Absent:
    images = ImageSet(Path("zImage"), Path("board.dtb"))
    return Witnesses(cast(Channel, Dmesg(dmesg)), images, lambda: console).kernel_log()


@pytest.mark.parametrize("version", ["5.0", "6.1"])
def test_a_buffer_that_has_wrapped_gives_way_to_the_console(version: str) -> None:
    boot = capture(version, "dmesg")
    console = boot.replace("\n", "\r\n") + "/ # " + WRAPPED
    from_buffer, from_console = kernel_log(boot, console), kernel_log(WRAPPED, console)
    assert isinstance(from_buffer, Reading)
    assert isinstance(from_console, Reading)
    assert (from_buffer.source, from_console.source) == ("dmesg", "console")
    assert {c.name for c in from_console.claims} == {c.name for c in from_buffer.claims}


def test_where_neither_reaches_back_there_is_no_log() -> None:
    absent = kernel_log(WRAPPED, WRAPPED)
    assert isinstance(absent, Absent)
    assert "loglevel=8" in absent.reason
