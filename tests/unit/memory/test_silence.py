# SPDX-License-Identifier: MIT
"""What does not follow from a log that is not known to be whole, and what does from one that is."""

from __future__ import annotations

import pytest

from harness.memory import (
    AreaNotCreated,
    CannotPlace,
    Coverage,
    Exists,
    KernelLog,
    Reading,
    parse_dmesg,
    read_dtb,
    reconcile,
)
from harness.memory.wordings import FAILURES, HARMLESS
from tests.unit.memory.builders import BISCUITOS, build_dtb, capture

BOOT = "Booting Linux on physical CPU 0x0\n"
VERSION = "Linux version 5.0.0 (user@host) (gcc version 8.3.0) #1 SMP\n"
POOL = "Reserved memory: created CMA memory pool at 0x69000000, size 8 MiB\n"
NAME = "OF: reserved mem: initialized node linux,cma, compatible id shared-dma-pool\n"
OTHER = POOL.replace("0x69000000", "0x69800000") + NAME.replace("linux,cma", "BiscuitOS_cma")
LINE = "Kernel command line: console=ttyAMA0\n"
WHOLE = BOOT + VERSION + POOL + NAME + LINE


def dtb() -> Reading:
    return read_dtb(build_dtb(BISCUITOS), "board.dtb").reading()


def ask(log: KernelLog, area: str = "BiscuitOS_cma") -> None:
    reconcile([dtb(), log.reading()], require=[area])


def test_silence_of_a_whole_log_is_evidence() -> None:
    with pytest.raises(AreaNotCreated, match="not listed by dmesg"):
        ask(parse_dmesg(WHOLE))
    with pytest.raises(AreaNotCreated):
        ask(parse_dmesg(WHOLE, "console", console=True))
    memory_map = reconcile([dtb(), parse_dmesg(WHOLE).reading()])
    with pytest.raises(AreaNotCreated):
        memory_map.area("never heard of")


PARTIAL = {
    "dropped": BOOT + VERSION + POOL + NAME + "** 2 printk messages dropped **\n" + LINE,
    "one dropped": BOOT + POOL + NAME + "** 1 printk messages dropped ** \n",
    "dropped inline": BOOT + POOL + NAME + "** 7 printk messages dropped ** [    0.0] Zone ranges:",
    "newer words": BOOT + POOL + NAME + "** 3 messages dropped **\n" + LINE,
    "before the boot": "** 2 printk messages dropped **\n" + VERSION + POOL + NAME,
    "journald": BOOT + POOL + NAME + "systemd-journald[80]: Missed 12 kernel messages\n",
    "wrapped": POOL + NAME + LINE,
    "unknown words": BOOT + POOL + NAME + "cma: Area BiscuitOS_cma lives at 0x69800000\n",
    "unknown words of the tree": BOOT + POOL + NAME + "OF: reserved mem: node x went elsewhere\n",
    "unknown words on the default": BOOT + POOL + NAME + "dma: default of linux,cma is not taken\n",
    "words of 3.10": BOOT + POOL + NAME + "CMA: reserved 16 MiB at 2f000000\n",
    "words of another file": BOOT + POOL + NAME + "dma_contiguous_reserve: no room\n",
    "cut before its words": BOOT + POOL + NAME + "Reserved mem\n",
    "cut before a name": BOOT + POOL + NAME + "OF: reserved mem: init\n",
    "cut": BOOT + POOL + NAME + "Reserved memory: created CMA memo\n",
    "ranges": BOOT + POOL + NAME + "cma: Reserved 64 MiB in 2 ranges\n",
    "its own total": WHOLE
    + "Memory: 500000K/524288K available (1K kernel code, 16384K cma-reserved)",
}


@pytest.mark.parametrize("log", PARTIAL.values(), ids=PARTIAL)
def test_silence_of_a_partial_log_is_none(log: str) -> None:
    reading = parse_dmesg(log).reading()
    assert reading.coverage is Coverage.SOME
    assert reading.notes
    with pytest.raises(CannotPlace, match="dmesg is partial") as caught:
        ask(parse_dmesg(log))
    assert reading.notes[0] in str(caught.value)
    memory_map = reconcile([dtb(), reading])
    for area in ("BiscuitOS_cma", "never heard of"):
        with pytest.raises(CannotPlace):
            memory_map.area(area)


@pytest.mark.parametrize(
    "log",
    [
        BOOT + VERSION + POOL + NAME,  # it ends early
        WHOLE.replace("ttyAMA0", "ttyAMA0 quiet"),
        WHOLE.replace("ttyAMA0", "ttyAMA0 loglevel=6"),
        WHOLE.replace("ttyAMA0", "ttyAMA0 debug quiet"),
    ],
)
def test_silence_of_a_console_that_hides_lines_is_none(log: str) -> None:
    reading = parse_dmesg(log, "console", console=True).reading()
    assert reading.coverage is Coverage.SOME
    assert parse_dmesg(log).reading().coverage is Coverage.CREATED  # dmesg shows all of them


@pytest.mark.parametrize("words", ["loglevel=7", "quiet loglevel=8", "ignore_loglevel", "debug"])
def test_a_console_that_shows_all_is_whole(words: str) -> None:
    log = WHOLE.replace("ttyAMA0", f"ttyAMA0 {words}")
    assert parse_dmesg(log, console=True).reading().coverage is Coverage.CREATED


def test_a_name_after_missing_lines_is_not_given_to_the_pool_before_them() -> None:
    gap = "** 2 printk messages dropped **\n"
    log = parse_dmesg(BOOT + POOL + gap + NAME.replace("linux,cma", "BiscuitOS_cma"))
    assert [pool.name for pool in log.pools] == [None]
    assert log.damaged


def test_lines_that_are_missing_after_the_boot_do_not_matter() -> None:
    late = "Run /init as init process\n** 2 printk messages dropped **\ncma: loading out-of-tree\n"
    assert parse_dmesg(WHOLE + late).reading().coverage is Coverage.CREATED


@pytest.mark.parametrize(
    "line",
    [
        "cma: cma_alloc: linux,cma: alloc failed, req-size: 256 pages, ret: -16",
        "cma: cma_alloc: alloc failed, req-size: 2025 pages, ret: -12",
        "OF: reserved mem: fdt_scan_reserved_mem_reg_nodes() ignores 1 regions in node 'foo'",
        "OF: reserved mem: initialized node vram@4c000000, compatible id ramoops",
        "OF: reserved mem: 0x4c000000..0x4c7fffff (8192 KiB) nomap non-reusable vram@4c000000",
        "Reserved memory: created DMA memory pool at 0x4c000000, size 8 MiB",
        "OF: reserved mem: Reserved memory: No reserved-memory node in the DT",
        "OF: reserved mem: Reserved memory: node 'x' has 2 <base size> entries, only the first is"
        " used",
        'Unknown kernel command line parameters "cma_x=1", will be passed to user space.',
    ],
)
def test_lines_from_which_nothing_follows_leave_it_whole(line: str) -> None:
    assert parse_dmesg(BOOT + OTHER + line + "\n").reading().coverage is Coverage.CREATED


@pytest.mark.parametrize("version", ["5.0", "6.1", "6.1-cmdline", "6.1-layout", "6.12-layout"])
def test_logs_of_real_boots_are_whole(version: str) -> None:
    assert parse_dmesg(capture(version, "dmesg")).gaps == ()


# Wordings of other versions


@pytest.mark.parametrize(
    "line",
    [
        'OF: reserved mem: Skipping dt linux,cma-default for "cma=" kernel param.',
        'Skipping dt linux,cma-default node in favor for "cma=" kernel param.',
        "Reserved memory: bypass linux,cma node, using cmdline CMA params instead",
    ],
)
def test_the_reason_for_a_skipped_default_is_told_where_it_is_asked_for(line: str) -> None:
    log = parse_dmesg(BOOT + f"{line}\n" * 2 + OTHER + "cma: Reserved 32 MiB at 0x7e000000\n")
    assert log.reading().coverage is Coverage.CREATED
    with pytest.raises(AreaNotCreated, match="linux,cma") as caught:
        ask(log, "linux,cma")
    assert line[:30] in str(caught.value)
    with pytest.raises(AreaNotCreated) as caught:
        reconcile([dtb(), log.reading()]).area("linux,cma")
    assert line[:30] in str(caught.value)
    ask(log, "BiscuitOS_cma")


def test_a_skipped_default_in_a_partial_log_is_decisive_all_the_same() -> None:
    line = 'Skipping dt linux,cma-default node in favor for "cma=" kernel param.\n'
    log = parse_dmesg(BOOT + line + "** 9 printk messages dropped **\n")
    with pytest.raises(AreaNotCreated, match="Skipping"):
        ask(log, "linux,cma")
    with pytest.raises(CannotPlace):
        ask(log, "BiscuitOS_cma")


def test_the_words_of_4_4_are_read() -> None:
    log = parse_dmesg(
        BOOT
        + "Linux version 4.4.60 (user@host) (gcc) #5 SMP\n"
        + "Reserved memory: OVERLAP DETECTED!\n"
        + "BiscuitOS_cma (0x4b000000--0x4b060000) overlaps with x@4B (0x4b000000--0x50400000)\n"
        + OTHER.replace("OF: reserved mem", "Reserved memory")
    )
    assert [pool.name for pool in log.pools] == ["BiscuitOS_cma"]
    assert log.version == (4, 4)
    assert log.gaps == ()
    assert [failure.area for failure in log.failures] == ["BiscuitOS_cma"]
    ask(log)


def test_an_overlap_alone_does_not_say_that_the_area_is_not_there() -> None:
    log = parse_dmesg(
        "Reserved memory: OVERLAP DETECTED!\n"
        "BiscuitOS_cma (0x69800000--0x6a000000) overlaps with x@4B (0x69800000--0x6a000000)\n"
    )
    with pytest.raises(CannotPlace):
        ask(log)


def test_the_words_of_7_3_name_the_area() -> None:
    line = "OF: reserved mem: not enough space for all defined regions, skip 'BiscuitOS_cma'\n"
    log = parse_dmesg(BOOT + line)
    assert [failure.area for failure in log.failures] == ["BiscuitOS_cma"]
    with pytest.raises(AreaNotCreated, match="not enough space"):
        ask(log)


def test_a_base_of_0_is_what_was_asked_for_and_no_address() -> None:
    log = parse_dmesg(BOOT + "cma: Reserved 64 MiB at 0x00000000\n")
    assert log.reading().claims == (Exists("reserved", "dmesg line 2"),)


def test_each_wording_has_versions_in_order() -> None:
    for wording in (*FAILURES, *HARMLESS):
        assert wording.until is None or wording.since < wording.until
