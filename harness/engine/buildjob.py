# SPDX-License-Identifier: MIT
"""Builds what kernels need, in this process or, on a cluster, in a task's.

As a program it leaves `ENTRIES` in a directory: the names of all entries of the cache that the
image set is made of, which is what another machine's cache needs to have it too.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.host.command import run_command
from harness.host.retry import retried

if TYPE_CHECKING:
    from harness.builders.cache import Cache
    from harness.builders.kernel_source import KernelSource
    from harness.host.progress import Progress

ENTRIES = "entries.json"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def kernel_of(name: str) -> str | Path | KernelSource:
    """What a task calls a kernel: a version, the path of a tree, or ``PATH@COMMIT``."""
    from harness.builders.kernel_source import at_commit

    directory, at, commit = name.rpartition("@")
    if at and _COMMIT.fullmatch(commit) and not Path(name).exists():
        return at_commit(Path(directory), commit)
    return Path(name) if "/" in name else name


def build_here(kernels: Sequence[str], *, with_variants: bool = True) -> Mapping[str, str]:
    """Builds, or finds in the cache, what kernels need; tries twice what fails. Which could not be
    built, and why.
    """
    from harness.builders.cache import Cache
    from harness.host.progress import LineProgress

    progress = LineProgress()
    cache = Cache(say=progress.say)
    unbuilt: dict[str, str] = {}
    for kernel in kernels:
        call = functools.partial(build_one, kernel, cache, progress, with_variants=with_variants)
        try:
            retried(call)
        except HarnessError as error:
            unbuilt[kernel] = str(error)
    return unbuilt


def build_one(kernel: str, cache: Cache, progress: Progress, *, with_variants: bool) -> None:
    """One kernel's image set, and its variants. Raises `HarnessError`."""
    from harness.builders.imageset import build_image_set
    from harness.builders.variant import DIRECTORY, build_variant, variants

    images = build_image_set(kernel_of(kernel), progress, cache)
    for variant in variants() if with_variants else ():
        build_variant(cache, images, DIRECTORY / f"{variant}.config", progress)


def main(argv: Sequence[str] | None = None) -> int:
    """Builds one level of one kernel; see the module's text, and `harness.engine.builds`."""
    from harness.builders.apt import pin
    from harness.builders.cache import Cache
    from harness.builders.imageset import rootfs_parts
    from harness.host.files import write_text
    from harness.host.progress import LineProgress

    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", default="")
    parser.add_argument("--level", choices=["parts", "kernel", "variants"], required=True)
    parser.add_argument("--pins", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(argv)
    progress = LineProgress()
    cache = Cache(say=progress.say)
    for package, version in json.loads(given.pins.read_text()).items():
        pin(cache, package, version)
    if given.level == "parts":
        rootfs_parts(cache, progress)
    else:
        build_one(given.kernel, cache, progress, with_variants=given.level == "variants")
    # Packages are only what others are made from.
    slugs = sorted(slug for slug in cache.leased() if not slug.startswith("deb-"))
    write_text(given.to / ENTRIES, json.dumps(slugs) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
