# SPDX-License-Identifier: MIT
"""The YAML blocks of TAP 13 and 14: what stands in them belongs to the result above."""

from __future__ import annotations


class YamlBlock:
    """Follows a text line by line, to know which lines are of such a block."""

    def __init__(self) -> None:
        self.after_result = False
        """Whether the line before was a result: a block begins nowhere else."""
        self._indent: str | None = None

    def takes(self, line: str) -> bool:
        """Whether the line is of a block, its ``---`` and ``...`` included."""
        text = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        if self._indent is None:
            if text != "---" or not indent or not self.after_result:
                return False
            self._indent = indent
        elif text and not indent.startswith(self._indent):
            self._indent = None
            return False
        elif text == "..." and indent == self._indent:
            self._indent = None
        return True
