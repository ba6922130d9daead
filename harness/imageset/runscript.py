# SPDX-License-Identifier: MIT
"""Reads what a BiscuitOS ``RunBiscuitOS.sh`` tells QEMU; the script is never run.

BiscuitOS writes it with variables in variables (``rootfstype=${FS_TYPE}`` in ``CMDLINE``, which
is in ``-append "${CMDLINE}"``), and users edit it. So the arguments of the QEMU command count,
with the variables put in, and after them the variables alone. What only a shell could know (a
command's output, a positional parameter) is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ASSIGNMENT = re.compile(
    r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;&|]*))""",
    re.MULTILINE,
)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_QEMU = re.compile(r"\s-(?:append|initrd|kernel|M)\s")
_SIZE = re.compile(r"(?:size=)?(\d+)([MGmg]?)")
_DEPTH = 8
"""Variables in variables; more is a loop."""


class RunScript:
    """One script; every answer is None where the script does not say it plainly."""

    def __init__(self, text: str) -> None:
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        # A command over several lines is one.
        plain = re.sub(r"\\\n", " ", "\n".join(lines))
        commands = [line for line in plain.splitlines() if _QEMU.search(line)]
        # u-boot is started without a kernel command line; what starts Linux for debugging or with
        # a network comes after what just starts it.
        commands.sort(key=lambda line: "-append" not in line.split())
        self._command = commands[0] if commands else ""
        self._variables: dict[str, str] = {}
        for name, double, single, bare in _ASSIGNMENT.findall(plain):
            self._variables[name] = double or single or bare

    @property
    def append(self) -> str | None:
        """The kernel command line."""
        return self._first(*self._arguments("append"), self._variables.get("CMDLINE"))

    @property
    def memory_mib(self) -> int | None:
        """RAM in MiB."""
        given = self._first(*self._arguments("m"), self._variables.get("RAM_SIZE"))
        match = _SIZE.fullmatch(given) if given else None
        if match is None:
            return None
        return int(match[1]) * (1024 if match[2].upper() == "G" else 1)

    @property
    def ramdisk(self) -> bool:
        """Whether the root image is given to QEMU as an initrd, and no disk is given."""
        return any(self._arguments("initrd")) and not any(
            "BiscuitOS.img" in drive for drive in self._arguments("drive")
        )

    def _arguments(self, option: str) -> list[str]:
        """What follows ``-option`` in the QEMU command, in order."""
        pattern = rf"""\s-{option}\s+(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+))"""
        found = re.findall(pattern, self._command)
        return [double or single or bare for double, single, bare in found]

    def _first(self, *values: str | None) -> str | None:
        """The first value that is known whole."""
        plain = (expand(value, self._variables) for value in values if value)
        return next((value for value in plain if value), None)


def expand(value: str, variables: Mapping[str, str]) -> str | None:
    """The value with the script's variables put in; None where something remains to a shell."""
    for _ in range(_DEPTH):
        names = {a or b for a, b in _VARIABLE.findall(value)}
        if not names <= variables.keys():
            return None
        if not names:
            return None if re.search(r"[$`]", value) else value
        value = _VARIABLE.sub(lambda match: variables[match[1] or match[2]], value)
    return None
