# SPDX-License-Identifier: MIT
"""The program that stirs a restored guest's randomness: its code, and what its failure means."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from harness.machine import stirrer
from harness.machine.channel import CommandResult
from harness.machine.shell import ShellChannel

SOURCE = """\
.arm
mov r0, #0
ldr r1, add
adr r2, pool
mov r7, #54
svc 0
cmp r0, #0
bne exit
ldr r1, reseed
svc 0
exit: mov r7, #1
svc 0
add: .word 0x40085203
reseed: .word 0x5207
pool:
"""
FRESH = bytes(range(64))


def test_the_code_is_what_an_assembler_makes_of_its_source(tmp_path: Path) -> None:
    source, output, code = (tmp_path / name for name in ("stir.s", "stir.o", "stir.bin"))
    source.write_text(SOURCE)
    subprocess.run(["arm-linux-gnueabihf-as", "-o", output, source], check=True)
    copy = ["arm-linux-gnueabihf-objcopy", "-O", "binary", "-j", ".text"]
    subprocess.run([*copy, output, code], check=True)
    assert code.read_bytes() == struct.pack(f"<{len(stirrer.CODE)}I", *stirrer.CODE)


def test_an_elf_reader_finds_one_segment_that_holds_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "stir"
    file.write_bytes(stirrer.program(FRESH))
    said = subprocess.run(
        ["arm-linux-gnueabihf-readelf", "-hl", file], check=True, capture_output=True, text=True
    )
    assert said.stderr == ""
    assert "Version5 EABI" in said.stdout
    assert f"Entry point address:               {stirrer.BASE + 84:#x}" in said.stdout
    size = f"{file.stat().st_size:#07x}"
    loads = [line.split() for line in said.stdout.splitlines() if "LOAD" in line]
    assert loads == [
        ["LOAD", "0x000000", "0x00010000", "0x00010000", size, size, "R", "E", "0x1000"]
    ]
    assert file.read_bytes().endswith(struct.pack("<2i", 512, 64) + FRESH)


@pytest.mark.parametrize(("status", "stirred"), [(0, True), (1, False), (126, False), (195, False)])
def test_a_guest_where_it_fails_is_known_to_have_no_fresh_randomness(
    status: int, stirred: bool
) -> None:
    asked: list[str] = []

    class Channel(ShellChannel):
        def __init__(self) -> None:
            self.stirred = True

        def _run(self, command: str, timeout: float, lines: object = ()) -> CommandResult:
            asked.append(command)
            return CommandResult(command, b"", b"", status, 0.0)

    for _ in range(2):
        channel = Channel()
        channel.stir(1.0)
        assert channel.stirred is stirred
    assert asked[0] != asked[1], "each clone gets bytes of its own"


def test_the_line_gives_the_program_s_status_and_leaves_no_file(tmp_path: Path) -> None:
    """Of a host that runs no ARM program the shell's own error, else that of the request."""
    line = stirrer.command(FRESH).replace("/dev/urandom", "/dev/null")
    done = subprocess.run(["sh", "-c", f"_d={tmp_path}/h; {line}"], check=False)
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []
    gone = stirrer.command(FRESH).replace("/dev/urandom", "/dev/no-such")
    assert subprocess.run(["sh", "-c", gone], check=False).returncode == 0
