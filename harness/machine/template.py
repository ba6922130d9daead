# SPDX-License-Identifier: MIT
"""Template machines: boot once, freeze, and start as many pristine clones as there are tests.

The template's RAM is a file that QEMU maps shared; its device state is a migration stream that
leaves the RAM out (capability ``x-ignore-shared``). A clone maps the same file privately, so all
clones read one copy and each keeps only what it writes (QEMU ``docs/devel/migration.rst``,
``backends/hostmem-file.c``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from filelock import FileLock

from harness.errors import UserError
from harness.host.files import sync
from harness.host.integrity import SEAL, damage, read_seal, seal
from harness.machine import qcow2
from harness.machine.abilities import Abilities
from harness.machine.config import MachineConfig, Storage
from harness.machine.errors import HostStalled, MachineError
from harness.machine.machine import Machine

FORMAT = 7
"""Goes into the key: raise it when what a template holds changes."""
PROBE_TIMEOUT = 20.0
RAM, STATE, META, DISK = "ram", "state", "meta.json", "disk.qcow2"
CONSOLE = "console.log"
TRACE = "trace.log"
"""What the boot executed, where that is logged."""


class TemplateGone(MachineError):
    """Somebody else has removed a template, since a clone of his gave no answer."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A frozen machine on disk: ``ram``, ``state``, ``meta.json``, what its console said, and an
    overlay of its disk.
    """

    config: MachineConfig
    directory: Path

    def clone(
        self,
        artifacts: Path | None = None,
        live: IO[str] | None = None,
        *,
        gdb: IO[str] | None = None,
    ) -> Machine:
        """Starts a pristine copy, gives it a nonce of its own and probes it.

        Raises a `HarnessError` where the clone gives no answer, `TemplateGone` where another
        process removes the template meanwhile.
        """
        meta = self._meta()
        storage = Storage(
            self.directory / RAM,
            overlay=None if self.config.disk is None else self.directory / DISK,
            state=self.directory / STATE,
            abilities=meta.abilities,
        )
        machine = Machine(
            self.config, artifacts, live, storage=storage, stamped=meta.stamped, gdb=gdb
        )
        with contextlib.suppress(OSError):
            machine.before = (self.directory / CONSOLE).read_bytes()
        machine.boot_trace = self.directory / TRACE
        machine.module_sections = dict(meta.module_sections)
        try:
            machine.start()
            machine.restore()
            if not machine.open(PROBE_TIMEOUT) > 0:
                raise MachineError("the clone's clock stands still")
            machine.channel.stir(PROBE_TIMEOUT)
            if not machine.channel.stirred:
                raise MachineError(
                    "the clone took no fresh randomness: its /dev/urandom gives what every other"
                    " clone's gives"
                )
        except FileNotFoundError as error:
            machine.close()
            raise TemplateGone(f"the template {self.directory} was removed: {error}") from error
        except BaseException:
            machine.close()
            raise
        return machine

    def _meta(self) -> Meta:
        path = self.directory / META
        try:
            content = json.loads(path.read_text())
            abilities = Abilities(**content["abilities"])
            return Meta(content["stamped"], abilities, content["module_sections"])
        except FileNotFoundError as error:
            raise TemplateGone(f"the template {self.directory} was removed") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise MachineError(f"the template {self.directory} is damaged: {error}") from error


@dataclasses.dataclass(frozen=True)
class Meta:
    """What its clones must know of a template."""

    stamped: bool
    """The kernel's log has time stamps."""
    abilities: Abilities
    module_sections: Mapping[str, int]
    """See `Machine.module_sections`."""


def freeze(machine: Machine, directory: Path) -> None:
    """Writes the device state of a machine whose RAM is `directory`'s file; it stops with that.

    It is not stopped before: QEMU stops it itself.
    """
    abilities = machine.save(directory / STATE)
    (directory / CONSOLE).write_bytes(machine.log.bytes())
    meta = Meta(machine.watcher.stamped, abilities, machine.module_sections)
    (directory / TRACE).write_bytes(machine.trace())
    (directory / META).write_text(json.dumps(dataclasses.asdict(meta)))


def qemu_version(qemu: str) -> str:
    """What ``qemu --version`` prints, first line. Raises `UserError` where it is not there."""
    path = shutil.which(qemu)
    if path is None:
        raise UserError(
            f"{qemu} is not on this machine's PATH: install it (Debian: qemu-system-arm)"
        )
    stat = Path(path).stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def key(config: MachineConfig, point: str) -> str:
    """The digest of all that a template depends on: image set, arguments, QEMU, the point."""
    parts = [str(FORMAT), config.images.digest(), qemu_version(config.qemu), point]
    parts += [config.command_line, *config.devices(), *config.trace]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def damaged(directory: Path, wholly: bool = False) -> list[str]:
    """The files of a template that are not what they were when it was made, by their size and time;
    `wholly`: by their contents.
    """
    known = read_seal(directory)
    if known is None:
        return [SEAL]
    # The time of this one is that of the last use.
    return damage(directory, {n: v for n, v in known.items() if n != META}, wholly)


def _sound(directory: Path) -> bool:
    return (directory / META).is_file() and not damaged(directory)


Prepare = Callable[[Machine], None]


def _nothing(machine: Machine) -> None:
    """A `Prepare` that leaves the machine as it is."""


class TemplateStore:
    """Templates in a directory of the cache, made on demand, each by one process at a time."""

    def __init__(self, root: Path, warm: Prepare = _nothing) -> None:
        """`warm` runs on each machine before it is frozen and leaves no trace in what it offers:
        clones need not pay again for what it made the guest do first.
        """
        self.root = root
        self._warm = warm

    def get(
        self,
        config: MachineConfig,
        point: str = "booted",
        prepare: Prepare = _nothing,
        artifacts: Path | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> Template:
        """The template of `config` at `point`: the state after `prepare` has run on a booted guest.

        `point` names what `prepare` does; it is part of the key, so the name must change with it.
        """
        name = key(config, point)
        directory = self.root / name
        with contextlib.suppress(OSError):
            os.utime(directory / META)  # its age is the time since its last use
        if not _sound(directory):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"{name}.lock"):
                if not _sound(directory):
                    bad = damaged(directory) if (directory / META).is_file() else []
                    why = f": {', '.join(bad)} of the last was damaged" if bad else ""
                    say(f"booting a template ({point}){why}")
                    self._make(config, directory, prepare, artifacts)
        return Template(config, directory)

    def unused(self, older_than: float | None = None) -> list[tuple[Path, int]]:
        """Templates not used for `older_than` seconds (None: all), with their bytes on disk."""
        found = []
        for meta in self.root.glob(f"*/{META}"):
            with contextlib.suppress(OSError):
                if older_than is None or time.time() - meta.stat().st_mtime >= older_than:
                    files = meta.parent.iterdir()
                    found.append((meta.parent, sum(file.stat().st_blocks * 512 for file in files)))
        return sorted(found)

    def remove(self, directory: Path) -> None:
        """Removes a template. Its clones go on: they hold its files open."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.with_suffix(".lock").unlink(missing_ok=True)

    def discard(self, template: Template) -> None:
        """Removes a template whose clones do not answer, so that the next `get` makes it again."""
        (template.directory / META).unlink(missing_ok=True)
        shutil.rmtree(template.directory, ignore_errors=True)

    def _make(
        self, config: MachineConfig, directory: Path, prepare: Prepare, artifacts: Path | None
    ) -> None:
        partial = self.root / f"{directory.name}.partial"  # ours alone: the caller has the lock
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
        partial.mkdir()
        try:
            overlay = None if config.disk is None else partial / DISK
            if config.disk is not None and overlay is not None:
                overlay.write_bytes(qcow2.empty(config.disk.stat().st_size))
            storage = Storage(partial / RAM, shared=True, overlay=overlay)
            with Machine(config, artifacts, storage=storage) as machine:
                machine.start()
                machine.open()
                # A first command costs the guest page faults that its clones need not pay again.
                machine.channel.run("echo warm; echo up >&2", PROBE_TIMEOUT)
                machine.channel.probe(PROBE_TIMEOUT)
                self._warm(machine)
                prepare(machine)
                freeze(machine, partial)
                if why := machine.disturbed():
                    # Its clones would all be late from their start.
                    raise HostStalled(f"this host stood still while a template was made: {why}")
            # QEMU has ended, and the RAM was its file: from now on nobody writes to it.
            os.chown(partial / RAM, os.getuid(), os.getgid())
            (partial / RAM).chmod(0o444)
            seal(partial)
            partial.rename(directory)
            sync(self.root)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
