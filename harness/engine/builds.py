# SPDX-License-Identifier: MIT
"""Builds on a cluster: each is a task under the digest that the cache has it under, so that it is
made once, whoever asks, and whichever client.

They build on each other: what all root images have; the kernel and its image set; its variants.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from harness.builders import apt
from harness.builders.cache import Cache
from harness.builders.kernel import Recipe, kernel_key
from harness.builders.kernel_source import resolve
from harness.builders.tier import ENVIRONMENT as CACHE_URL
from harness.engine.buildjob import kernel_of
from harness.engine.connection import GUESTS, Connection
from harness.engine.identity import identity
from harness.engine.task import HERE, PYTHON, Task
from harness.errors import HarnessError

SECONDS = 3600.0
"""For one build."""
_PINS = "pins.json"
_WAIT_SECONDS = 1.0
PARTS, PLAIN, VARIANTS = "parts", "kernel", "variants"


class BuildPlan:
    """The builds that one engine has asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._futures: dict[tuple[str, str], Any] = {}
        self._slugs: dict[str, str] = {}
        self._pins = b""

    def forget(self) -> None:
        """The scheduler was lost: all are asked for again."""
        self._futures.clear()

    def future(self, kernel: str, variants: bool) -> Any:
        """The build of a kernel's image set, asked for where nobody has yet. Raises `UserError` for
        a kernel that there is not.
        """
        parts = self._get(PARTS, "", [])
        plain = self._get(PLAIN, kernel, [parts])
        return self._get(VARIANTS, kernel, [plain]) if variants else plain

    def wait(self, kernels: tuple[str, ...], say: Callable[[str], None]) -> Mapping[str, str]:
        """Has these built with their variants; which could not be, and why.

        Raises `HarnessError` where the scheduler is lost.
        """
        futures: dict[str, Any] = {}
        unbuilt: dict[str, str] = {}
        for kernel in kernels:
            try:
                futures[kernel] = self.future(kernel, True)
            except HarnessError as error:
                unbuilt[kernel] = str(error)
        told = False
        for kernel, future in futures.items():
            while not future.done():
                if not told:
                    told = True
                    say(f"building or finding on the cluster: {', '.join(futures)}")
                # It is not done yet, or lost: the loop and the next lines see that.
                with contextlib.suppress(Exception):
                    future.exception(timeout=_WAIT_SECONDS)
                if self._connection.lost:
                    raise HarnessError("the scheduler is lost")
            if future.status != "finished":
                unbuilt[kernel] = _why(future)
        return unbuilt

    def _get(self, level: str, kernel: str, before: list[Any]) -> Any:
        known = self._futures.get((level, kernel))
        if known is None or known.status in ("cancelled", "lost"):
            known = self._futures[level, kernel] = self._submit(level, kernel, before)
        return known

    def _submit(self, level: str, kernel: str, before: list[Any]) -> Any:
        from harness.engine.worker import run_build

        slug = self._slug(kernel) if kernel else ""
        pins = self._pinned()
        words = [PYTHON, "-m", "harness.engine.buildjob", "--to", HERE]
        words += ["--pins", f"{HERE}/{_PINS}", "--level", level]
        words += ["--kernel", kernel] if kernel else []
        url = os.environ.get(CACHE_URL)
        task = Task(
            f"build {level} {kernel}".strip(),
            tuple(words),
            SECONDS,
            files={_PINS: pins},
            environment={CACHE_URL: url} if url else {},
        )
        name = slug or hashlib.sha256(pins).hexdigest()[:16]
        return self._connection.client.submit(
            run_build,
            kernel,
            slug,
            task,
            identity().resource,
            *before,
            key=f"build-{level}-{name}-{identity().code}",
            pure=False,
            retries=1,
            priority=10,
            resources={identity().resource: 1, GUESTS: 1},
        )

    def _slug(self, kernel: str) -> str:
        if kernel not in self._slugs:
            source = resolve(kernel_of(kernel), Cache())
            self._slugs[kernel] = kernel_key(source, Recipe.ours()).slug
        return self._slugs[kernel]

    def _pinned(self) -> bytes:
        """The versions of packages that this machine works with: all work with the same."""
        if not self._pins:
            pins = apt.pinned(Cache())
            self._pins = (json.dumps(pins, sort_keys=True) + "\n").encode()
        return self._pins


def _why(future: Any) -> str:
    error = future.exception() if future.status == "error" else None
    if isinstance(error, HarnessError):
        return str(error)
    return f"the cluster failed: {error!r}" if error else "the cluster lost the build"
