# SPDX-License-Identifier: MIT
"""Sequences of operations as files: what was found is kept and can be replayed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.explore.model import OPERATIONS, Operation
from harness.host.files import write_text

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Found:
    """A sequence on which a system differed from the model."""

    operations: tuple[Operation, ...]
    kernel: str = ""
    """``uname -r`` of the kernel that differed."""
    difference: str = ""
    """What was different, in words."""

    @property
    def name(self) -> str:
        """A short name that follows from the operations alone."""
        text = json.dumps([[o.name, *o.numbers] for o in self.operations])
        return f"sequence-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def write(self, directory: Path) -> Path:
        """Writes it as JSON into `directory`; the path."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        rows = ",\n  ".join(json.dumps([o.name, *o.numbers]) for o in self.operations)
        head = {"schema": SCHEMA, "kernel": self.kernel, "difference": self.difference}
        text = json.dumps(head, indent=1).removesuffix("\n}")
        write_text(path, f'{text},\n "operations": [\n  {rows}\n ]\n}}\n')
        return path


def read(path: Path) -> Found:
    """What `Found.write` wrote. Raises `UserError` for anything else, with what is wrong."""
    try:
        content: Any = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, expected {SCHEMA}")
        operations = tuple(_operation(row) for row in content["operations"])
        return Found(operations, str(content["kernel"]), str(content["difference"]))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no sequence of operations: {error}") from error


def _operation(row: Sequence[Any]) -> Operation:
    name, *numbers = row
    if name not in OPERATIONS:
        raise ValueError(f"{name!r} is none of {', '.join(OPERATIONS)}")
    if len(numbers) != len(OPERATIONS[name]) or not all(
        isinstance(number, int) and number >= 0 for number in numbers
    ):
        raise ValueError(f"{name} takes {', '.join(OPERATIONS[name])}, numbers from 0 on")
    return Operation(name, tuple(numbers))
