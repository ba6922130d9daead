# SPDX-License-Identifier: MIT
"""Which tasks wait on a worker that is busy, while another one has room for them.

Dask gives tasks to workers ahead of time: one with a build goes to the worker that made the build,
and one of a lost worker to any. It moves what waits there only where a worker has more tasks than
threads, and a worker has as many threads as guests: a task that may have several takes only one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from harness.engine.member import Member, Takes

_HEARD = 3
"""A worker tells what it runs now and then. What was on its way to it when it did may not be in
that yet; in the next but one it is."""


class Waiting(Protocol):
    """A task that was given to the cluster."""

    @property
    def takes(self) -> Takes:
        """What it takes of a worker."""

    @property
    def avoid(self) -> Collection[str]:
        """Addresses of workers that cannot run it."""


class Balance:
    """Follows what workers tell of what they run."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[str, set[float]]] = {}

    def moves(
        self,
        flying: Mapping[str, Waiting],
        assigned: Mapping[str, str],
        members: Collection[Member],
    ) -> Iterator[tuple[str, str]]:
        """The keys of what waits although it need not, and the address of a worker that has room.

        `flying`: all that was given to the cluster and could run. `assigned`: on which worker it
        is.
        """
        room = {member.address: member.room for member in members}
        late = []
        for key, work, at in self._waiting(flying, assigned, members):
            if len(self._heard[key][1]) >= _HEARD:
                late.append((key, work, at))
            else:
                room[at] = room[at].less(work.takes)  # it may have begun
        for key, work, at in late:
            fit = [one for one in room if work.takes.fits(room[one]) and one not in work.avoid]
            if not fit or at in fit:
                continue
            to = max(fit, key=lambda one: room[one].guests)
            room[to] = room[to].less(work.takes)
            del self._heard[key]
            yield key, to

    def _waiting(
        self,
        flying: Mapping[str, Waiting],
        assigned: Mapping[str, str],
        members: Collection[Member],
    ) -> Iterator[tuple[str, Waiting, str]]:
        """What does not run, on which worker; notes when that one was heard of."""
        running = {key for member in members for key in member.running}
        here = {member.address: member.heard for member in members}
        before, self._heard = self._heard, {}
        for key, work in flying.items():
            at = assigned.get(key)
            if key in running or at is None or at not in here:
                continue
            was, times = before.get(key, (at, set()))
            self._heard[key] = (at, {*(times if was == at else ()), here[at]})
            yield key, work, at
