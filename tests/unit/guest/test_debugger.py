# SPDX-License-Identifier: MIT
"""What gdb is told of a running machine."""

from __future__ import annotations

from pathlib import Path

from harness.guest.debugger import commands, loaded
from harness.imageset.model import ImageSet

LISTED = """\
cma/sections/.text:0x7f000000
cma/sections/.data:0x7f002000
cma/sections/.rodata.str1.4:0x7f001234
cma/sections/.bss:0x00000000
other_module/sections/.text:0x7f010000
grep: x/sections/.bss: No such file or directory
"""


def test_a_module_s_symbols_are_where_it_was_loaded(tmp_path: Path) -> None:
    module = tmp_path / "a b" / "cma.ko"
    vmlinux = tmp_path / "vmlinux"
    images = ImageSet(tmp_path / "zImage", tmp_path / "dtb", module=module, vmlinux=vmlinux)
    script = commands(images, loaded(LISTED), Path("/run/socket")).splitlines()
    place = str(module).replace(" ", "\\ ")
    assert f"file {vmlinux}" in script
    assert script[-2] == (
        f"add-symbol-file {place} 0x7f000000 -s .data 0x7f002000 -s .rodata.str1.4 0x7f001234"
    )
    assert script[-1] == "target remote /run/socket"
    assert not any("other_module" in line or "source" in line for line in script)


def test_the_kernel_s_own_commands_are_taken_where_they_can_be_used(tmp_path: Path) -> None:
    images = ImageSet(tmp_path / "zImage", tmp_path / "dtb", vmlinux=tmp_path / "vmlinux")
    (tmp_path / "vmlinux-gdb.py").write_text("")
    assert "source" not in commands(images, {}, Path("/s")), "without what its build makes of it"
    made = tmp_path / "scripts" / "gdb" / "linux"
    made.mkdir(parents=True)
    (made / "constants.py").write_text("")
    assert f"source {tmp_path / 'vmlinux-gdb.py'}" in commands(images, {}, Path("/s"))
    bare = ImageSet(tmp_path / "zImage", tmp_path / "dtb")
    assert "file" not in commands(bare, {}, Path("/s"))
