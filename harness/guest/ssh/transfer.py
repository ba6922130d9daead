# SPDX-License-Identifier: MIT
"""Files over ssh, checked by SHA-256: through `cat`, since every guest has it and needs no server.

The sum of a file that is put is taken over what the guest's file holds afterwards; that of one that
is got over the very bytes that were sent, so a file that changes meanwhile is no error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import IO

from harness.guest.ssh.client import Client, quoted
from harness.machine.deadline import Deadline
from harness.machine.errors import ConsoleError, GuestFileError

ByteProgress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all; 0 where that is not known), perhaps in another thread.
Over the console only once, at the end.
"""
_SUM = re.compile(r"([0-9a-f]{64})  -\n")
# Where the disk is full, how full it is tells more than the error.
_PUT = """\
if [ -d {path} ]; then echo "it is a directory" >&2; exit 1; fi
cat >{path} && chmod {mode:o} {path} && sha256sum <{path} && exit
[ ! -e {path} ] || df -k {path} | tail -n 1 >&2
[ ! -f {path} ] || rm -f {path}
exit 1
"""
_GET = """\
exec 4<{path} || exit
if [ -d {path} ]; then echo "it is a directory" >&2; exit 1; fi
stat -L -c %s {path}
{{ tee /proc/self/fd/3 <&4 | sha256sum >&2; }} 3>&1
"""


def put(
    client: Client,
    source: IO[bytes],
    size: int,
    path: str,
    mode: int,
    deadline: Deadline,
    progress: ByteProgress,
) -> None:
    """Writes `source` to `path` in the guest. Raises `GuestFileError`; nothing is left then."""
    digest, done = hashlib.sha256(), 0
    out, err = bytearray(), bytearray()

    class Counted:
        """`source`, summed up as it is read."""

        def read(self, length: int) -> bytes:
            piece = source.read(length)
            digest.update(piece)
            return piece

    def sent(length: int) -> None:
        nonlocal done
        done += length
        progress(done, size)

    what = f"put {path}"
    script = _PUT.format(path=quoted(path), mode=mode)
    counted: IO[bytes] = Counted()  # type: ignore[assignment]
    status = client.converse(script, what, deadline, out.extend, err.extend, counted, sent)
    if status:
        raise _refused(what, err, f" (after {done} of {size} bytes)" if done else "")
    _compare(what, out.decode("ascii", "replace"), digest.hexdigest())


def get(
    client: Client, path: str, target: IO[bytes], deadline: Deadline, progress: ByteProgress
) -> None:
    """Reads `path` in the guest into `target`. Raises `GuestFileError`."""
    digest, done, total = hashlib.sha256(), 0, 0
    head: bytearray | None = bytearray()
    err = bytearray()

    def content(piece: bytes) -> None:
        nonlocal done
        digest.update(piece)
        target.write(piece)
        done += len(piece)
        progress(done, max(total, done) if total else 0)

    def out(piece: bytes) -> None:
        nonlocal head, total
        if head is None:
            content(piece)
            return
        head += piece
        size, newline, rest = bytes(head).partition(b"\n")
        if newline:
            head, total = None, int(size)
            if rest:
                content(rest)

    what = f"get {path}"
    status = client.converse(_GET.format(path=quoted(path)), what, deadline, out, err.extend)
    said = err.decode("utf-8", "replace")
    if status or not _SUM.fullmatch(said):
        raise _refused(what, err, f" (after {done} of {total} bytes)" if done else "")
    _compare(what, said, digest.hexdigest())


def _refused(what: str, err: bytearray, how_far: str) -> GuestFileError:
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    said = "; ".join(re.sub(r"^(/bin/)?(sh|cat|tee): (line \d+: )?", "", line) for line in lines)
    full = "No space left" in said
    hint = "\nmake room in the guest, or give it more memory (--qemu-memory)" if full else ""
    return GuestFileError(f"in the guest, {what}: {said or 'it said nothing'}{how_far}{hint}")


def _compare(what: str, said: str, found: str) -> None:
    match = _SUM.fullmatch(said)
    if match is None or match[1] != found:
        raise ConsoleError(
            f"{what} arrived damaged: its SHA-256 is {found} here,"
            f" {match[1] if match else repr(said[:100])} in the guest"
        )
