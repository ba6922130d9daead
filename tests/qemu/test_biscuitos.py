# SPDX-License-Identifier: MIT
"""A BiscuitOS tree as its user built it: taken whole, judged by what it offers, never written."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.builders.biscuitos_tree import SOURCE
from harness.cli.app import main
from harness.guest.guest import Guest
from harness.imageset import kconfig
from harness.imageset.biscuitos import BiscuitOS, find
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.memory.ranges import AddressRange
from harness.pytest_plugin.boots import Boots

FIRST_MIB = AddressRange(0x69800000, 0x69900000)
Tree = Callable[[str], Path]


def boot(boots: Boots, found: BiscuitOS) -> Guest:
    return boots.cold(MachineConfig(found.image_set(), found.memory_mib))


def state(image: Path) -> tuple[str, int, int]:
    stat = image.stat()
    return hashlib.sha256(image.read_bytes()).hexdigest(), stat.st_mtime_ns, stat.st_size


@pytest.mark.parametrize("layout", ["new", "old"])
def test_the_main_job_passes_and_says_which_witnesses_are_absent(
    layout: str, biscuitos_tree: Tree, boots: Boots
) -> None:
    found = find(biscuitos_tree(layout))
    before = state(found.image)
    guest = boot(boots, found)
    verdict = guest.main_job()
    assert verdict.region.phys == FIRST_MIB
    assert verdict.region.title, "the greeting that the application wrote and read back"
    assert {item.witness for item in verdict.memory_map.absent} == {"debugfs", "sysfs"}
    assert set(verdict.memory_map.area("BiscuitOS_cma").witnesses) == {
        "device tree",
        "live device tree",
        "dmesg",
    }
    assert guest.module_path().startswith("/lib/modules/" if layout == "new" else "/tmp/")
    guest.run("echo changed >/etc/passwd; sync")
    assert state(found.image) == before, "a user's image is never written"


def test_a_live_system_with_its_disk_is_frozen_and_cloned(
    biscuitos_tree: Tree, boots: Boots
) -> None:
    found = find(biscuitos_tree("new"))
    before = state(found.image)
    config = MachineConfig(found.image_set(), found.memory_mib)
    first, second = (boots.clone(config, "booted", None) for _ in range(2))
    first.run("echo first >/mark; sync")
    assert second.run("[ -e /mark ]", check=False).status == 1
    assert first.main_job().region.phys == FIRST_MIB
    assert second.main_job().region.phys == FIRST_MIB
    assert state(found.image) == before


def test_the_kernel_has_the_whole_of_its_tree_s_defconfig(
    biscuitos_tree: Tree, image_set: ImageSet
) -> None:
    """But for what is asked for beyond it, and nothing of our own kernel's options."""
    sources = image_set.kernel.parents[4]
    texts = [sources / "arch/arm/configs/vexpress_defconfig", SOURCE / "kernel.config"]
    wanted = kconfig.merged(kconfig.parse(path.read_text()) for path in texts)
    root = find(biscuitos_tree("new")).root
    config = kconfig.parse((root / "linux" / "linux" / ".config").read_text())
    assert kconfig.not_honoured(wanted, config) == []
    for option in ("VT", "INPUT", "HID", "SERIO", "PERF_EVENTS", "PM"):  # on by default
        assert config[option] == "y"
    assert "DEBUG_LIST" not in {name for name, value in config.items() if value == "y"}


def test_a_clone_waits_for_the_display_as_a_machine_that_was_booted(
    biscuitos_tree: Tree, boots: Boots
) -> None:
    """An update of the display ends at its next vertical blank; the kernel warns without one."""
    found = find(biscuitos_tree("new"))
    config = MachineConfig(found.image_set(), found.memory_mib)
    for guest in (boots.cold(config), *(boots.clone(config, "booted", None) for _ in range(2))):
        assert ("-incoming" in guest.machine.argv) == (guest.machine is not boots.machines[0])
        assert guest.run("cat /sys/class/graphics/fb0/name").text.startswith("pl111")
        before = vertical_blanks(guest)
        guest.run("for i in 1 2 3; do echo 0,0 >/sys/class/graphics/fb0/pan; done")
        assert vertical_blanks(guest) - before >= 3
        assert not re.search(r"vblank|flip_done|WARNING", guest.run("dmesg").text)


def vertical_blanks(guest: Guest) -> int:
    """How often the display has told the kernel of one."""
    interrupts = guest.run("cat /proc/interrupts").text
    counted = re.search(r"^ *\d+:((?: +\d+)+) .* PL111$", interrupts, re.M)
    assert counted is not None, interrupts
    return sum(map(int, counted[1].split()))


def test_a_log_that_has_wrapped_is_read_from_the_console(
    biscuitos_tree: Tree, boots: Boots
) -> None:
    """A clone's too: what the machine said before it was frozen is kept."""
    found = find(biscuitos_tree("new"))
    guest = boots.clone(MachineConfig(found.image_set(), found.memory_mib), "booted", None)
    line = "<7>" + "fill " * 50
    guest.run(f"dmesg -n 1; for i in $(seq 400); do echo '{line}' >/dev/kmsg; done", 100)
    assert "Linux version" not in guest.run("dmesg").text
    assert "dmesg" in guest.main_job().memory_map.area("BiscuitOS_cma").witnesses


def test_run_names_the_files_it_takes_and_ends_in_pass(
    biscuitos_tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["run", "--biscuitos", str(biscuitos_tree("new")), "--artifacts", str(tmp_path)])
    said = capsys.readouterr()
    assert status == 0
    assert "disk    Hardware/BiscuitOS.img" in said.err
    loaded = "/extra/CMA_area_module-0.0.1.ko of the root image"
    assert len(re.findall(rf"^(?:  module  |loaded )/lib/\S+{loaded}$", said.err, re.M)) == 2
    assert said.out.splitlines()[-1].startswith("PASS BiscuitOS_cma 0x69800000-0x69ffffff holds")


def test_a_root_disk_of_the_user_s_with_our_kernel(
    biscuitos_tree: Tree, boots: Boots, machine_config: MachineConfig, tmp_path: Path
) -> None:
    """Any combination: what is not given comes from our image set, our module and app too."""
    from harness.imageset.preflight import check, with_given

    disk = Path(shutil.copy(find(biscuitos_tree("old")).image, tmp_path))
    images = with_given(machine_config.images, {"disk": disk})
    check(images, "BiscuitOS_cma", images.append)
    guest = boots.cold(MachineConfig(images))
    assert guest.main_job().region.phys == FIRST_MIB


def test_large_files_come_over_a_dirty_console_undamaged(
    biscuitos_tree: Tree, boots: Boots
) -> None:
    guest = boot(boots, find(biscuitos_tree("old")))
    data = bytes(range(256)) * 800
    guest.write_file("/tmp/large", data)
    assert guest.read_file("/tmp/large") == data
