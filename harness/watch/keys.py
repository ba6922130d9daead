# SPDX-License-Identifier: MIT
"""Single keys of a terminal."""

from __future__ import annotations

import os
import select
import termios
import tty
from types import TracebackType
from typing import Any

_POLL = 0.2


class Keys:
    """Reads keys without waiting for Enter; Ctrl-C stays what it is. The terminal is as it was
    after the block, and while it is paused.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: Any = None

    def __enter__(self) -> Keys:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.pause()

    def resume(self) -> None:
        """Takes the terminal."""
        if self._before is None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)

    def pause(self) -> None:
        """Gives the terminal back to whoever reads lines."""
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    @property
    def paused(self) -> bool:
        """Whether another program has the terminal."""
        return self._before is None

    def read(self) -> str:
        """A key, or nothing where none is pressed in a moment; ``q`` at the terminal's end."""
        ready, _, _ = select.select([self._fd], [], [], _POLL)
        if not ready or self.paused:
            return ""
        typed = os.read(self._fd, 64)
        return typed.decode("ascii", "ignore")[:1] if typed else "q"
