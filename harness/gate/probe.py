# SPDX-License-Identifier: MIT
"""One deterministic boot of a system: its transcript, its memory map, and its figures.

With ``-icount`` (QEMU, ``docs/devel/tcg-icount.rst``) the guest's clock counts its instructions, so
two boots of one kernel print the same, and what differs between two kernels is theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from harness.board import DEFAULT_MEMORY
from harness.errors import HarnessError
from harness.gate.result import Area, Measurement
from harness.guest.guest import DEVICE, Guest
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.crash import STAMP
from harness.machine.machine import BOOT_TIMEOUT, Machine

CYCLES = {"one page": (4096, 300), "1 MiB": (1 << 20, 50)}
"""What is allocated and at once released while time is taken: bytes, and how often."""
SETTLED = 40
"""Seconds of the guest's after which the kernel has said what it says late: probes that were put
off (10 s), regulators and clocks that nobody uses (30 s). Else the host's load decides whether it
has, since the guest's clock leaps while the guest waits.
"""
WARNING_LEVEL = 4
"""``KERN_WARNING`` (include/linux/kern_levels.h): this and below is worth a finding."""
_MOST_LINES, _WIDEST, _MOST_CHANGES = 4000, 400, 1000
"""Lines of a transcript that are compared, characters of each, lines of what comes of it."""
_INIT = re.compile(r"Run \S+ as init process")
_NONCE = re.compile(r" harness\.nonce=\w+")
_MARK = "harness: "
_RECORD = re.compile(r"^<(\d+)>\[ *(\d+)\.(\d{6})\] (.*)$")


@dataclasses.dataclass(frozen=True)
class Probe:
    """What one boot gives."""

    transcript: tuple[str, ...]
    """The kernel's log up to init, with its time stamps."""
    warnings: tuple[str, ...]
    """Its messages of `WARNING_LEVEL` and more severe, up to `SETTLED`."""
    boot_ms: float
    """The guest's time at which init was started."""
    cycle_us: dict[str, float]
    """Guest's microseconds of one allocation and its release, by the size's name."""
    areas: tuple[Area, ...]


def probe(
    images: ImageSet,
    directory: Path,
    timeout: float = BOOT_TIMEOUT,
    memory_mib: int = DEFAULT_MEMORY,
) -> Probe:
    """Boots `images`, loads the driver, allocates, and reads what there is to compare.

    Raises the machine's crash or end; its transcript is in `directory` then too.
    """
    config = MachineConfig(images, memory_mib, icount=True)
    with Machine(config, directory) as machine:
        machine.start()
        machine.open(timeout)
        guest = Guest(machine)
        areas = _areas(guest)
        guest.insmod()
        for name in CYCLES:
            guest.run(_timed(guest.app_path(), name), timeout)
        # An idle guest's clock leaps: this costs no time.
        guest.run(f"sleep {SETTLED}", timeout)
        records = _records(guest.run(f"dmesg -r -s {1 << 20}").text)
        machine.settle()
        log = machine.log.text().splitlines()
    return Probe(
        tuple(_until_init(log)),
        tuple(text for level, _, text in records if level <= WARNING_LEVEL),
        _time(records, _INIT) / 1e3,
        {name: _cycle(records, name) for name in CYCLES},
        areas,
    )


def _timed(app: str, name: str) -> str:
    """A shell command that allocates between two messages in the kernel's log.

    One command: where the guest waits for the host, its clock leaps.
    """
    begin, end = (f"echo '<6>{_MARK}{name} {what}' >/dev/kmsg" for what in ("begins", "ends"))
    size, times = CYCLES[name]
    # The first page is held: the kernel takes another path where an area is all free.
    commands = f"alloc 4096\\nrepeat {times} cycle {size}\\n"
    return f"{begin}; printf '{commands}' | {app} --script --device {DEVICE}; {end}"


def _areas(guest: Guest) -> tuple[Area, ...]:
    areas = guest.memory_map().areas
    return tuple(Area(area.name, area.range) for area in areas)


def _records(text: str) -> list[tuple[int, int, str]]:
    """Level, microseconds and text of each message, as syslog(2) gives them."""
    return [
        (int(match[1]) & 7, int(match[2]) * 1_000_000 + int(match[3]), match[4])
        for match in map(_RECORD.match, text.splitlines())
        if match
    ]


def _time(records: Sequence[tuple[int, int, str]], pattern: re.Pattern[str]) -> float:
    for _, microseconds, text in records:
        if pattern.search(text):
            return float(microseconds)
    raise HarnessError(f"the kernel's log has no message that matches {pattern.pattern!r}")


def _cycle(records: Sequence[tuple[int, int, str]], name: str) -> float:
    begin, end = (
        _time(records, re.compile(re.escape(f"{_MARK}{name} {what}")))
        for what in ("begins", "ends")
    )
    return (end - begin) / CYCLES[name][1]


def _until_init(log: Sequence[str]) -> list[str]:
    lines = []
    for line in log:
        lines.append(_NONCE.sub("", line.rstrip("\r")))
        if _INIT.search(line):
            break
    return lines


def difference(base: Probe, patched: Probe) -> tuple[str, ...]:
    """Unified diff of the transcripts. Lines that differ in nothing but their time are the same.

    Of a kernel that prints without end it has the beginning.
    """
    before, after = (
        [_unstamped(line)[:_WIDEST] for line in p.transcript[:_MOST_LINES]] for p in (base, patched)
    )
    found = difflib.unified_diff(before, after, "base", "patched", n=1, lineterm="")
    return tuple(itertools.islice(found, _MOST_CHANGES))


def _unstamped(line: str) -> str:
    return STAMP.sub("", line)


def new_warnings(base: Probe, patched: Probe) -> tuple[list[str], list[str]]:
    """Messages of the kernel's that are new, and those that are gone; numbers may differ."""

    def shape(text: str) -> str:
        return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "#", text)

    before, after = ({shape(text) for text in p.warnings} for p in (base, patched))
    new = [text for text in patched.warnings if shape(text) not in before]
    gone = [text for text in base.warnings if shape(text) not in after]
    return list(dict.fromkeys(new)), list(dict.fromkeys(gone))


def measures(
    base: tuple[Probe, ImageSet],
    patched: tuple[Probe, ImageSet],
    boot_limit: float,
    latency_limit: float,
) -> tuple[Measurement, ...]:
    """The figures of two systems side by side; the limits are ratios."""
    (one, before), (two, after) = base, patched
    found = [Measurement("boot", "ms", one.boot_ms, two.boot_ms, boot_limit)]
    for name in CYCLES:
        figures = one.cycle_us[name], two.cycle_us[name]
        found.append(Measurement(f"latency: {name}", "us", *figures, latency_limit))
    sizes = before.kernel.stat().st_size, after.kernel.stat().st_size
    found.append(Measurement("kernel image (zImage)", "bytes", *sizes))
    if before.vmlinux and after.vmlinux:
        with contextlib.suppress(Exception):  # elftools has no one error for what is no ELF file
            texts = text_bytes(before.vmlinux), text_bytes(after.vmlinux)
            found.append(Measurement("kernel code (.text)", "bytes", *texts))
    return tuple(found)


def text_bytes(vmlinux: Path) -> int:
    """Bytes of machine code of a kernel."""
    with vmlinux.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        return int(section["sh_size"]) if section is not None else 0
