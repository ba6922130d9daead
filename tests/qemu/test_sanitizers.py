# SPDX-License-Identifier: MIT
"""What a kernel with KASAN says of a driver that does wrong: a crash of that kind.

Only with ``--qemu-variant kasan``: such a kernel takes minutes to build.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.builders.kernel import make_words
from harness.guest.guest import Guest
from harness.host import project
from harness.host.process import capture
from harness.imageset.model import ImageSet
from harness.machine.config import MachineConfig
from harness.machine.errors import GuestCrash
from harness.machine.kernelwords import CrashKind
from harness.pytest_plugin.boots import Boots

pytestmark = pytest.mark.needs("kasan", "agent", "app-script")
PAGE = 4096
BEHIND = (
    "\topener->demo = demo;\n",
    "\topener->demo = demo;\n\tWRITE_ONCE(((char *)opener)[sizeof(*opener) + 4], 1);\n",
)
"""A byte is written behind what was allocated for an open file."""
FREED = (
    "\tkfree(region);\n\n\treturn 0;\n}\n\nstatic long cma_ioctl(",
    "\tkfree(region);\n\tWRITE_ONCE(region->mappings, 1);\n\n\treturn 0;\n}\n\n"
    "static long cma_ioctl(",
)
"""A region is written to when it has been freed."""


def changed_driver(images: ImageSet, change: tuple[str, str], place: Path) -> Path:
    """The driver with the change, built for the kernel of `images`."""
    shutil.copytree(project.IMAGES / "module", place)
    source = place / "cma.c"
    before = source.read_text()
    assert before.count(change[0]) == 1
    source.write_text(before.replace(*change))
    tree = images.kernel.parents[4]  # TREE/obj/arch/arm/boot/zImage
    status, said, errors = capture([*make_words(tree), f"M={place}", "modules"])
    assert status == 0, said.decode() + errors
    return place / "cma.ko"


@pytest.mark.parametrize(
    ("change", "word"),
    [(BEHIND, "slab-out-of-bounds"), (FREED, "use-after-free")],
    ids=["behind-an-object", "after-it-was-freed"],
)
def test_kasan_reports_what_the_driver_must_not(
    boots: Boots,
    machine_config: MachineConfig,
    tmp_path: Path,
    change: tuple[str, str],
    word: str,
) -> None:
    module = changed_driver(machine_config.images, change, tmp_path / "module")
    guest = boots.clone(machine_config, "booted", None)
    with pytest.raises(GuestCrash, match=rf"KASAN: (slab-)?{re.escape(word)}") as caught:
        use(guest, module)
    assert caught.value.crash.kind is CrashKind.KASAN
    assert "[cma]" in caught.value.crash.trace


def use(guest: Guest, module: Path) -> None:
    """Loads a driver, and allocates and releases a page by it."""
    guest.put(module, "/tmp/cma.ko")
    guest.run("insmod /tmp/cma.ko")
    with guest.script() as app:
        app.release(app.alloc(PAGE))
    guest.run("true")
