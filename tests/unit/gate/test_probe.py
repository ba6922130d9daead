# SPDX-License-Identifier: MIT
"""What is read from one boot, and compared between two."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.gate import probe as module
from harness.gate.probe import Probe, difference, measures, new_warnings
from harness.imageset.model import ImageSet

RAW = """\
<6>[    0.000000] Booting Linux on physical CPU 0x0
<4>[    0.012345] a warning
<30>[    1.000000] a daemon's
no record
<6>[    1.558755] Run /sbin/init as init process
<6>[    2.000000] harness: one page begins
<6>[    2.210000] harness: one page ends
"""
PROBE = Probe(
    ("[    0.000001] one 17",), ("a 17",), 1000.0, {"one page": 700.0, "1 MiB": 9000.0}, ()
)


def test_the_kernel_s_records() -> None:
    records = module._records(RAW)
    assert records[1] == (4, 12345, "a warning")
    assert records[2][0] == 6, "the facility is no part of the level"
    assert len(records) == 6
    assert module._time(records, module._INIT) == 1558755
    assert module._cycle(records, "one page") == pytest.approx(700.0)


def test_a_log_without_the_message_is_told() -> None:
    with pytest.raises(HarnessError, match="no message that matches"):
        module._cycle(module._records(RAW), "1 MiB")


def test_the_transcript_ends_with_init_and_has_no_word_of_the_machine_s() -> None:
    log = [
        "[    0.000000] Kernel command line: console=ttyAMA0 harness.nonce=0a1b2c3d",
        "[    1.558755] Run /sbin/init as init process\r",
        "Please press Enter",
    ]
    assert module._until_init(log) == [
        "[    0.000000] Kernel command line: console=ttyAMA0",
        "[    1.558755] Run /sbin/init as init process",
    ]


def test_lines_that_differ_in_their_time_are_the_same() -> None:
    other = dataclasses.replace(PROBE, transcript=("[    0.000009] one 17", "[    0.1] two"))
    assert difference(PROBE, PROBE) == ()
    assert [line for line in difference(PROBE, other) if line[0] in "+-"][2:] == ["+[    0.1] two"]


def test_a_warning_is_new_by_its_words_not_by_its_numbers() -> None:
    other = dataclasses.replace(PROBE, warnings=("a 18", "b", "b"))
    assert new_warnings(PROBE, other) == (["b"], [])
    assert new_warnings(other, PROBE) == ([], ["b"])


def test_figures_and_their_limits(tmp_path: Path) -> None:
    sets = []
    for name, size in (("a", 100), ("b", 200)):
        kernel = tmp_path / name
        kernel.write_bytes(bytes(size))
        sets.append(ImageSet(kernel, kernel, vmlinux=kernel))
    slow = dataclasses.replace(PROBE, boot_ms=1300.0, cycle_us={"one page": 700.0, "1 MiB": 9001.0})
    found = {m.name: m for m in measures((PROBE, sets[0]), (slow, sets[1]), 1.25, 1.5)}
    assert found["boot"].regressed
    assert not found["latency: 1 MiB"].regressed
    image = found["kernel image (zImage)"]
    assert (image.base, image.patched, image.regressed) == (100, 200, False)
    assert "kernel code (.text)" not in found, "what is no ELF has none"
