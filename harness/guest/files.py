# SPDX-License-Identifier: MIT
"""Files between this host and a guest: over ssh where the guest has it, else over the console."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from harness.errors import UserError
from harness.guest.ssh.service import Ssh
from harness.machine.channel import Channel
from harness.machine.deadline import Deadline

if TYPE_CHECKING:
    from harness.guest.ssh.transfer import ByteProgress

Via = Literal["ssh", "console"]


def silent(_done: int, _total: int) -> None:
    """A `ByteProgress` that does nothing."""


def put(
    ssh: Ssh | None,
    console: Channel,
    source: Path | bytes,
    path: str,
    mode: int,
    timeout: float,
    progress: ByteProgress,
) -> None:
    """Writes `source` to `path` in the guest; over the console where `ssh` is None.

    Raises `UserError` for a source that cannot be read, `GuestFileError` for a path that cannot be
    written.
    """
    with _opened(source) as file:
        if ssh is None:
            data = file.read()
            console.put(path, data, mode, timeout)
            progress(len(data), len(data))
            return
        from harness.guest.ssh import transfer

        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        client = ssh.client()
        transfer.put(client, file, size, path, mode, Deadline(timeout), progress)


def get(
    ssh: Ssh | None,
    console: Channel,
    path: str,
    target: Path | None,
    timeout: float,
    progress: ByteProgress,
) -> bytes:
    """Reads `path` in the guest: the content, or nothing where it went to the file `target`.

    Raises `GuestFileError`, and `UserError` for a target that cannot be written; an older target
    stays as it was then.
    """
    with _replaced(target) as file:
        if ssh is None:
            data = console.get(path, timeout)
            file.write(data)
            progress(len(data), len(data))
        else:
            from harness.guest.ssh import transfer

            transfer.get(ssh.client(), path, file, Deadline(timeout), progress)
        return file.getvalue() if isinstance(file, io.BytesIO) else b""


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}") from None
    with file:
        yield file


@contextlib.contextmanager
def _replaced(target: Path | None) -> Iterator[IO[bytes]]:
    """A file that becomes `target` once all is in it."""
    if target is None:
        yield io.BytesIO()
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
