# SPDX-License-Identifier: MIT
"""Runs the programs of a build: their output is logged, and none is left running."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.builders.cache import BuildDirectory
from harness.builders.sandbox import Sandbox
from harness.errors import BuildError
from harness.host import programs
from harness.host.process import clean_environment, kill_group

# gcc, cpp, ld, dtc, modpost, kconfig, make and patch, in the order of how much they explain.
_FIRST = (
    re.compile(r"^\S[^:]*:\d+(?::\d+)?:\s+(?:fatal )?error: .*|^Error: \S+:\d+\.\d+.*"),
    re.compile(r"^Hunk #\d+ FAILED.*|^can't find file to patch.*"),
    re.compile(
        r"^(?:FATAL )?ERROR: .*|.*: undefined reference to .*|.*\bsyntax error\b.*"
        r"|^\S+:\d+: can't open file .*"
    ),
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


@dataclasses.dataclass(frozen=True)
class ToolRunner:
    """Runs programs in the directory of one build, or, where there is one, in a sandbox."""

    build_dir: BuildDirectory
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sandbox: Sandbox | None = None

    def run(
        self,
        argv: Sequence[str | Path],
        what: str,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Runs a program to its end; its output goes to the build directory's log.

        The program and its children are gone when this returns, also by an exception. `what` says
        what was being done. Raises `BuildError` with the first error and the log's path, and
        `Contained` for what a sandbox does not let happen.
        """
        command = [str(word) for word in argv]
        with self.build_dir.log.open("ab") as log:
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
            "TMPDIR": str(self.build_dir.tmp),
            **self.environment,
        }
        try:
            return subprocess.Popen(
                prefix + command,
                cwd=cwd or self.build_dir.out,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,
                pass_fds=[self.build_dir.lock_fd],
            )
        except FileNotFoundError as error:
            raise programs.missing(command[0]) from error

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
        variables = {"LC_ALL": "C", "TMPDIR": str(self.build_dir.tmp), **self.environment}
        with sandbox.start(command, cwd or self.build_dir.out, variables) as running:
            status = _follow(running.process, log, on_line, sandbox.limits.output)
            running.ended(status, self.build_dir.log.read_bytes()[start:].decode(errors="replace"))
        return status

    def _fail(self, what: str, command: list[str], status: int, start: int) -> None:
        with self.build_dir.log.open("rb") as log:
            log.seek(start)
            text = log.read().decode(errors="replace")
        if NO_SPACE in text:
            raise OSError(errno.ENOSPC, NO_SPACE)
        if status == 127 and "setpriv: failed to execute" in text:
            raise programs.missing(command[0])
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise BuildError(f"{what} failed ({how})\n{first_error(text)}\nlog: {self.build_dir.log}")


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
