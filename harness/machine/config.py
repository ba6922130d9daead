# SPDX-License-Identifier: MIT
"""What a machine is made of, and the arguments of QEMU that follow from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness import board
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from harness.machine import network


@dataclasses.dataclass(frozen=True)
class MachineConfig:
    """What a machine is made of. Two machines of one config differ in nothing but their nonce."""

    images: ImageSet
    memory_mib: int = board.DEFAULT_MEMORY
    """RAM in MiB, one of `board.RAM_MIB`."""
    append: str = ""
    """Words added to the image set's kernel command line."""
    qemu: str = board.QEMU
    processors: int = 1
    """Cortex-A9 cores, at most `board.MAX_PROCESSORS`. QEMU runs each on a thread of its own."""
    icount: bool = False
    """Deterministic time (``-icount shift=5,sleep=off``): the same transcript at each boot."""

    @property
    def disk(self) -> Path | None:
        """Root disk (raw) on virtio-blk, run through an overlay that dies with the machine."""
        return self.images.disk

    @property
    def command_line(self) -> str:
        """The whole kernel command line."""
        return f"{self.images.append} {self.append}".strip()

    def devices(self) -> list[str]:
        """The part of QEMU's arguments that template and clones must share."""
        argv = [
            "-M",
            f"{board.MACHINE},{board.MACHINE_OPTIONS},memory-backend=ram",
            "-m",
            f"{self.memory_mib}M",
        ]
        argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        if self.processors != 1:
            argv += ["-smp", str(self.processors)]
        argv += ["-audiodev", "none,id=audio0", "-global", "pl041.audiodev=audio0"]
        argv += ["-device", "virtio-rng-device"]
        if Feature.SSH in self.images.features:
            argv += network.card()
        if self.icount:
            argv += ["-icount", "shift=5,sleep=off", "-rtc", "base=2020-01-01,clock=vm"]
        if self.disk is not None:
            argv += ["-device", "virtio-blk-device,drive=root"]
        return argv

    def boot(self) -> list[str]:
        """The part of QEMU's arguments that only a boot needs: a clone's RAM has it all already."""
        argv = ["-kernel", str(self.images.kernel), "-dtb", str(self.images.dtb)]
        if self.images.initrd is not None:
            argv += ["-initrd", str(self.images.initrd)]
        return argv


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where a machine's RAM, root disk and device state are.

    By default its RAM is fresh, its disk is the image set's, and it boots.
    """

    ram: Path | None = None
    """The file that is the guest's RAM; None: anonymous memory."""
    shared: bool = False
    """What the guest writes goes into `ram`; else it is this machine's alone."""
    overlay: Path | None = None
    """A qcow2 file over the image set's disk."""
    state: Path | None = None
    """The device state of a machine that was saved with this `ram` and `overlay`; None: boot."""

    def memory(self, config: MachineConfig) -> list[str]:
        """QEMU's arguments for the RAM."""
        size = f"size={config.memory_mib}M"
        if self.ram is None:
            return ["-object", f"memory-backend-ram,id=ram,{size}"]
        share = "on" if self.shared else "off"
        path = _escaped(self.ram)
        return ["-object", f"memory-backend-file,id=ram,{size},share={share},mem-path={path}"]

    def drive(self, config: MachineConfig) -> list[str]:
        """QEMU's arguments for the root disk; the user's image is never written."""
        if config.disk is None:
            return []
        if self.overlay is not None:
            # Only the machine that makes a template writes its overlay.
            snapshot = "" if self.shared else "snapshot=on,"
            options = f"format=qcow2,{snapshot}file={_escaped(self.overlay)}"
        else:
            options = f"format=raw,snapshot=on,file={_escaped(config.disk)}"
        return ["-drive", f"if=none,id=root,{options}"]


def _escaped(path: Path) -> str:
    """A path as a value in QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
