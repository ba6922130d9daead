# SPDX-License-Identifier: MIT
"""Fetches what a running guest's witnesses say of its memory; `harness.memory` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.imageset.features import Feature
from harness.imageset.model import ImageSet
from harness.machine.channel import Channel
from harness.memory.cmdline import cma_alignment, read_command_line
from harness.memory.counters import parse_sysfs, sysfs_reading
from harness.memory.debugfs import debugfs_reading, parse_debugfs
from harness.memory.devicetree import DeviceTree, read_dtb, read_live_tree
from harness.memory.dmesg import parse_dmesg
from harness.memory.errors import DeviceTreeError
from harness.memory.iomem import parse_iomem
from harness.memory.model import Absent, Reading

TIMEOUT = 20.0
DEBUGFS, SYSFS = "/sys/kernel/debug/cma", "/sys/kernel/mm/cma"
LIVE_TREE = "/proc/device-tree"

FILES = (
    "/proc/iomem",
    "/proc/cmdline",
    "/proc/pagetypeinfo",
    f"{LIVE_TREE}/#address-cells",
    f"{LIVE_TREE}/#size-cells",
    f"{LIVE_TREE}/memory*/*",
    f"{LIVE_TREE}/reserved-memory/*",
    f"{LIVE_TREE}/reserved-memory/*/*",
    f"{DEBUGFS}/*/*",
    f"{DEBUGFS}/*/ranges/*/*",
    f"{SYSFS}/*/*",
)
"""All that the witnesses read, fetched at once."""


def below(files: Mapping[str, bytes], root: str) -> dict[str, bytes]:
    """Path below `root` → content."""
    return {
        path.removeprefix(f"{root}/"): content
        for path, content in files.items()
        if path.startswith(f"{root}/")
    }


def texts_below(files: Mapping[str, bytes], root: str) -> dict[str, str]:
    """The same as text."""
    return {path: data.decode("utf-8", "replace") for path, data in below(files, root).items()}


def _from_boot(log: str) -> bool:
    return "Linux version" in log or "Booting Linux" in log


class Witnesses:
    """Asks one guest. Each method gives a `Reading`, or `Absent` with the reason."""

    def __init__(
        self, channel: Channel, images: ImageSet, console: Callable[[], str] = str
    ) -> None:
        """`console` gives what the kernel's serial line has said since the boot."""
        self._channel = channel
        self._console = console
        self._images = images
        self._files = channel.get_many(FILES, TIMEOUT)

    def all(self) -> list[Reading | Absent]:
        """Every witness: the DTB on the host, then the guest's own."""
        blob = self.dtb()
        names = [node.name for node in blob.cma_nodes]
        line = self.command_line()
        return [
            blob.reading(),
            self.live_tree(),
            self.iomem(names),
            self.kernel_log(),
            self.debugfs(names),
            self.sysfs(),
            *([line] if line else []),
        ]

    def dtb(self) -> DeviceTree:
        """The device tree that the machine was given. Raises a `DeviceTreeError`."""
        return read_dtb(self._images.dtb.read_bytes(), str(self._images.dtb))

    def live_tree(self) -> Reading | Absent:
        """``/proc/device-tree``: what the kernel itself unpacked."""
        files = below(self._files, LIVE_TREE)
        if not files:
            return Absent("live device tree", f"{LIVE_TREE} cannot be read")
        try:
            return read_live_tree(files).reading()
        except DeviceTreeError as error:
            return Absent("live device tree", str(error))

    def iomem(self, names: list[str]) -> Reading | Absent:
        """``/proc/iomem``. Raises `ZeroedIomem` where the reader may not see addresses."""
        if "/proc/iomem" not in self._files:
            return Absent("iomem", "/proc/iomem cannot be read")
        text = self._files["/proc/iomem"].decode("utf-8", "replace")
        lists_cma = Feature.IOMEM_CMA in self._images.features
        return parse_iomem(text).reading(lists_cma=lists_cma, names=names)

    def kernel_log(self) -> Reading | Absent:
        """The kernel's ring buffer, or what it printed on the console where the buffer does not
        reach back to the boot any more (it is small, and drivers print a lot); absent where neither
        does.
        """
        result = self._channel.run("dmesg", TIMEOUT)
        if not result.status and _from_boot(result.text):
            return parse_dmesg(result.text).reading()
        console = self._console()
        if _from_boot(console):
            return parse_dmesg(console, "console", console=True).reading()
        if result.status:
            return Absent("kernel log", result.stderr.decode("utf-8", "replace").strip())
        return Absent(
            "kernel log",
            "the ring buffer does not reach back to the boot, and the console showed too little"
            " (loglevel=8 shows all)",
        )

    def debugfs(self, names: list[str]) -> Reading | Absent:
        """``/sys/kernel/debug/cma``: base and count in pages (CONFIG_CMA_DEBUGFS)."""
        files = texts_below(self._files, DEBUGFS)
        if not files:
            return Absent("debugfs", f"no {DEBUGFS} (CONFIG_CMA_DEBUGFS, debugfs mounted)")
        return debugfs_reading(parse_debugfs(files, known_names=names))

    def sysfs(self) -> Reading | Absent:
        """``/sys/kernel/mm/cma``: which areas there are (CONFIG_CMA_SYSFS, from 5.13)."""
        files = texts_below(self._files, SYSFS)
        if not files:
            return Absent("sysfs", f"no {SYSFS} (CONFIG_CMA_SYSFS, from 5.13 on)")
        return sysfs_reading(parse_sysfs(files))

    def command_line(self) -> Reading | None:
        """``cma=`` on the kernel's command line, if it is there."""
        text, pages = (
            self._files.get(f"/proc/{name}", b"").decode("utf-8", "replace")
            for name in ("cmdline", "pagetypeinfo")
        )
        return read_command_line(text, alignment=cma_alignment(pages))
