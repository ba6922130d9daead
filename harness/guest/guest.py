# SPDX-License-Identifier: MIT
"""What a test holds: a booted guest that it can ask, load a module into, and judge."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.guest import files
from harness.guest.application import AppScript, pattern, running
from harness.guest.cma_state import CmaState, directories, read_area, read_state
from harness.guest.executed import note_module
from harness.guest.files import Via, silent
from harness.guest.heap import HeapScript, NotFound, heap_path
from harness.guest.ssh.service import Ssh
from harness.guest.witnesses import DEBUGFS, Witnesses
from harness.imageset.features import Feature
from harness.imageset.model import APP, ImageSet
from harness.imageset.module import MARKS, NO_WAY, NO_WAY_HELP
from harness.machine.channel import CommandResult
from harness.machine.crash import Crash
from harness.machine.errors import CommandFailed
from harness.machine.machine import Machine
from harness.memory.app import AppRegion, parse_app_output
from harness.memory.devicetree import read_dtb
from harness.memory.errors import MisplacedAllocation
from harness.memory.judge import Placement, judge
from harness.memory.memorymap import MemoryMap, reconcile
from harness.memory.ranges import AddressRange
from harness.memory.render import render_map

if TYPE_CHECKING:
    from paramiko import SSHClient

    from harness.guest.ssh.transfer import ByteProgress

AREA = "BiscuitOS_cma"
DEVICE = "/dev/CMA_demo"
NODES = """\
while read -r number node; do case $node in
  {name}|{name}[0-9])
    set -- $(ls -l /dev/$node 2>/dev/null)
    [ "$5$6" = "10,$number" ] || {{
      rm -f /dev/$node; mknod /dev/$node c 10 $number || [ -c /dev/$node ]
    }};;
esac; done </proc/misc"""
"""Makes the driver's device nodes (their number, from 2 on, at the end of the name) that are not
there, or are those of another time.
"""
HEAP_JOB = 1 << 20
"""Bytes that the main job takes from a heap, as the application takes them from the driver."""
FIND = """\
if [ -f {path} ]; then echo {path}; else
  for m in {marks}; do
    for f in $(find /lib/modules/{release} -name '*.ko' ! -name cma_calls.ko 2>/dev/null); do
      grep -q $m $f && echo $f && break 2
    done
  done
fi; :"""
"""Prints where the driver is in a guest, found by what it is (`harness.imageset.module.MARKS`); our
tests' own module takes the same symbols.
"""
TIMEOUT = 10.0
"""Seconds that a command gets unless the test says otherwise; a guest answers in milliseconds."""


@dataclasses.dataclass(frozen=True)
class MainJobResult:
    """The main job's result: where the allocation is, on which map."""

    placement: Placement
    memory_map: MemoryMap
    region: AppRegion


class Guest:
    """A booted guest. Every method raises the errors of `harness.machine.errors`."""

    def __init__(self, machine: Machine, area: str = AREA) -> None:
        self.machine = machine
        self.area = area
        """The CMA area that allocations must come from."""
        self.held_output = ""
        """What the application of the last `holding` printed from its start to its end."""
        self._provided: dict[str, str] = {}
        self._brought: dict[str, Path] = {}
        self._module_name = ""
        self._debug_dirs: dict[str, str] = {}
        self._ssh = Ssh(machine)
        self._served = [area]
        """Where heaps stand for the driver: the areas of its devices."""

    @property
    def by_heap(self) -> bool:
        """Whether memory comes from dma-buf heaps, because there is no driver for this kernel."""
        return Feature.HEAP_ONLY in self.images.features

    def heap(self, device: str = DEVICE) -> str:
        """The heap that stands for a device of the driver's."""
        return heap_path(self._served[int(device.removeprefix(DEVICE) or 0)])

    @property
    def images(self) -> ImageSet:
        """What it was booted from."""
        return self.machine.config.images

    @property
    def ssh(self) -> SSHClient:
        """A paramiko client that is connected to this guest and to no other, made at first use.

        Raises `UserError` where the guest has no ssh server, and a
        `harness.guest.ssh.errors.SshError` where what answers is not this machine's guest.
        """
        return self._ssh.client().ssh

    def run(
        self, command: str, timeout: float = TIMEOUT, *, check: bool = True, via: Via = "console"
    ) -> CommandResult:
        """Runs a shell command. Raises `CommandFailed` for a status other than 0 if `check`.

        ``via="ssh"`` gives each command a shell of its own, and several threads may run one each at
        once; on a guest without ssh it is the console all the same.
        """
        ssh = self._way(via)
        run = self.machine.channel.run if ssh is None else ssh.run
        result = run(command, timeout)
        return result.check() if check else result

    def _way(self, via: Via | None) -> Ssh | None:
        """The ssh service, where it is wanted and available; None means the console."""
        if via not in (None, "ssh", "console"):
            raise UserError(f"via={via!r} is neither 'ssh' nor 'console'")
        wanted = via != "console" and Feature.SSH in self.images.features
        return self._ssh if wanted and not self._ssh.absent else None

    def put(
        self,
        source: Path | bytes,
        path: str,
        mode: int = 0o644,
        timeout: float = 60.0,
        *,
        progress: ByteProgress = silent,
        via: Via | None = None,
    ) -> None:
        """Copies a file of the host (or bytes) to `path` in the guest, checked by its SHA-256.

        Over ssh where the guest has it, else over the console, or as `via` says. Raises
        `GuestFileError` with the guest's reason, such as a full disk; a part of a file is not left
        behind over ssh.
        """
        way = self._way(via)
        files.put(way, self.machine.channel, source, path, mode, timeout, progress)

    def get(
        self,
        path: str,
        target: Path | None = None,
        timeout: float = 60.0,
        *,
        progress: ByteProgress = silent,
        via: Via | None = None,
    ) -> bytes:
        """Copies a file of the guest to `target` on the host; without one, gives its content.

        Otherwise as `put`. A target that exists is replaced only by a whole, checked file.
        """
        way = self._way(via)
        return files.get(way, self.machine.channel, path, target, timeout, progress)

    def read_file(self, path: str, timeout: float = TIMEOUT) -> bytes:
        """A file's content, checked on the way. Raises `GuestFileError`."""
        return self.machine.channel.get(path, timeout)

    def read_text(self, path: str) -> str:
        """A file's content as text."""
        return self.read_file(path).decode("utf-8", "replace")

    def write_file(self, path: str, data: bytes, mode: int = 0o644, timeout: float = 60.0) -> None:
        """Writes a file, checked in the guest. Raises `GuestFileError`."""
        self.machine.channel.put(path, data, mode, timeout)

    def expect_crash(
        self, pattern: str, timeout: float = 10
    ) -> contextlib.AbstractContextManager[list[Crash]]:
        """See `Machine.expect_crash`."""
        return self.machine.expect_crash(pattern, timeout)

    def read_physical(self, address: int, length: int) -> bytes:
        """Guest physical memory ``[address, address + length)``, read by the host past the
        guest.
        """
        return self.machine.read_physical(address, length)

    # The driver

    def release(self) -> str:
        """The running kernel's ``uname -r``."""
        return self.read_text("/proc/sys/kernel/osrelease").strip()

    def module_path(self) -> str:
        """Where the driver is in the guest; it is put there where the root image has none."""
        if "module" not in self._provided:
            release = self.release()
            path = f"/lib/modules/{release}/extra/cma.ko"
            if "module" not in self.images.foreign:
                marks = " ".join(MARKS)
                found = self.run(FIND.format(path=path, release=release, marks=marks)).text.strip()
                path = found or path
            self._provide(path, "module", self.images.module, 0o644)
        return self._provided["module"]

    def module_name(self) -> str:
        """The driver's name among the loaded modules, whatever its file is called."""
        if not self._module_name:
            self._module_name = "cma"
            ours = Feature.AGENT in self.images.features and "module" not in self.images.foreign
            if not ours:
                path = self.module_path()
                command = f"tr '\\000' '\\n' <{shlex.quote(path)} | grep '^name='"
                said = self.run(command, check=False).text.strip()
                stem = path.rpartition("/")[2].removesuffix(".ko").replace("-", "_")
                self._module_name = said.partition("=")[2] or stem
        return self._module_name

    def module_source(self) -> str:
        """Which file is loaded, for a user: the root image's, or the one brought in."""
        path = self.module_path()
        brought = self._brought.get("module")
        return f"{brought}, as {path}" if brought else f"{path} of the root image"

    def app_path(self) -> str:
        """Where the application is in the guest; it is put there where the root image has none."""
        return self._provide(f"/usr/bin/{APP}", "app", self.images.app, 0o755)

    def _provide(self, path: str, part: str, ours: Path | None, mode: int) -> str:
        """`path` in the guest, or where the host's file was brought in; looked for once."""
        if part in self._provided:
            return self._provided[part]
        foreign = part in self.images.foreign
        if foreign or self.run(f"[ -f {path} ]", check=False).status:
            if ours is None:
                raise UserError(
                    f"the guest has no {path}, and none was given: use --qemu-{part} FILE"
                )
            path = f"/tmp/{ours.name}"
            self.write_file(path, ours.read_bytes(), mode)
            self._brought[part] = ours
        self._provided[part] = path
        return path

    def insmod(self, arguments: str = "") -> None:
        """Loads the driver. Raises `CommandFailed` with the kernel's reason, `UserError` where this
        system has no way for it to come to an area.

        Where heaps stand for it, its parameter ``area`` says which.
        """
        if self.by_heap:
            given = re.search(r"(?:^|\s)area=(\S*)", arguments)
            self._served = given[1].split(":") if given else [self.area]
            tests = " && ".join(f"ls {shlex.quote(heap_path(name))}" for name in self._served)
            self.run(tests)
            return
        try:
            self.run(f"insmod {shlex.quote(self.module_path())} {arguments}")
        except CommandFailed as error:
            if NO_WAY in self.run("dmesg | tail -n 5", check=False).text:
                raise UserError(f"Linux {self.release()} {NO_WAY_HELP}") from error
            raise
        note_module(self.machine)
        if Feature.AGENT not in self.images.features:
            # Another's system may have a /dev of its own, which nobody adds to.
            given = re.search(r"(?:^|\s)name=(\S+)", arguments)
            name = given[1] if given else DEVICE.rpartition("/")[2]
            self.run(NODES.format(name=name))

    def rmmod(self) -> None:
        """Unloads it. Raises `UserError` where this root image has no command that could: BusyBox
        takes a module's name to end at its first dot.
        """
        if self.by_heap:
            return
        name = self.module_name()
        done = self.run(f"rmmod {name}", check=False)
        cut = name.partition(".")[0]
        if done.status and cut != name and f"'{cut}'".encode() in done.stderr + done.stdout:
            raise UserError(f"the guest's rmmod cuts {name} to {cut}: give it a name without dots")
        done.check()
        if Feature.AGENT not in self.images.features:
            self.run(f"rm -f {DEVICE} {DEVICE}[0-9]")

    def modules(self) -> set[str]:
        """Names of the loaded modules."""
        return {line.split()[0] for line in self.read_text("/proc/modules").splitlines() if line}

    # Memory

    def memory_map(self, require: Collection[str] | None = None) -> MemoryMap:
        """Physical memory as all of the guest's witnesses agree on it; raises where they do not,
        and where an area of `require` (by default the one under test) is not there.
        """
        machine = self.machine
        witnesses = Witnesses(machine.channel, self.images, machine.console_text).all()
        names = [self.area] if require is None else require
        return reconcile(witnesses, require=names, features=self.images.features)

    def cma(self) -> CmaState:
        """What is allocated in each area now, and the kernel's counters. Needs ``debugfs``."""
        nodes = read_dtb(self.images.dtb.read_bytes(), str(self.images.dtb)).cma_nodes
        return read_state(self.machine.channel, [node.name for node in nodes])

    def allocated(self, area: str | None = None) -> tuple[AddressRange, ...]:
        """The ranges whose bits are set in an area's bitmap. Needs ``debugfs``."""
        return read_area(self.machine.channel, area or self.area).allocated or ()

    def debug_dir(self, area: str | None = None) -> str:
        """An area's directory in debugfs, as this kernel calls it. Needs ``debugfs``."""
        area = area or self.area
        if area not in self._debug_dirs:
            names = " ".join(shlex.quote(name) for name in directories(area))
            found = self.run(f"cd {DEBUGFS} && ls -d {names} 2>/dev/null", check=False)
            self._debug_dirs[area] = f"{DEBUGFS}/{found.text.strip() or area}"
        return self._debug_dirs[area]

    def script(
        self, device: str = DEVICE, options: str = ""
    ) -> contextlib.AbstractContextManager[AppScript]:
        """The application as a server on `device`. Needs ``app-script`` and a loaded driver."""
        if not self.by_heap:
            return running(self, device, options)
        return self._on_heap(self.heap(device), options)

    def heap_script(self, area: str = "") -> contextlib.AbstractContextManager[AppScript]:
        """The application on the heap of an area, whether there is a driver or not; an empty name
        means the default area. Needs ``heaps`` and ``app-script``.
        """
        return self._on_heap(heap_path(area))

    def _on_heap(
        self, heap: str, options: str = ""
    ) -> contextlib.AbstractContextManager[AppScript]:
        kind = functools.partial(HeapScript, find_pages=self.machine.find_pages, device=self.heap)
        return running(self, heap, options, kind)

    def run_app(self, options: str = "") -> list[AppRegion]:
        """Runs the application to its end and gives the regions it printed; of a heap's memory,
        the one that the host has found.
        """
        if self.by_heap:
            with self.script() as app:
                region = app.alloc(HEAP_JOB)
                app.fill(HEAP_JOB, region)
                app.check(HEAP_JOB, region)
                held = self.read_physical(region.start, region.size)
            if held != pattern(HEAP_JOB, region.size):
                raise NotFound(f"what the application wrote is not at {region}")
            return [AppRegion(region, region, f"found by the host, from {self.heap()}")]
        text = self.run(f"{self.app_path()} {options}", timeout=30).text
        return parse_app_output(text, titled="--pattern" not in options)

    def judge(self, allocation: AddressRange, memory_map: MemoryMap | None = None) -> Placement:
        """Where the allocation is. Raises a `MisplacedAllocation` where it is not in `area`
        alone.
        """
        memory_map = memory_map or self.memory_map()
        try:
            return judge(allocation, self.area, memory_map)
        except MisplacedAllocation as error:
            error.add_note(render_map(memory_map, [allocation], expected=self.area))
            raise

    def main_job(self) -> MainJobResult:
        """The main job: loads the driver, allocates, and judges where the memory is."""
        memory_map = self.memory_map()
        if self.by_heap or self.module_name() not in self.modules():
            self.insmod()
        region = self.run_app()[0]
        return MainJobResult(self.judge(region.phys, memory_map), memory_map, region)

    @contextlib.contextmanager
    def holding(self, options: str = "") -> Iterator[list[AppRegion]]:
        """Runs the block while the application, in the background, holds what it allocated."""
        fifo, out = "/tmp/hold.in", "/tmp/hold.out"
        app = self.app_path()
        self.run(f"rm -f {fifo} {out}; mkfifo {fifo}")
        self.run(
            f"{app} --hold {options} <{fifo} >{out} 2>&1 & exec 7>{fifo};"
            f" until grep -q ^Virt: {out} || ! kill -0 $!; do usleep 2000; done"
        )
        try:
            yield parse_app_output(self.read_text(out), titled="--pattern" not in options)
        finally:
            result = self.run(f"exec 7>&-; wait; cat {shlex.quote(out)}", check=False)
            self.held_output = result.text
