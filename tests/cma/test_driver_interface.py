# SPDX-License-Identifier: MIT
"""What the driver promises to whoever calls it or loads it, and how it says no."""

from __future__ import annotations

import pytest

from harness.guest.guest import DEVICE, Guest
from harness.machine.errors import CommandFailed
from harness.memory.ranges import AddressRange

from .support import (
    BASE,
    DEFAULT_WHOLE,
    LONG,
    MIB,
    PAGE,
    SLUB_DEBUG,
    WHOLE,
    alloc_many,
    allocated,
    assert_all_is_free,
    assert_held,
    error_name,
    needs_no_display,
    no_growth,
    pages,
)

pytestmark = [
    pytest.mark.every_kernel,
    pytest.mark.needs("driver", "two-areas"),
    pytest.mark.machine("loaded"),
]
RAM, LOWMEM = 0x60000000, 0x80000000
"""Where RAM starts, and where the kernel has it (PAGE_OFFSET, CONFIG_VMSPLIT_2G)."""
NONCE = 0xFEDCBA9876543210
WORD = 1 << 32


@pytest.mark.needs("app-script")
class TestIoctl:
    @pytest.mark.needs("debugfs")
    def test_a_length_that_no_region_can_have_is_refused(self, guest: Guest) -> None:
        odd = [0, 1, PAGE - 1, PAGE + 1, 2 * PAGE + 8, WHOLE.size - 1]
        large = [WHOLE.size + PAGE, 2 * WHOLE.size, 1 << 31, WORD - PAGE]
        wrong = [*odd, *large, WORD - 1, WORD - MIB + 1]
        with guest.script() as app:
            answers = app.ask(f"alloc {length}" for length in wrong)
            assert [error_name(line) for line in answers] == ["EINVAL"] * len(wrong)
            assert allocated(guest) == ()
            assert app.alloc(WHOLE.size) == WHOLE

    @pytest.mark.needs("debugfs")
    def test_there_are_two_commands_and_no_third(self, guest: Guest) -> None:
        """ALLOCATE is 0x40046d01; a neighbour in each of its four fields is none."""
        others = [0x40046D00, 0x40046D03, 0x40046E01, 0x80046D01, 0xC0046D01, 0x40086D01, 0x6D01]
        others += [0x40106D01, 0x40106D02, 0x5401, 0, 1, WORD - 1]
        with guest.script() as app:
            answers = app.ask(f"ioctl {number}" for number in others)
            assert [error_name(line) for line in answers] == ["ENOTTY"] * len(others)
            assert allocated(guest) == ()
            app.command(f"ioctl {0x40046D01}")
            assert allocated(guest) == (pages(0),)
            # RELEASE of a page, at address 0.
            assert app.error(f"ioctl {0x40046D02}") == "EINVAL"

    @pytest.mark.needs("debugfs")
    def test_a_pointer_to_nowhere_is_a_bad_address(self, guest: Guest) -> None:
        with guest.script() as app:
            assert app.error("badptr alloc") == "EFAULT"
            assert app.error("badptr release") == "EFAULT"
            assert app.error(f"readonly {PAGE}") == "EFAULT"
            assert allocated(guest) == ()

    @pytest.mark.needs("debugfs")
    def test_what_is_no_whole_page_is_not_released(self, guest: Guest) -> None:
        with guest.script() as app:
            region = app.alloc(PAGE)
            start = region.start
            for at, length in (
                *((start + 1, PAGE), (start + PAGE // 2, PAGE), (start + PAGE - 1, PAGE)),
                *((start, PAGE - 1), (start, PAGE + 1), (start, PAGE // 2), (start, 0)),
                (start + PAGE // 2, PAGE // 2),
            ):
                assert app.error(f"release {at} {length}") == "EINVAL"
            assert allocated(guest) == (region,)
            app.release(region)
            assert allocated(guest) == ()

    def test_virt_is_where_the_kernel_has_the_region(self, guest: Guest) -> None:
        with guest.script() as app:
            for _ in range(3):
                phys, length, virt = (int(word, 16) for word in app.command(f"alloc {3 * PAGE}"))
                assert (length, virt - LOWMEM) == (3 * PAGE, phys - RAM)


@pytest.mark.needs("app-script")
class TestMmap:
    def test_only_what_is_within_one_held_region_is_mapped(self, guest: Guest) -> None:
        with guest.script() as app:
            region, after = alloc_many(app, [4 * PAGE, 4 * PAGE])
            assert after.start == region.end
            start, size = region.start, region.size
            wrong = [
                (start, size + PAGE),  # into the next region
                (start, 2 * size),
                (start + PAGE, size),
                (start - PAGE, size),
                (start - PAGE, PAGE),
                (start - PAGE, size + PAGE),
                (region.end - PAGE, 2 * PAGE),
                (after.end, PAGE),
                (after.end - PAGE, 2 * PAGE),
                (start, WORD // 4),
                (DEFAULT_WHOLE.start, PAGE),
                (WHOLE.end, PAGE),
                (RAM, PAGE),
                (0, PAGE),
                (WORD - PAGE, PAGE),
                (WORD - PAGE, 2 * PAGE),
            ]
            answers = app.ask(f"mmap {at} {length}" for at, length in wrong)
            said = {error_name(line) for line in answers}
            # The kernel itself refuses an offset that would wrap around.
            assert said <= {"EINVAL", "EOVERFLOW"}
            assert app.error(f"mmap {start} 0") == "EINVAL"
            assert app.error(f"mmap {start + 1} {PAGE}") == "EINVAL"
            app.mmap(region)
            app.mmap(after)

    def test_a_part_of_a_region_is_mapped_where_it_is(self, guest: Guest) -> None:
        with guest.script() as app:
            region = app.alloc(4 * PAGE)
            parts = [AddressRange.from_size(region.start + at * PAGE, PAGE) for at in range(4)]
            for number, part in enumerate(parts):
                app.mmap(part)
                app.fill(NONCE + number, part)
            for number, part in enumerate(parts):
                seen = guest.read_physical(part.start, 8)
                assert int.from_bytes(seen, "little") == NONCE + number
                app.munmap(part)
            app.mmap(region)
            for number, part in enumerate(parts):
                app.check(NONCE + number, part)

    def test_two_mappings_of_a_region_show_the_same_memory(self, guest: Guest) -> None:
        with guest.script() as app:
            region = app.alloc(MIB)
            part = AddressRange(region.end - PAGE, region.end)
            app.mmap(region)
            app.mmap(part)
            app.fill(NONCE, part)  # through the newer mapping
            app.munmap(part)
            app.check(NONCE, part)  # through the older one

    def test_a_region_of_another_opener_is_not_to_be_mapped(self, guest: Guest) -> None:
        with guest.script() as app, guest.script() as other:
            region, theirs = app.alloc(2 * PAGE), other.alloc(2 * PAGE)
            assert other.error(f"mmap {region.start} {region.size}") == "EINVAL"
            assert app.error(f"mmap {theirs.start} {theirs.size}") == "EINVAL"
            app.mmap(region)
            assert other.error(f"mmap {region.start} {PAGE}") == "EINVAL"

    def test_a_region_that_was_given_back_is_not_to_be_mapped(self, guest: Guest) -> None:
        with guest.script() as app:
            region, kept = alloc_many(app, [PAGE, PAGE])
            app.release(region)
            assert app.error(f"mmap {region.start} {region.size}") == "EINVAL"
            app.mmap(kept)
            app.command("reopen")
            assert app.error(f"mmap {kept.start} {kept.size}") == "EINVAL"

    def test_a_private_mapping_is_refused(self, guest: Guest) -> None:
        with guest.script() as app:
            region = app.alloc(PAGE)
            assert app.error(f"mmap-private {region.start} {region.size}") == "EINVAL"
            app.release(region)

    def test_a_mapping_does_not_grow(self, guest: Guest) -> None:
        with guest.script() as app:
            region, neighbour = alloc_many(app, [2 * PAGE, 2 * PAGE])
            part = AddressRange.from_size(region.start, PAGE)
            app.mmap(part)
            for size in (region.size, region.size + neighbour.size):
                assert app.error(f"mremap {part.start} {size}") == "EFAULT"
            app.munmap(part)
            app.release(region)

    def test_a_mapping_is_device_memory_to_the_kernel(self, guest: Guest) -> None:
        """VM_SHARED, VM_IO, VM_PFNMAP, VM_DONTEXPAND, VM_DONTDUMP: sh io pf de dd."""
        with guest.script() as app:
            app.mmap(app.alloc(MIB))
            text = guest.read_text(f"/proc/{app.process}/smaps")
        entry = text[text.index(DEVICE) :]
        flags = entry[entry.index("VmFlags:") :].splitlines()[0].split()
        assert {"rd", "wr", "sh", "io", "pf", "de", "dd"} <= set(flags)


@pytest.mark.needs("debugfs", "app-script")
class TestOpeners:
    def test_two_openers_share_the_area_and_nothing_else(self, guest: Guest) -> None:
        with guest.script() as one, guest.script() as two:
            first, second, third = one.alloc(PAGE), two.alloc(PAGE), one.alloc(PAGE)
            assert [first, second, third] == [pages(0), pages(1), pages(2)]
            one.fill(NONCE, first)
            two.fill(~NONCE % (1 << 64), second)
            one.check(NONCE, first)
            one.command("reopen")
            assert_held(guest, [second])
            two.check(~NONCE % (1 << 64), second)


@pytest.mark.machine("clone")
class TestDevices:
    @pytest.mark.needs("module-areas")
    def test_the_node_is_a_misc_device_of_the_driver(self, guest: Guest) -> None:
        guest.insmod()
        number = guest.read_text("/sys/class/misc/CMA_demo/dev").strip()
        major, minor = (int(part) for part in number.split(":"))
        assert major == 10
        assert guest.run(f"stat -c '%F %t %T' {DEVICE}").text.split()[-2:] == [
            f"{major:x}",
            f"{minor:x}",
        ]
        parent = guest.run("readlink /sys/class/misc/CMA_demo/device").text.strip()
        driver = guest.run("readlink /sys/class/misc/CMA_demo/device/driver").text.strip()
        assert (parent.rsplit("/")[-1], driver.rsplit("/")[-1]) == ("CMA_demo.0", "CMA_demo")

    @pytest.mark.needs("debugfs", "app-script", "module-areas")
    def test_each_area_has_a_device_of_its_own(self, guest: Guest) -> None:
        needs_no_display(guest)
        guest.insmod("area=BiscuitOS_cma:default")
        log = guest.run("dmesg").text
        assert log.index("Find CMA: BiscuitOS_cma") < log.index("Find CMA: default")
        before = guest.cma()
        with guest.script() as ours, guest.script(f"{DEVICE}1") as default:
            assert ours.alloc(MIB) == pages(0, 256)
            assert default.alloc(MIB) == AddressRange.from_size(DEFAULT_WHOLE.start + MIB, MIB)
            assert default.error(f"release {BASE} {MIB}") == "EINVAL"
            assert default.error(f"mmap {BASE} {MIB}") == "EINVAL"
            # 8 MiB are no wrong length, but 256 KiB of that area are in use since the boot.
            assert default.error(f"alloc {8 * MIB}") == "ENOMEM"
            state = guest.cma()
            assert state.allocated("BiscuitOS_cma") == (pages(0, 256),)
            assert state.used("linux,cma") == before.used("linux,cma") + MIB
        assert guest.cma().reserved == before.reserved
        assert guest.run(f"[ -e {DEVICE}2 ]", check=False).status
        guest.rmmod()
        assert guest.run(f"ls -d {DEVICE}*", check=False).status

    @pytest.mark.needs("debugfs", "app-script", "module-areas")
    @pytest.mark.parametrize("area", ["default", "BiscuitOS_cma:", "linux,cma", ":BiscuitOS_cma"])
    def test_the_default_area_is_served_by_its_name_or_by_none(
        self, guest: Guest, area: str
    ) -> None:
        guest.insmod(f"area={area}")
        device = f"{DEVICE}1" if area == "BiscuitOS_cma:" else DEVICE
        with guest.script(device) as app:
            assert app.alloc(PAGE) == AddressRange.from_size(DEFAULT_WHOLE.start + 64 * PAGE, PAGE)
            assert allocated(guest) == ()

    @pytest.mark.needs("app-script", "module-areas")
    def test_the_nodes_are_named_as_the_parameter_says(self, guest: Guest) -> None:
        guest.insmod("area=BiscuitOS_cma:default:BiscuitOS_cma name=other")
        assert guest.run("cd /dev; echo other*").text.split() == ["other", "other1", "other2"]
        assert guest.run(f"[ -e {DEVICE} ]", check=False).status
        with guest.script("/dev/other2") as two, guest.script("/dev/other") as one:
            assert [two.alloc(PAGE), one.alloc(PAGE)] == [pages(0), pages(1)]

    @pytest.mark.needs("app-script", "module-areas")
    def test_eight_areas_are_served_and_a_ninth_is_refused(self, guest: Guest) -> None:
        areas = ":".join(["BiscuitOS_cma"] * 8)
        with pytest.raises(CommandFailed):
            guest.insmod(f"area={areas}:default")
        assert_not_loaded(guest)
        guest.insmod(f"area={areas}")
        with guest.script(f"{DEVICE}7") as app:
            assert app.alloc(PAGE) == pages(0)


def assert_not_loaded(guest: Guest) -> None:
    """No trace of the module."""
    assert guest.module_name() not in guest.modules()
    names = "/sys/bus/platform/drivers /sys/bus/platform/devices /sys/class/misc /dev /sys/module"
    found = guest.run(f"ls {names}").text.split()
    assert [name for name in found if name.startswith(("CMA", "cma"))] == []


@pytest.mark.needs("module-areas")
def test_a_device_that_is_open_cannot_be_taken_from_its_driver(guest: Guest) -> None:
    """sysfs offers no unbind: it would free what open files use."""
    assert guest.run("ls /sys/bus/platform/drivers/CMA_demo").text
    assert guest.run("[ -e /sys/bus/platform/drivers/CMA_demo/unbind ]", check=False).status == 1


@pytest.mark.machine("clone", append=SLUB_DEBUG)
class TestBadParameters:
    @pytest.mark.needs("app-script", "module-areas")
    def test_a_name_that_is_not_quite_an_area_s_is_refused(self, guest: Guest) -> None:
        names = ["BiscuitOS_cm", "BiscuitOS_cma2", "biscuitos_cma", "iscuitOS_cma"]
        names += ["linux", "Default", "default::linux,cm"]
        for name in names:
            with pytest.raises(CommandFailed, match="No such device"):
                guest.insmod(f"area={name}")
            assert_not_loaded(guest)
        guest.insmod()
        with guest.script() as app:
            assert app.alloc(PAGE) == pages(0)

    @pytest.mark.needs("module-areas")
    def test_a_node_s_name_must_be_a_file_s_name_and_free(self, guest: Guest) -> None:
        for name in ("a/b", "''", "x" * 32):
            with pytest.raises(CommandFailed):
                guest.insmod(f"name={name}")
            assert_not_loaded(guest)
        # sysfs prints its stack for a name that is taken: not what is tested here
        guest.run("dmesg -n 1")
        with pytest.raises(CommandFailed):
            guest.insmod("name=hw_random")
        guest.run("dmesg -n 8")
        assert_not_loaded(guest)
        with pytest.raises(CommandFailed):
            guest.insmod(f"name={'x' * 31} area=BiscuitOS_cma:default")
        assert_not_loaded(guest)
        for name in ("x" * 31, "x"):
            guest.insmod(f"name={name}")
            assert guest.run(f"[ -c /dev/{name} ]").status == 0
            guest.rmmod()

    @pytest.mark.needs("debugfs")
    @pytest.mark.needs("module-areas")
    def test_a_failed_load_leaves_no_object_and_no_page(self, guest: Guest) -> None:
        before = guest.cma().reserved
        load = f"insmod {guest.module_path()} area=default:nowhere 2>/dev/null"
        guest.run(load, check=False)
        with no_growth(guest, 20, loads=20 * INSMOD_TRIES):
            guest.run(
                f"i=0; while [ $i -lt 20 ]; do {load} && break; i=$((i+1)); done; [ $i = 20 ]",
                LONG,
            )
        assert_not_loaded(guest)
        assert guest.cma().reserved == before
        guest.insmod()
        assert_all_is_free(guest)


FAIL_ALL = "cd /sys/kernel/debug/failslab && echo N >ignore-gfp-wait && echo 1 >verbose"
"""What the kernel then says of a failed allocation, with a stack, is known to be asked for."""
LOAD = "sh -c 'echo {} >/proc/self/fail-nth; exec insmod {}'"
MANY = 9999
INSMOD_TRIES = 2
"""BusyBox's insmod tries a second time, by another system call."""


def objects_of_a_load(guest: Guest) -> int:
    """How many slab objects insmod asks for, with what the kernel does for it."""
    load = f"sh -c 'read -r _ </tmp/go; echo {MANY} >/proc/self/fail-nth; exec insmod {{}}'"
    load = load.format(guest.module_path())
    # Its parent is tail by then, which waits for nobody: what insmod has left of its count can be
    # read when it has ended.
    script = (
        f"mkfifo /tmp/go; ({load} & echo $! >/tmp/pid; exec tail -f /dev/null) &"
        " until read -r name </proc/$!/comm && [ $name = tail ]; do :; done;"
        " echo >/tmp/go; read -r pid </tmp/pid;"
        " while read -r _ _ state _ </proc/$pid/stat && [ $state != Z ]; do :; done;"
        " cat /proc/$pid/fail-nth; kill $!"
    )
    text = guest.run(script).text
    return MANY - int(text)


@pytest.mark.needs("debugfs")
@pytest.mark.needs("fault-injection")
@pytest.mark.machine("loaded", append=SLUB_DEBUG)
class TestOutOfMemory:
    """The n-th object that the slab allocator is asked for is not to be had."""

    def test_a_load_that_fails_anywhere_undoes_what_it_did(self, guest: Guest) -> None:
        """The second try works if the first one left nothing behind."""
        module = guest.module_path()
        rmmod = f"rmmod {guest.module_name()}"
        guest.run(f"{FAIL_ALL}; {rmmod}; insmod {module}; {rmmod}")
        total = objects_of_a_load(guest)
        guest.rmmod()
        assert 60 < total < MANY
        # The module's own init is the end of it, and begins with the driver's registration.
        numbers = (*[*range(total - 51, total - 47)] * 5, *range(total - 46, total + 1, 9))
        with no_growth(guest, 20, loads=len(numbers) * INSMOD_TRIES):
            for number in numbers:
                guest.run(f"{LOAD.format(number, module)} && {rmmod}")
        assert_not_loaded(guest)
        guest.insmod()
        assert_all_is_free(guest)

    @pytest.mark.needs("app-script")
    def test_refusals_for_want_of_an_object_leak_nothing(self, guest: Guest) -> None:
        """Each round: no object for the region, none for the opener."""
        guest.run(FAIL_ALL)
        with guest.script() as app:
            kept = app.alloc(PAGE)
            app.mmap(kept)
            with no_growth(guest, 20):
                for _ in range(20):
                    guest.run(f"echo 1 >/proc/{app.process}/fail-nth")
                    assert app.error(f"alloc {MIB}") == "ENOMEM"
            assert_held(guest, [kept])
        assert_all_is_free(guest)
