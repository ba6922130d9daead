# SPDX-License-Identifier: MIT
"""The worker as the screen's process sees it: started, given orders, cancelled, ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO

from harness.errors import HarnessError
from harness.host.process import kill_group
from harness.host.project import PYTHON_PATH, ROOT
from harness.watch.events import Event, parse

END_SECONDS = 20.0
"""For a run that is cancelled, or a worker that is ended, to leave nothing behind."""


class WorkerProcess:
    """One worker. `told` is called with each event, and with None at its end, in a thread."""

    def __init__(
        self,
        settings: str,
        log: IO[bytes],
        told: Callable[[Event | None], object],
        program: Sequence[str] = ("-m", "harness.watch.worker"),
    ) -> None:
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        # The worker takes SIGINT as soon as it can: one that comes before waits, and ends nothing.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, *program, settings],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(PYTHON_PATH)},
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._told = told
        self._thread = threading.Thread(target=self._read, name="worker-events", daemon=True)
        self._thread.start()

    def order(self, run: int, *, all_tests: bool = False) -> None:
        """Asks for a run. Raises `HarnessError` where the worker is gone."""
        assert self._process.stdin is not None
        line = json.dumps({"run": run, "all_tests": all_tests})
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise HarnessError("the worker has ended") from error

    def cancel(self) -> None:
        """Ends the run that is under way, or the next one; the worker says when it is over."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGINT)

    def close(self) -> None:
        """Ends the worker, and all that it has started."""
        assert self._process.stdin is not None
        self.cancel()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        kill_group(self._process)
        self._thread.join(END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(HarnessError):
                self._told(parse(line.decode("utf-8", "replace")))
        self._told(None)
