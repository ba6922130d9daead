# SPDX-License-Identifier: MIT
"""The application as a server: the host's shell plays the guest's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.guest.application import running
from harness.machine.channel import CommandResult
from harness.machine.errors import CommandFailed

APP = """#!/bin/sh
[ -e "$3" ] || exit 1
while read -r line; do [ "$line" = pid ] && echo "ok $$"; done
"""


class Host:
    """Runs in a shell of the host's what a guest would."""

    def __init__(self, app: Path) -> None:
        self.app = app
        app.write_text(APP)
        app.chmod(0o755)

    def run(self, command: str, timeout: float = 20.0, /) -> CommandResult:
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        return CommandResult(command, done.stdout, done.stderr, done.returncode, 0.0).check()

    def app_path(self) -> str:
        return str(self.app)


def test_an_application_without_its_device_is_told_at_once(tmp_path: Path) -> None:
    host = Host(tmp_path / "app")
    with (
        pytest.raises(CommandFailed, match=f"there is no {tmp_path}/device"),
        running(host, f"{tmp_path}/device"),
    ):
        pass
