# SPDX-License-Identifier: MIT
"""A machine that one process holds under a name, and others of the same user reach meanwhile.

The holder listens on a socket in a directory that only its user can enter. A request is a line of
JSON and the bytes that it announces; so is an answer. One is served after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UserError
from harness.guest.guest import Guest
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_LONGEST = 107
"""Bytes of a socket's path: ``sun_path`` less its end (unix(7))."""
_SECONDS = 3600.0
"""For a command, or a file, of a held machine."""


class HeldError(HarnessError):
    """The machine refuses what was asked of it."""


def directory() -> Path:
    """Where the sockets are. Raises `UserError` where another user has made it, and where it cannot
    be made.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir())
    place = base / f"vexpress-cma-harness-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        status = place.lstat()
    except OSError as error:
        raise UserError(
            f"{place} cannot be made ({error.strerror}): name a directory of yours in"
            " XDG_RUNTIME_DIR"
        ) from error
    if place.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError(f"{place} is not this user's alone: remove it, or set XDG_RUNTIME_DIR")
    return place


def _path(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a machine: take letters, digits, - . _")
    path = directory() / f"{name}.sock"
    if len(os.fsencode(path)) > _LONGEST:
        raise UserError(f"{path} is too long for a socket: take a shorter name or XDG_RUNTIME_DIR")
    return path


def free(name: str) -> Path:
    """The socket of a name. Raises `UserError` for what is no name, and one that is in use."""
    path = _path(name)
    if _answers(path):
        raise UserError(f"there is a machine {name} already: leave it, or take another name")
    return path


def check_images(images: ImageSet) -> None:
    """Raises `UserError` for guests with one serial line only: that is the user's terminal."""
    if Feature.AGENT not in images.features:
        raise UserError("--name needs our root image: another has no serial line besides yours")


@contextlib.contextmanager
def served(name: str, guest: Guest) -> Iterator[None]:
    """Others reach the guest by this name for the block. Raises as `free` and `check_images`."""
    path = free(name)
    check_images(guest.machine.config.images)
    with socket.socket(socket.AF_UNIX) as server:
        path.unlink(missing_ok=True)
        server.bind(str(path))
        server.listen(8)
        thread = threading.Thread(target=_serve, args=(server, guest), name="held", daemon=True)
        thread.start()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _serve(server: socket.socket, guest: Guest) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        # Outermost: closing a stream writes what is left, to whom may be gone.
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
            try:
                request, data = _read(stream)
                answer, content = _carry_out(guest, request, data)
            except (HarnessError, ValueError, KeyError, TypeError, EOFError) as error:
                answer, content = {"error": str(error) or type(error).__name__}, b""
            _write(stream, answer, content)


def _carry_out(
    guest: Guest, request: Mapping[str, Any], data: bytes
) -> tuple[dict[str, Any], bytes]:
    what = request["what"]
    if what == "put":
        guest.put(data, request["path"], int(request["mode"]), _SECONDS)
        return {}, b""
    if what == "get":
        return {}, guest.get(request["path"], timeout=_SECONDS)
    if what == "run":
        result = guest.run(request["command"], _SECONDS, check=False)
        return {
            "status": result.status,
            "errors": len(result.stderr),
        }, result.stdout + result.stderr
    return {}, b""


def _read(stream: Any) -> tuple[dict[str, Any], bytes]:
    line = stream.readline()
    if not line:
        raise EOFError("nothing was asked")
    values: dict[str, Any] = json.loads(line)
    size = int(values.pop("size", 0))
    data: bytes = stream.read(size)
    if size < 0 or len(data) != size:
        raise EOFError("it was cut off")
    return values, data


def _write(stream: Any, values: Mapping[str, Any], data: bytes) -> None:
    stream.write(json.dumps({**values, "size": len(data)}).encode() + b"\n" + data)
    stream.flush()


class Held:
    """Somebody's held machine, from another process."""

    def __init__(self, name: str) -> None:
        """Raises `UserError` where nobody holds one of this name."""
        self.name = name
        self._socket = _path(name)
        if not _answers(self._socket):
            there = sorted(path.stem for path in directory().glob("*.sock") if _answers(path))
            known = f"there are {', '.join(there)}" if there else "nobody holds one"
            raise UserError(f"no machine is called {name} ({known}): harness shell --name {name}")

    def put(self, data: bytes, path: str, mode: int) -> None:
        """Writes a file in the guest. Raises `HeldError`."""
        self._ask({"what": "put", "path": path, "mode": mode}, data)

    def get(self, path: str) -> bytes:
        """Reads a file of the guest. Raises `HeldError`."""
        return self._ask({"what": "get", "path": path})[1]

    def run(self, command: str) -> tuple[int, bytes, bytes]:
        """A shell command's exit status, output and errors. Raises `HeldError`."""
        answer, data = self._ask({"what": "run", "command": command})
        at = len(data) - int(answer["errors"])
        return int(answer["status"]), data[:at], data[at:]

    def _ask(self, request: Mapping[str, Any], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self._socket))
                with connection.makefile("rwb") as stream:
                    _write(stream, request, data)
                    answer, content = _read(stream)
        except (OSError, EOFError, ValueError) as error:
            raise HeldError(f"the machine {self.name} is gone: {error}") from error
        if "error" in answer:
            raise HeldError(f"{self.name}: {answer['error']}")
        return answer, content
