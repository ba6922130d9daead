# SPDX-License-Identifier: MIT
"""``harness gate --warm``: what the first gate on a kernel would have to find out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.builders.kept_trees import Base
    from harness.cli.judged import Asked


def make_ready(
    asked: Asked, config: tuple[Path, ...], variant: str | None, jobs: int, output: Path | None
) -> int:
    """Builds the base and learns what each test executes there; the exit status.

    Raises `UserError`, `HarnessError`.
    """
    from harness.builders.cache import Cache
    from harness.builders.kernel import kconfig_fragment
    from harness.gate.options import Options
    from harness.gate.warm import make_ready
    from harness.host.programs import check_installed
    from harness.host.progress import LineProgress
    from harness.host.project import ARTIFACTS

    asked.check_base()
    check_installed()
    for fragment in config:
        kconfig_fragment(fragment)
    begun = time.monotonic()
    progress = LineProgress()
    base, config = of_variant(asked.base(), config, variant)
    place = (output or ARTIFACTS / "warm").absolute()
    options = Options(place, base, config, workers=jobs)
    images, known = make_ready(options, Cache(say=progress.say), progress)
    seconds = time.monotonic() - begun
    print(
        f"ready for gates on Linux {images.release}: it is known what {known} tests execute"
        f" ({seconds:.0f} s)"
    )
    return 0


def of_variant(
    base: Base, config: tuple[Path, ...], variant: str | None
) -> tuple[Base, tuple[Path, ...]]:
    """A base as a variant of it, and the fragments on top. Raises `UserError` for a variant that
    there is not.
    """
    from harness.builders.cache import Cache
    from harness.builders.kernel_source import resolve, variant_fragment, with_variant
    from harness.builders.own_tree import CommitTree

    if variant is None:
        return base, config
    if isinstance(base, CommitTree):
        return base, (*config, variant_fragment(variant))
    return with_variant(resolve(base, Cache()), variant), config
