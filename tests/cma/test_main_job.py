# SPDX-License-Identifier: MIT
"""The main job on every kernel: the areas at boot, the module, the application, the judgement."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.guest.guest import DEVICE, Guest
from harness.imageset.module import module_vermagic
from harness.imageset.zimage import kernel_release
from harness.machine.errors import CommandFailed
from harness.memory.errors import WrongArea
from harness.memory.ranges import AddressRange

pytestmark = pytest.mark.every_kernel

DEFAULT = AddressRange(0x69000000, 0x69800000)
BISCUITOS = AddressRange(0x69800000, 0x6A000000)
MIB = 1 << 20


@pytest.mark.machine("class")
class TestAreasAtBoot:
    """Nothing is loaded here, so one guest serves all."""

    @pytest.mark.needs("two-areas")
    def test_both_areas_are_where_the_device_tree_wants_them(self, guest: Guest) -> None:
        memory_map = guest.memory_map()
        assert memory_map.area("linux,cma").range == DEFAULT
        assert memory_map.area("BiscuitOS_cma").range == BISCUITOS

    @pytest.mark.needs("debugfs", "cma-sysfs", "iomem-cma")
    def test_every_witness_of_our_kernel_speaks(self, guest: Guest) -> None:
        memory_map = guest.memory_map()
        assert memory_map.absent == ()
        assert len(memory_map.area("BiscuitOS_cma").witnesses) >= 5

    @pytest.mark.needs("two-areas", "iomem-cma")
    def test_iomem_lists_the_areas_within_system_ram(self, guest: Guest) -> None:
        lines = guest.read_text("/proc/iomem").splitlines()
        assert "  69000000-697fffff : linux,cma" in lines
        assert "  69800000-69ffffff : BiscuitOS_cma" in lines

    @pytest.mark.needs("debugfs")
    def test_nothing_is_allocated_from_the_driver_s_area(self, guest: Guest) -> None:
        assert guest.read_text(f"{guest.debug_dir()}/used").strip() == "0"

    def test_the_kernel_that_runs_is_the_kernel_that_was_given(self, guest: Guest) -> None:
        assert guest.release() == guest.images.release == kernel_release(guest.images.kernel)

    @pytest.mark.needs("agent", "driver")
    def test_the_module_in_the_guest_is_the_one_on_the_host(self, guest: Guest) -> None:
        assert guest.images.module is not None
        assert guest.read_file(guest.module_path()) == guest.images.module.read_bytes()
        assert module_vermagic(guest.images.module).split()[0] == guest.release()


@pytest.mark.needs("driver")
class TestModule:
    def test_insmod_finds_the_area_and_makes_the_device(self, guest: Guest) -> None:
        guest.insmod()
        assert guest.module_name() in guest.modules()
        assert guest.run(f"[ -c {DEVICE} ]").status == 0
        assert "Find CMA: BiscuitOS_cma" in guest.run("dmesg").text

    def test_rmmod_takes_the_device_away_and_insmod_brings_it_back(self, guest: Guest) -> None:
        guest.insmod()
        try:
            guest.rmmod()
        except UserError as error:
            pytest.skip(str(error))
        assert guest.module_name() not in guest.modules()
        assert guest.run(f"[ -e {DEVICE} ]", check=False).status != 0
        guest.insmod()
        assert guest.run(f"[ -c {DEVICE} ]").status == 0

    @pytest.mark.needs("module-areas")
    def test_insmod_fails_clearly_where_the_area_is_missing(self, guest: Guest) -> None:
        with pytest.raises(CommandFailed, match="insmod"):
            guest.insmod("area=nowhere")
        assert "nowhere" in guest.run("dmesg | tail -n 5").text
        assert guest.module_name() not in guest.modules()

    @pytest.mark.needs("app-script")
    def test_rmmod_is_refused_while_the_device_is_open(self, guest: Guest) -> None:
        guest.insmod()
        with guest.holding(), pytest.raises(CommandFailed, match=r"[Rr]esource|busy"):
            guest.rmmod()
        guest.rmmod()


class TestApplication:
    def test_the_main_job_passes_whatever_the_system_offers(self, guest: Guest) -> None:
        verdict = guest.main_job()
        area = verdict.memory_map.area(guest.area)
        assert verdict.region.phys in area.range
        assert len(area.witnesses) >= 2, "the device tree alone is no proof"

    @pytest.mark.needs("two-areas")
    def test_what_it_gets_is_the_start_of_the_area(self, guest: Guest) -> None:
        verdict = guest.main_job()
        assert verdict.region.phys == AddressRange(BISCUITOS.start, BISCUITOS.start + MIB)
        assert str(verdict.placement) == (
            "BiscuitOS_cma 0x69800000-0x69ffffff holds 0x69800000-0x698fffff"
        )

    @pytest.mark.needs("debugfs")
    def test_all_it_had_is_free_again(self, guest: Guest) -> None:
        guest.main_job()
        assert guest.read_text(f"{guest.debug_dir()}/used").strip() == "0"

    @pytest.mark.needs("app-script", "driver")
    def test_several_regions_do_not_overlap_and_are_all_in_the_area(self, guest: Guest) -> None:
        guest.insmod()
        regions = [region.phys for region in guest.run_app("--count 4")]
        memory_map = guest.memory_map()
        assert len(regions) == 4
        for number, region in enumerate(regions):
            guest.judge(region, memory_map)
            assert not any(region.overlaps(other) for other in regions[:number])

    @pytest.mark.needs("app-script", "driver")
    def test_what_it_writes_is_at_the_address_that_it_prints(self, guest: Guest) -> None:
        """The host reads guest RAM past the guest: an address that is right, and memory that is."""
        guest.insmod()
        with guest.holding("--pattern 0123456789abcdef") as regions:
            memory = guest.read_physical(regions[0].phys.start, MIB)
        words = {memory[at : at + 8] for at in range(0, MIB, 8)}
        assert len(words) == MIB // 8, "each word of the pattern is another"
        assert "Pattern: intact" in guest.held_output

    @pytest.mark.needs("two-areas", "module-areas")
    def test_memory_from_another_area_is_rejected(self, guest: Guest) -> None:
        """A driver on the default area: the very regression that the harness is for."""
        guest.insmod("area=default")
        region = guest.run_app()[0]
        with pytest.raises(WrongArea, match=r"is in linux,cma .*expected BiscuitOS_cma"):
            guest.judge(region.phys)


@pytest.mark.machine("cold")
def test_a_cold_boot_gives_the_same_verdict(guest: Guest) -> None:
    verdict = guest.main_job()
    assert verdict.region.phys in verdict.memory_map.area(guest.area).range


@pytest.mark.needs("driver")
def test_without_the_driver_the_application_says_so(guest: Guest) -> None:
    with pytest.raises(CommandFailed, match="/dev/CMA_demo"):
        guest.run_app()


@pytest.mark.needs("agent", "two-areas", "driver")
def test_a_module_that_is_nowhere_is_asked_for(guest: Guest) -> None:
    guest.run(f"rm {guest.module_path()} {guest.app_path()}")
    guest = Guest(guest.machine)
    guest.insmod()  # it is brought in from the host
    assert guest.module_name() in guest.modules()
    assert guest.run_app()[0].phys.start == BISCUITOS.start


def test_an_area_that_no_device_tree_has_is_refused_by_name(guest: Guest) -> None:
    guest.area = "Biscuit_cma"
    with pytest.raises(Exception, match="Biscuit_cma"):
        guest.memory_map()
    assert issubclass(UserError, Exception)
