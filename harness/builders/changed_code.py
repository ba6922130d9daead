# SPDX-License-Identifier: MIT
"""What a patched build has that the unpatched one has not: compared object by object."""

from __future__ import annotations

import dataclasses
import filecmp
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.builders.mirror import plain_file
from harness.errors import BuildError
from harness.imageset.model import ImageSet
from harness.imageset.objects import CodeChange, compare

DRIVER = "images/module"
"""The driver's name among the objects."""
_CONFIGURES = re.compile(r"Kconfig|.*_?defconfig$|.*\.config$|.*\.lds(\.S|\.h)?$")
_NO_CODE = re.compile(r"vmlinux\.o$|\.|init/version|arch/arm/boot/compressed/piggy|usr/|certs/")
"""Objects that each link makes: they have the kernel's version, symbols or whole image."""
_BEFORE = re.compile(r"arch/arm/boot/|arch/arm/kernel/head|arch/arm/mm/proc-|arch/arm/mach-")
"""Objects whose code, or a part of it, runs before the kernel has its addresses."""

TREE, APPLICATION = "the device tree", "the application"
"""Of what `ChangedCode.reach` may say."""


@dataclasses.dataclass(frozen=True)
class ChangedCode:
    """What differs between the base and a patched system."""

    objects: Mapping[str, CodeChange] = dataclasses.field(default_factory=dict)
    """Objects with code or data that differs, by their name in the build directory (``mm/cma.o``),
    or `DRIVER`.
    """
    reach: str = ""
    """What differs beside the code of objects, in words that go on "it changes …"; empty where
    nothing does. What depends on it is not known then.
    """


def changed_code(
    touched: Iterable[str],
    steps: Iterable[str],
    built: tuple[Path, Path],
    images: tuple[ImageSet, ImageSet],
) -> ChangedCode:
    """Compares what a build made. `touched` are the patches' files, ``linux/mm/cma.c``; `steps`
    what make said that it made; `built` and `images` the kernel's build directories and the image
    sets, without the patch and with it.
    """
    try:
        objects = _objects(steps, *built)
        if changed := _driver(*images):
            objects[DRIVER] = changed
        return ChangedCode(objects, _beyond(touched, objects, *images))
    except (ValueError, OSError, BuildError) as error:
        return ChangedCode(reach=f"what cannot be compared ({error})")


def _objects(steps: Iterable[str], before: Path, after: Path) -> dict[str, CodeChange]:
    found: dict[str, CodeChange] = {}
    for name in dict.fromkeys(steps):
        if not name.endswith(".o") or name.startswith("/") or _NO_CODE.match(name):
            continue
        old, new = before / name, plain_file(after, name)
        if not old.is_file():
            # Its initcalls may run, and nothing of the base tells of it.
            found[name] = CodeChange(data=frozenset({"a new object"}))
        elif not filecmp.cmp(old, new, shallow=False):
            change = compare(old, new)
            if not change.nothing:
                found[name] = change
    return found


def _driver(before: ImageSet, after: ImageSet) -> CodeChange | None:
    one, two = before.module, after.module
    if one is None or two is None or _same(one, two):
        return None
    change = compare(one, two)
    return None if change.nothing else change


def _beyond(
    touched: Iterable[str],
    objects: Mapping[str, CodeChange],
    before: ImageSet,
    after: ImageSet,
) -> str:
    if not _same(before.dtb, after.dtb):
        return TREE
    if before.app and after.app and not _same(before.app, after.app):
        return APPLICATION
    if any(_CONFIGURES.match(path.rpartition("/")[2]) for path in touched):
        return "how the kernel is configured or linked"
    if any(_BEFORE.match(name) for name in objects):
        return "code that runs before the kernel has its addresses"
    if any("a new object" in change.data for change in objects.values()):
        return "which objects the kernel has"
    return ""


def _same(one: Path, two: Path) -> bool:
    return filecmp.cmp(one, two, shallow=False)
