# SPDX-License-Identifier: MIT
"""Runs the tools of a build: logged, followed line by line, and never left running."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.build import tools
from harness.build.cache import Room
from harness.build.sandbox import Sandbox
from harness.errors import BuildError

TERMINATE_SECONDS = 5.0

# gcc, cpp, ld, dtc, modpost, make and patch, in the order of how much they explain.
_FIRST = (
    re.compile(r"^\S[^:]*:\d+(?::\d+)?:\s+(?:fatal )?error: .*|^Error: \S+:\d+\.\d+.*"),
    re.compile(r"^Hunk #\d+ FAILED.*|^can't find file to patch.*"),
    re.compile(r"^(?:FATAL )?ERROR: .*|.*: undefined reference to .*|.*\bsyntax error\b.*"),
    re.compile(r"^.*\b(?:error|Error): .*|.*: not found$|.*: No such file or directory.*"),
    re.compile(r"^make(?:\[\d+\])?: \*\*\* (?!Waiting).*"),
)
NO_SPACE = "No space left on device"


def first_error(text: str, following: int = 2) -> str:
    """The first error of a compiler, linker or make in `text`, with up to `following` lines on it.

    The last lines where none is recognised; empty where `text` is.
    """
    lines = text.splitlines()
    for pattern in _FIRST:
        for number, line in enumerate(lines):
            if pattern.match(line):
                more = []
                for next_line in lines[number + 1 : number + 1 + following]:
                    # gcc's quotation of the source is indented.
                    if not next_line.startswith("  ") or re.match(r"^  [A-Z]{2,}", next_line):
                        break
                    more.append(next_line)
                return "\n".join([line, *more])
    return "\n".join(lines[-5:])


# Variables of the caller that would change what make or gcc yield without being in any key.
_DROPPED = re.compile(
    r"(KBUILD|KCONFIG|MAKE|GIT_|LLVM|INSTALL_)\w*|(K|HOST|USER)?(C|A|LD|CPP)FLAGS|MFLAGS|ARCH|"
    r"CROSS_COMPILE|LOCALVERSION|CPATH|\w*INCLUDE_PATH|SOURCE_DATE_EPOCH|CC|LD|AS|HOSTCC|[OVWCM]"
)


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change a result behind the key's back."""
    kept = {name: value for name, value in os.environ.items() if not _DROPPED.fullmatch(name)}
    return {**kept, "LC_ALL": "C"}


def capture(
    argv: Sequence[str | Path], cwd: Path | None = None, data: bytes = b""
) -> tuple[int, bytes, str]:
    """Runs a short program on `data`; returns its exit status, its output and its errors.

    Raises `UserError` where it is not installed.
    """
    command = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            process_group=0,
        )
    except FileNotFoundError as error:
        raise tools.missing(command[0]) from error
    try:
        output, errors = process.communicate(data)
    finally:
        kill_group(process)
    return (
        process.returncode,
        output,
        errors.decode(errors="replace"),
    )


@dataclasses.dataclass(frozen=True)
class Tools:
    """Runs programs in the room of one build, or, where there is one, in a sandbox."""

    room: Room
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sandbox: Sandbox | None = None

    def run(
        self,
        argv: Sequence[str | Path],
        what: str,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Runs a program to its end; its output goes to the room's log.

        The program and its children are gone when this returns, also by an exception. `what` says
        what was being done. Raises `BuildError` with the first error and the log's path, and
        `Contained` for what a sandbox does not let happen.
        """
        command = [str(word) for word in argv]
        with self.room.log.open("ab") as log:
            log.write(f"+ {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            if self.sandbox is None:
                process = self._start(command, cwd)
                status = _follow(process, log.fileno(), on_line)
            else:
                status = self._contained(self.sandbox, command, cwd, log.fileno(), on_line)
        if status != 0:
            self._fail(what, command, status, start)

    def _start(self, command: list[str], cwd: Path | None) -> subprocess.Popen[bytes]:
        # Killed with us even by SIGKILL: setpriv's death signal reaches make, and make its jobs.
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        environment = {
            **clean_environment(),
            "TMPDIR": str(self.room.tmp),
            **self.environment,
        }
        try:
            return subprocess.Popen(
                prefix + command,
                cwd=cwd or self.room.out,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,
                pass_fds=[self.room.lock_fd],
            )
        except FileNotFoundError as error:
            raise tools.missing(command[0]) from error

    def _contained(
        self,
        sandbox: Sandbox,
        command: list[str],
        cwd: Path | None,
        log: int,
        on_line: Callable[[str], None] | None,
    ) -> int:
        """Runs a program in the sandbox. Raises `Contained`."""
        start = os.lseek(log, 0, os.SEEK_CUR)
        variables = {"LC_ALL": "C", "TMPDIR": str(self.room.tmp), **self.environment}
        with sandbox.start(command, cwd or self.room.out, variables) as running:
            status = _follow(running.process, log, on_line, sandbox.limits.output)
            running.ended(status, self.room.log.read_bytes()[start:].decode(errors="replace"))
        return status

    def _fail(self, what: str, command: list[str], status: int, start: int) -> None:
        with self.room.log.open("rb") as log:
            log.seek(start)
            text = log.read().decode(errors="replace")
        if NO_SPACE in text:
            raise OSError(errno.ENOSPC, NO_SPACE)
        if status == 127 and "setpriv: failed to execute" in text:
            raise tools.missing(command[0])
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise BuildError(f"{what} failed ({how})\n{first_error(text)}\nlog: {self.room.log}")


def _follow(
    process: subprocess.Popen[bytes],
    log: int,
    on_line: Callable[[str], None] | None,
    most: int | None = None,
) -> int:
    """Copies a program's output to `log` until its end, and calls `on_line` for each line; ends the
    program after `most` bytes. Returns its exit status.
    """
    assert process.stdout is not None
    rest, read = b"", 0
    try:
        while piece := os.read(process.stdout.fileno(), 65536):
            os.write(log, piece)
            read += len(piece)
            if most is not None and read > most:
                break
            if on_line is not None:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    on_line(line.decode(errors="replace"))
        else:
            return process.wait()
        kill_group(process)
        return process.wait()
    finally:
        kill_group(process)
        process.stdout.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of a process group led by `process`, first gently, and reaps the leader."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERMINATE_SECONDS)
            if not _group_lives(process.pid):
                return
    process.wait()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
