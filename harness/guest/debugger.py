# SPDX-License-Identifier: MIT
"""gdb on a machine that runs: a private socket, and a script with the symbols of what runs there.

The addresses of a module's sections are in ``/sys/module/NAME/sections``, as root reads them
(Documentation/ABI/testing/sysfs-module). The kernel's own gdb commands are there where it was built
with CONFIG_GDB_SCRIPTS (Documentation/dev-tools/gdb-kernel-debugging.rst).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.guest.guest import Guest
from harness.imageset.model import ImageSet
from harness.machine.machine import Machine

GDBS = ("gdb-multiarch", "arm-none-eabi-gdb", "arm-linux-gnueabihf-gdb")
_CHARDEV = "debugger"
_SECONDS = 10.0
_LIST = "cd /sys/module && grep -H . */sections/.text */sections/.*data */sections/.bss"
_LINE = re.compile(r"^([^/:]+)/sections/(\.[\w.]+):(0x[0-9a-f]+)$")
_SCRIPTS = "scripts/gdb/linux/constants.py"
"""Made by the kernel's build where its gdb commands can be used."""


@contextlib.contextmanager
def served(machine: Machine) -> Iterator[str]:
    """QEMU waits for gdb on a socket that only this user can reach; the command that attaches.

    The machine runs on until gdb comes.
    """
    with tempfile.TemporaryDirectory(prefix="harness-gdb.") as directory:
        place = Path(directory)
        sections = {}
        with contextlib.suppress(HarnessError):  # a kernel that has crashed answers nothing
            sections = loaded(Guest(machine).run(_LIST, timeout=_SECONDS, check=False).text)
        path = place / "socket"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen(1)
            machine.qmp.add_socket(_CHARDEV, server, server=True)
        script = place / "gdbinit"
        script.write_text(commands(machine.config.images, sections, path))
        machine.qmp.monitor(f"gdbserver chardev:{_CHARDEV}")
        try:
            yield shlex.join([_gdb() or GDBS[0], "-q", "-x", str(script)])
        finally:
            with contextlib.suppress(HarnessError):  # it may have ended
                machine.qmp.monitor("gdbserver none")
                machine.qmp.execute("chardev-remove", id=_CHARDEV)


def loaded(text: str) -> dict[str, dict[str, int]]:
    """Where the sections of each loaded module are, from lines ``NAME/sections/.text:0x…``."""
    found: dict[str, dict[str, int]] = {}
    for match in filter(None, map(_LINE.match, text.splitlines())):
        if int(match[3], 16):
            found.setdefault(match[1], {})[match[2]] = int(match[3], 16)
    return found


def commands(images: ImageSet, sections: Mapping[str, Mapping[str, int]], path: Path) -> str:
    """A script for gdb: symbols of the kernel and of the modules that are on this host, and the
    socket to attach to.
    """
    rows = ["set confirm off", "set pagination off", "set architecture armv7"]
    if images.vmlinux is not None:
        rows.append(f"file {_quoted(images.vmlinux)}")
        rows += [f"source {_quoted(script)}" for script in _kernel_scripts(images.vmlinux)]
    for name, places in sections.items():
        module = _module(images, name)
        if module is None or ".text" not in places:
            continue
        others = sorted(set(places) - {".text"})
        more = "".join(f" -s {section} {places[section]:#x}" for section in others)
        rows.append(f"add-symbol-file {_quoted(module)} {places['.text']:#x}{more}")
    return "\n".join([*rows, f"target remote {path}"]) + "\n"


def _module(images: ImageSet, name: str) -> Path | None:
    """The file of a loaded module; None where this host does not have it."""
    given = images.module
    # The kernel writes an underscore where the file has a hyphen.
    if given is not None and given.stem.replace("-", "_") == name:
        return given
    return None


def _kernel_scripts(vmlinux: Path) -> list[Path]:
    script = vmlinux.with_name("vmlinux-gdb.py")
    return [script] if script.is_file() and (vmlinux.parent / _SCRIPTS).is_file() else []


def _quoted(path: Path) -> str:
    return re.sub(r"([\s\"'\\])", r"\\\1", str(path))


def _gdb() -> str | None:
    return next((found for name in GDBS if (found := shutil.which(name))), None)


def run(command: str) -> bool:
    """Runs gdb on this terminal until it is left; False where there is none that knows ARM."""
    words = shlex.split(command)
    if shutil.which(words[0]) is None:
        return False

    # Ctrl-C is gdb's: it stops the guest. A function and not SIG_IGN, which gdb would inherit.
    def leave(number: int, frame: object) -> None:
        pass

    before = signal.signal(signal.SIGINT, leave)
    try:
        subprocess.run(words, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    return True
