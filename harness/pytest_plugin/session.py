# SPDX-License-Identifier: MIT
"""What one pytest run shares: settings, image sets, the live console, the leak check."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from harness.board import DEFAULT_MEMORY
from harness.errors import UserError
from harness.imageset import preflight
from harness.imageset.biscuitos import find
from harness.imageset.model import ImageSet
from harness.pytest_plugin.clones import Clones
from harness.pytest_plugin.options import DEFAULT_KERNEL, Settings

if TYPE_CHECKING:
    from harness.builders.own import Builds

GIVEN, SOURCE = "given", "source"


class Session:
    """One run, or one worker of it."""

    KEY: pytest.StashKey[Session] = pytest.StashKey()

    def __init__(self, config: pytest.Config) -> None:
        self.settings = Settings.of(config)
        settings = self.settings
        if settings.biscuitos and settings.image_set:
            raise UserError("--qemu-biscuitos and --qemu-image-set: give one of them")
        self.biscuitos = find(settings.biscuitos, settings.given) if settings.biscuitos else None
        given = "kernel" in settings.given or settings.image_set or settings.biscuitos
        self.versions: tuple[str, ...] = settings.versions
        if given:
            self.versions = (GIVEN,)
        elif settings.kernel_source:
            self.versions = (SOURCE,)
        if settings.unconfined:
            from harness.machine.confine import allow_unconfined

            allow_unconfined()
        self.clones = Clones()
        """How clones fare."""
        self._built: dict[str, ImageSet] = {}
        self._variants: dict[tuple[str, str], ImageSet] = {}
        terminal: IO[str] | None = None
        if sys.__stderr__ is not None and (self.settings.console or self.settings.gdb):
            # While a test runs, pytest's capturing replaces file descriptor 2.
            terminal = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
        self.live = terminal if self.settings.console else None
        """Where the guests' consoles are shown."""
        self.gdb = terminal if self.settings.gdb else None
        """Where a machine says that it waits for gdb."""

    def leave_out(self) -> list[str]:
        """Leaves out the kernels that apt does not have here, where nobody asked for them by their
        number; one line for each. Where none is left it is the one that apt has; so is `default`.
        """
        asked = not self.settings.default_versions or self.versions != self.settings.versions
        if asked and DEFAULT_KERNEL not in self.versions:
            return []
        from harness.builders.cache import Cache
        from harness.builders.kernel_source import resolve

        said: list[str] = []
        if asked:
            default = resolve(None, Cache(say=said.append)).version
            named = (default if name == DEFAULT_KERNEL else name for name in self.versions)
            self.versions = tuple(dict.fromkeys(named))
            return said
        cache = Cache()
        found: list[str] = []
        for version in self.versions:
            try:
                found.append(resolve(version, cache).version)
            except UserError as error:
                said.append(f"not tested on Linux {version}: {error}")
        if said:
            self.versions = tuple(found) or (resolve(None, cache).version,)
            said.append(f"the tests run on Linux {', '.join(self.versions)}")
        return said

    def builds(self, version: str) -> Builds:
        """Builds for the kernel of that version."""
        from harness.builders.own import Builds

        return Builds(self._base(version))

    @property
    def cache(self) -> Path:
        """Root of the cache."""
        from harness.builders.cache import cache_root

        return cache_root()

    def image_set(self, version: str) -> ImageSet:
        """The images of a kernel: built or from the cache, with what the options replace."""
        if version not in self._built:
            settings = self.settings
            base = self._base(version)
            given = dict(settings.given)
            if settings.dts is not None:
                given["dtb"] = self.builds(version).device_tree(settings.dts)
            images = preflight.with_given(base, given)
            preflight.check(images, settings.area, f"{images.append} {settings.append}")
            self._built[version] = images
        return self._built[version]

    def variant(self, version: str, name: str) -> ImageSet | None:
        """The same with a variant of its kernel; None where the kernel is none that was built, or
        was built without our additions.
        """
        kernel = None if self.settings.unpatched else self._built_kernel(version)
        if kernel is None:
            return None
        if (version, name) not in self._variants:
            from harness.builders.cache import Cache
            from harness.builders.variant import DIRECTORY, build_variant
            from harness.host.progress import LazyProgress

            progress = LazyProgress()
            cache = Cache(say=progress.say)
            images = dataclasses.replace(self.image_set(version), kernel=kernel)
            built = build_variant(cache, images, DIRECTORY / f"{name}.config", progress)
            self._variants[version, name] = built
        return self._variants[version, name]

    def _built_kernel(self, version: str) -> Path | None:
        """The kernel in the cache that is booted, also where a copy of it was given."""
        kernel = self.image_set(version).kernel
        if version != GIVEN:
            return kernel
        if self.settings.image_set or self.biscuitos:
            return None
        base = self._base(version).kernel
        return base if preflight.same_file(kernel, base) else None

    def _base(self, version: str) -> ImageSet:
        """What is there before the options for single parts replace something."""
        if self.settings.image_set is not None:
            return ImageSet.read(self.settings.image_set)
        if self.biscuitos is not None:
            return self.biscuitos.image_set()
        from harness.builders.imageset import build_image_set, build_unpatched, nearest_version

        settings = self.settings
        build: Callable[..., ImageSet] = functools.partial(
            build_image_set, variant=settings.variant
        )
        if settings.unpatched:
            build = build_unpatched
        if settings.kernel_source:
            return build(settings.kernel_source)
        kernel = settings.given.get("kernel")
        if version == GIVEN:
            version = nearest_version(kernel, settings.versions) if kernel else settings.versions[0]
        return build(version)

    @property
    def memory_mib(self) -> int:
        """RAM of the machines."""
        default = self.biscuitos.memory_mib if self.biscuitos else DEFAULT_MEMORY
        return self.settings.memory or default


def session_of(config: pytest.Config) -> Session:
    """The run's session, made at first use."""
    if Session.KEY not in config.stash:
        config.stash[Session.KEY] = Session(config)
    return config.stash[Session.KEY]
