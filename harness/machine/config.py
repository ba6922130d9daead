# SPDX-License-Identifier: MIT
"""What a machine is made of, and the arguments of QEMU that follow from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness import board
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from harness.machine import network
from harness.machine.abilities import Abilities
from harness.machine.given import Given


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

    dma: bool = False
    """The source of random numbers goes by the kernel's DMA interface, as a real device does: it
    has coherent memory. Else virtio takes guest addresses as they are.
    """
    trace: tuple[str, ...] = ()
    """Source files (patterns, ``mm/cma*.c``) whose instructions are logged when they are executed;
    needs a kernel with line tables for them (`harness.machine.executed`).
    """

    @property
    def disk(self) -> Path | None:
        """Root disk (raw) on virtio-blk, run through an overlay that dies with the machine."""
        return self.images.disk

    @property
    def command_line(self) -> str:
        """The whole kernel command line.

        With an early console: a kernel that dies before its serial driver is there is heard too.
        """
        words = f"{self.images.append} {self.append}".split()
        early = any(word.startswith("earlycon=") for word in words)
        return " ".join(words if early else [board.EARLY_CONSOLE, *words])

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
        argv += self._random()
        if Feature.SSH in self.images.features:
            argv += network.card()
        if self.icount:
            argv += ["-icount", "shift=5,sleep=off", "-rtc", "base=2020-01-01,clock=vm"]
        if self.disk is not None:
            argv += ["-device", "virtio-blk-device,drive=root"]
        return argv

    def _random(self) -> list[str]:
        if not self.dma:
            return ["-device", "virtio-rng-device"]
        modern = ["-global", "virtio-mmio.force-legacy=false"]  # the older ones have no such flag
        return [*modern, "-device", "virtio-rng-device,iommu_platform=on"]

    def by_hand(self) -> list[str]:
        """QEMU's arguments that boot the same machine from a terminal."""
        images = self.images
        argv = [self.qemu, *self.devices(), "-kernel", str(images.kernel), "-dtb", str(images.dtb)]
        if images.initrd is not None:
            argv += ["-initrd", str(images.initrd)]
        argv += ["-serial", "mon:stdio", *fresh_ram(self.memory_mib)]
        if self.disk is not None:
            file = str(self.disk).replace(",", ",,")  # a comma separates options
            argv += ["-drive", f"if=none,id=root,format=raw,snapshot=on,file={file}"]
        return [*argv, "-append", self.command_line]


def fresh_ram(memory_mib: int) -> list[str]:
    """QEMU's arguments for RAM that nobody else has."""
    return ["-object", f"memory-backend-ram,id=ram,size={memory_mib}M"]


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
    abilities: Abilities | None = None
    """Those of the QEMU that wrote `state`."""

    def arguments(self, config: MachineConfig, given: Given) -> list[str]:
        """QEMU's arguments for RAM, disk and what is booted; it gets descriptors of all files.

        Raises `UserError` for a file that cannot be opened.
        """
        argv = [*self._memory(config, given), *self._drive(config, given)]
        if self.state is not None:
            return [*argv, "-S", "-incoming", "defer"]
        images = config.images
        argv += ["-kernel", given.file(images.kernel), "-dtb", given.file(images.dtb)]
        if images.initrd is not None:
            argv += ["-initrd", given.file(images.initrd)]
        return argv

    def _memory(self, config: MachineConfig, given: Given) -> list[str]:
        if self.ram is None:
            return fresh_ram(config.memory_mib)
        if self.shared:
            share, path = "share=on", given.shared_ram(self.ram, config.memory_mib << 20)
        else:
            only_read = self.abilities is not None and self.abilities.private_rom
            share = "share=off,readonly=on,rom=off" if only_read else "share=off"
            path = given.private_ram(self.ram, only_read)
        size = f"size={config.memory_mib}M"
        return ["-object", f"memory-backend-file,id=ram,{size},{share},mem-path={path}"]

    def _drive(self, config: MachineConfig, given: Given) -> list[str]:
        """The root disk: the user's image, which is never written, below what is."""
        if config.disk is None:
            return []
        layers = [("raw", given.disk(config.disk))]
        if self.overlay is not None:
            layers.append(("qcow2", given.disk(self.overlay, writable=self.shared)))
        if not self.shared:
            layers.append(("qcow2", given.fresh_overlay(config.disk.stat().st_size)))
        options, prefix = ["if=none", "id=root"], ""
        for form, name in reversed(layers):
            options += [f"{prefix}driver={form}", f"{prefix}file.driver=file"]
            options.append(f"{prefix}file.filename={name}")
            prefix += "backing."
        return ["-drive", ",".join(options)]
