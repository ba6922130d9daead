# SPDX-License-Identifier: MIT
"""What the application promises of its own options, its output and its exit status."""

from __future__ import annotations

import pytest

from harness.guest.application import pattern
from harness.guest.guest import DEVICE, Guest
from harness.imageset.features import Feature
from harness.memory.ranges import AddressRange

from .support import (
    BASE,
    DEFAULT_WHOLE,
    MIB,
    PAGE,
    PAGES,
    WHOLE,
    allocated,
    assert_all_is_free,
    pages,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas", "app-script"),
    pytest.mark.machine("loaded"),
]
NONCE = 0xA5A5000011112222
GREETING = b"BiscuitOS CMA area\0"


class TestRegion:
    @pytest.mark.needs("debugfs")
    def test_without_options_it_greets_from_one_mib(self, guest: Guest) -> None:
        lines = guest.run(guest.app_path()).text.splitlines()
        assert lines[:2] == [
            "CMA region: BiscuitOS CMA area",
            f"Phys: 0x{BASE:x} - 0x{BASE + MIB:x}",
        ]
        assert len(lines) == 3
        word, start, _, end = lines[2].split()
        assert word == "Virt:"
        assert int(end, 16) - int(start, 16) == MIB
        assert int(start, 16) % PAGE == 0
        assert_all_is_free(guest)

    def test_the_greeting_is_in_the_memory_that_it_names(self, guest: Guest) -> None:
        with guest.holding() as (region,):
            assert guest.read_physical(region.phys.start, len(GREETING)) == GREETING
            rest = guest.read_physical(region.phys.start + len(GREETING), 64)
            assert rest == bytes(64)

    @pytest.mark.needs("debugfs")
    def test_what_it_prints_is_what_the_bitmap_has_while_it_holds(self, guest: Guest) -> None:
        with guest.holding("--size 12K --count 3") as regions:
            assert [region.phys for region in regions] == [pages(at, 3) for at in (0, 4, 8)]
            assert allocated(guest) == (pages(0, 3), pages(4, 3), pages(8, 3))
            virtual = sorted(region.virt for region in regions)
            assert [place.size for place in virtual] == [3 * PAGE] * 3
            assert virtual[0].end <= virtual[1].start
            assert virtual[1].end <= virtual[2].start
        assert allocated(guest) == ()

    def test_virt_is_where_the_process_has_it_mapped(self, guest: Guest) -> None:
        with guest.holding("--size 20K") as (region,):
            pid = guest.run("pidof CMA_area_app-0.0.1").text.strip()
            maps = [
                line.split()
                for line in guest.read_text(f"/proc/{pid}/maps").splitlines()
                if line.endswith(DEVICE)
            ]
        ((span, rights, offset, *_),) = maps
        assert span == f"{region.virt.start:08x}-{region.virt.end:08x}"
        assert (rights, int(offset, 16)) == ("rw-s", region.phys.start)

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("4096", PAGE),
            ("0x3000", 3 * PAGE),
            ("8k", 2 * PAGE),
            ("12K", 3 * PAGE),
            ("3m", 3 * MIB),
        ],
    )
    def test_a_size_is_bytes_or_kib_or_mib(self, guest: Guest, text: str, size: int) -> None:
        (region,) = guest.run_app(f"--size {text}")
        assert region.phys == AddressRange.from_size(BASE, size)

    @pytest.mark.needs("debugfs")
    def test_the_whole_area_is_one_region_or_as_many_as_it_has_pages(self, guest: Guest) -> None:
        (region,) = guest.run_app("--size 8M")
        assert region.phys == WHOLE
        regions = guest.run_app(f"--size 16K --count {PAGES // 4}")
        assert [region.phys for region in regions] == [pages(at, 4) for at in range(0, PAGES, 4)]
        assert_all_is_free(guest)

    @pytest.mark.needs("module-areas")
    def test_another_device_is_another_area(self, guest: Guest) -> None:
        guest.rmmod()
        guest.insmod("area=BiscuitOS_cma:default")
        (region,) = guest.run_app(f"--device {DEVICE}1 --size 4K")
        assert region.phys == AddressRange.from_size(DEFAULT_WHOLE.start + 64 * PAGE, PAGE)


class TestPattern:
    def test_each_region_has_its_part_of_one_pattern(self, guest: Guest) -> None:
        size = 8 * PAGE
        with guest.holding(f"--pattern {NONCE:x} --size {size} --count 3") as regions:
            seen = b"".join(
                guest.read_physical(region.phys.start, region.phys.size) for region in regions
            )
        assert seen == pattern(NONCE, 3 * size)
        # Once each when it was written, and once each after the wait.
        assert guest.held_output.count("Pattern: intact") == 6

    @pytest.mark.needs("debugfs")
    def test_damage_that_comes_while_it_holds_is_told_with_its_address(self, guest: Guest) -> None:
        for count, place in (("1", 0), ("2", 16 * PAGE - 8), ("3", 37 * PAGE + 16)):
            status, lines = damaged(guest, f"--size 64K --count {count}", BASE + place)
            assert status != 0
            assert len(lines) == 1
            assert f"0x{BASE + place:x}" in lines[0]
        assert_all_is_free(guest)

    def test_an_intact_pattern_is_success(self, guest: Guest) -> None:
        if Feature.KASAN in guest.images.features:
            pytest.skip("KASAN reports the test's own write to memory that nobody has")
        assert damaged(guest, "--size 64K --count 2", BASE + 32 * PAGE) == (0, [])

    def test_neighbours_differ_so_that_overlap_shows(self, guest: Guest) -> None:
        with guest.holding("--pattern 1 --size 64K --count 8"):
            words = guest.read_physical(BASE, WHOLE.size // 16)
        assert len({words[at : at + 8] for at in range(0, len(words), 8)}) == len(words) // 8


def damaged(guest: Guest, options: str, address: int) -> tuple[int, list[str]]:
    """Holds a pattern, writes 8 bytes of physical memory, and lets go: the exit status, and the
    lines of standard output that tell of damage.
    """
    app, flip = guest.app_path(), r"\001\002\003\004\005\006\007\010"
    text = guest.run(
        "cd /tmp; rm -f go held; mkfifo go;"
        f" {app} --hold {options} --pattern {NONCE:x} <go >held 2>/dev/null & pid=$!; exec 7>go;"
        " until grep -q ^Virt: held; do usleep 2000; done;"
        f" printf '{flip}' | dd of=/dev/mem bs=8 seek={address // 8} conv=notrunc 2>/dev/null;"
        " echo >&7; wait $pid; echo $?; grep damaged held || :"
    ).text
    status, *lines = text.splitlines()
    return int(status), lines


@pytest.mark.needs("debugfs")
class TestHold:
    def test_it_holds_until_its_input_says_so(self, guest: Guest) -> None:
        with guest.holding("--size 1M"):
            assert allocated(guest) == (pages(0, 256),)
            assert guest.run("pidof CMA_area_app-0.0.1").status == 0
        assert guest.run("pidof CMA_area_app-0.0.1", check=False).status
        assert allocated(guest) == ()

    @pytest.mark.parametrize("signal", ["INT", "TERM", "HUP", "USR1"])
    def test_a_signal_ends_the_wait_in_good_order(self, guest: Guest, signal: str) -> None:
        # The shell ignores SIGINT for what it runs in the background; the application does not.
        text = guest.run(
            "cd /tmp; mkfifo go; exec 7<>go;"
            f" {guest.app_path()} --hold --size 4K --pattern 1 <&7 >held & pid=$!;"
            " until read -r _ _ state _ </proc/$pid/stat && grep -q Virt: held && [ $state = S ];"
            f" do usleep 2000; done; kill -{signal} $pid; wait $pid; echo $?; grep -c intact held"
        ).text
        assert text.split() == ["0", "2"]
        assert allocated(guest) == ()


@pytest.mark.needs("debugfs")
class TestRelease:
    def test_without_release_the_end_of_the_process_gives_all_back(self, guest: Guest) -> None:
        regions = guest.run_app("--no-release --size 4K --count 5")
        assert [region.phys for region in regions] == [pages(at) for at in range(5)]
        assert_all_is_free(guest)


class TestFailure:
    @pytest.mark.needs("debugfs")
    def test_what_is_no_option_or_no_number_is_a_usage_error(self, guest: Guest) -> None:
        wrong = ["--bad", "more", "--size", "--size x", "--size 4Q", "--size ''", "--size -4096"]
        wrong += ["--size K", "--size 4KM", "--size 4096M", "--size 4294967296", "--size ' 4096'"]
        wrong += ["--count 0", "--count -1", "--count x", "--count 4097", "--count 2x"]
        wrong += ["--pattern", "--pattern xyz", "--pattern 10000000000000000", "--pattern ''"]
        for options in wrong:
            result = guest.run(f"{guest.app_path()} {options}", check=False)
            assert (options, result.status, result.stdout) == (options, 2, b"")
            assert result.stderr
        assert allocated(guest) == ()

    @pytest.mark.needs("debugfs")
    def test_what_the_driver_refuses_is_a_failure(self, guest: Guest) -> None:
        for options in ("--size 0", "--size 5000", "--size 9M", "--size 1M --count 9"):
            result = guest.run(f"{guest.app_path()} {options}", check=False)
            assert (options, result.status) == (options, 1)
            assert result.stderr
            assert allocated(guest) == ()

    def test_a_device_that_is_not_there_is_named(self, guest: Guest) -> None:
        for options in ("", " --script"):
            result = guest.run(f"{guest.app_path()} --device /dev/other{options}", check=False)
            assert result.status == 1
            assert b"/dev/other" in result.stderr
        assert guest.run(f"{guest.app_path()} --device /dev/null", check=False).status == 1
