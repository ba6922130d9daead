# SPDX-License-Identifier: MIT
"""Fetches what a running guest's witnesses say of its memory; `harness.memory` reads it."""

from __future__ import annotations

from collections.abc import Callable

from harness.images import ImageSet
from harness.machine.channel import Channel
from harness.machine.errors import GuestFileError
from harness.memory.cmdline import read_command_line
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

# Builtins only: a program started for each of these files would cost ten times as much. The last
# line of a file may lack its newline; the bitmap is one long line.
LIST = """\
for _f in {root}/*/* {root}/*/*/*/*; do
  case $_f in */alloc|*/free) continue;; esac
  _x=; [ -f "$_f" ] && {{ read -r _x <"$_f" || [ -n "$_x" ]; }} && echo "$_f=$_x"
done; [ -d {root} ]"""

# Two programs for all properties: their sizes and names, an empty line, their contents.
PROPERTIES = f"""\
if cd {LIVE_TREE}; then
  set --
  for _f in '#address-cells' '#size-cells' memory*/* reserved-memory/* reserved-memory/*/*; do
    [ -f "$_f" ] && set -- "$@" "$_f"
  done
  stat -c '%s %n' "$@" && echo && cat "$@"
  _s=$?; cd /
else
  _s=1
fi
[ $_s = 0 ]"""


class Witnesses:
    """Asks one guest. Each method gives a `Reading`, or `Absent` with the reason."""

    def __init__(self, channel: Channel, images: ImageSet) -> None:
        self._channel = channel
        self._images = images

    def all(self) -> list[Reading | Absent]:
        """Every witness: the DTB on the host, then the guest's own."""
        blob = self.dtb()
        names = [node.name for node in blob.cma_nodes]
        asked: list[Callable[[], Reading | Absent]] = [
            lambda: self.live_tree(),
            lambda: self.iomem(names),
            lambda: self.kernel_log(),
            lambda: self.debugfs(names),
            lambda: self.sysfs(),
        ]
        line = self.command_line()
        return [blob.reading(), *(ask() for ask in asked), *([line] if line else [])]

    def dtb(self) -> DeviceTree:
        """The device tree that the machine was given. Raises a `DeviceTreeError`."""
        return read_dtb(self._images.dtb.read_bytes(), str(self._images.dtb))

    def live_tree(self) -> Reading | Absent:
        """``/proc/device-tree``: what the kernel itself unpacked."""
        result = self._channel.run(PROPERTIES, TIMEOUT)
        if result.status:
            reason = result.stderr.decode("utf-8", "replace").strip()
            return Absent("live device tree", reason or f"{LIVE_TREE} cannot be read")
        sizes, _, content = result.stdout.partition(b"\n\n")
        files: dict[str, bytes] = {}
        for line in sizes.decode("utf-8", "replace").splitlines():
            size, _, name = line.partition(" ")
            files[name], content = content[: int(size)], content[int(size) :]
        try:
            return read_live_tree(files).reading()
        except DeviceTreeError as error:
            return Absent("live device tree", str(error))

    def iomem(self, names: list[str]) -> Reading | Absent:
        """``/proc/iomem``. Raises `ZeroedIomem` where the reader may not see addresses."""
        try:
            text = self._channel.get("/proc/iomem", TIMEOUT).decode("utf-8", "replace")
        except GuestFileError as error:
            return Absent("iomem", str(error))
        lists_cma = "iomem-cma" in self._images.features
        return parse_iomem(text).reading(lists_cma=lists_cma, names=names)

    def kernel_log(self) -> Reading | Absent:
        """The kernel's ring buffer; absent where it does not reach back to the boot any more."""
        result = self._channel.run("dmesg", TIMEOUT)
        text = result.text
        if result.status:
            return Absent("kernel log", result.stderr.decode("utf-8", "replace").strip())
        if "Linux version" not in text and "Booting Linux" not in text:
            return Absent("kernel log", "the ring buffer does not reach back to the boot")
        return parse_dmesg(text).reading()

    def _files(self, root: str) -> dict[str, str] | None:
        """Path below `root` → content, of all one-line files; None where `root` is not there."""
        result = self._channel.run(LIST.format(root=root), TIMEOUT)
        if result.status:
            return None
        lines = (line.partition("=") for line in result.text.splitlines())
        return {path.removeprefix(f"{root}/"): content for path, _, content in lines}

    def debugfs(self, names: list[str]) -> Reading | Absent:
        """``/sys/kernel/debug/cma``: base and count in pages (CONFIG_CMA_DEBUGFS)."""
        files = self._files(DEBUGFS)
        if files is None:
            return Absent("debugfs", f"no {DEBUGFS} (CONFIG_CMA_DEBUGFS, debugfs mounted)")
        return debugfs_reading(parse_debugfs(files, known_names=names))

    def sysfs(self) -> Reading | Absent:
        """``/sys/kernel/mm/cma``: which areas there are (CONFIG_CMA_SYSFS, from 5.13)."""
        files = self._files(SYSFS)
        if files is None:
            return Absent("sysfs", f"no {SYSFS} (CONFIG_CMA_SYSFS, from 5.13 on)")
        return sysfs_reading(parse_sysfs(files))

    def command_line(self) -> Reading | None:
        """``cma=`` on the kernel's command line, if it is there."""
        text = self._channel.get("/proc/cmdline", TIMEOUT).decode("utf-8", "replace")
        return read_command_line(text)
