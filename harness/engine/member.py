# SPDX-License-Identifier: MIT
"""A worker of the cluster, as it is known to who asks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

WORKER_NAME = "harness"
"""What our part of a worker is called among its plugins and its metrics."""


class Takes(NamedTuple):
    """What a task takes of a worker, or a worker has."""

    guests: int
    trees: int

    def less(self, other: Takes) -> Takes:
        """What is left."""
        return Takes(self.guests - other.guests, self.trees - other.trees)

    def fits(self, room: Takes) -> bool:
        """Whether `room` is enough."""
        return self.guests <= room.guests and self.trees <= room.trees


@dataclasses.dataclass(frozen=True)
class Member:
    """A worker of the cluster."""

    address: str
    name: str
    guests: int
    trees: int
    refused: str = ""
    """Why it gets no tasks; empty where it does."""
    heard: float = 0.0
    """When it was heard of last, by the scheduler's clock."""
    running: Mapping[str, Takes] = dataclasses.field(default_factory=dict)
    """The keys of what it ran then, whoever asked for it, and what each takes."""

    @property
    def room(self) -> Takes:
        """What was left then."""
        return functools.reduce(Takes.less, self.running.values(), Takes(self.guests, self.trees))
