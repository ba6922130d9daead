# SPDX-License-Identifier: MIT
"""Kernel configuration: reads ``.config`` files and fragments, and checks what came out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.errors import BuildError

REQUIRED = (
    "ARCH_VEXPRESS",
    "BINFMT_ELF",
    "BLK_DEV_INITRD",
    "CMA",
    "DEVTMPFS",
    "DMA_CMA",
    "MODULES",
    "MODULE_UNLOAD",
    "PROC_FS",
    "SERIAL_AMBA_PL011",
    "SERIAL_AMBA_PL011_CONSOLE",
    "TMPFS",
)
"""Without any of these a machine cannot do the main job."""

_LINE = re.compile(r"CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set")


def parse(text: str) -> dict[str, str]:
    """Option (without ``CONFIG_``) -> value; ``n`` for ``# … is not set``. The last line counts."""
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            found[match[1] or match[3]] = match[2] if match[1] else "n"
    return found


def merged(fragments: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Several fragments as one, as ``scripts/kconfig/merge_config.sh`` merges them: what a later
    one says of an option counts.
    """
    found: dict[str, str] = {}
    for fragment in fragments:
        found |= fragment
    return found


def lines(config: Mapping[str, str]) -> str:
    """The text of a ``.config`` that has these options."""
    return "".join(
        f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
        for name, value in config.items()
    )


def first_wrong_line(text: str) -> tuple[int, str] | None:
    """The number, from 1, and the text of the first line that is neither an option nor a comment
    nor empty: ``FOO=y``, ``CONFIG_FOO = y``. None where all are good.
    """
    for number, row in enumerate(text.splitlines(), 1):
        comment = row.startswith("#") and not re.match(r"#\s*CONFIG_\w+\s*=?\s*is not set", row)
        if row.strip() and not comment and not _LINE.fullmatch(row.rstrip()):
            return number, row.strip()
    return None


def not_taken(name: str, wanted: str, config: Mapping[str, str]) -> str:
    """A line on an option that a configuration does not have as it was asked for, as the kernel's
    merge_config.sh says it.
    """
    have = config.get(name)
    now = "this kernel has no such option, or what it depends on is off" if have is None else have
    return f"CONFIG_{name}={wanted} was not taken: {now}"


def enabled(config: Mapping[str, str], option: str) -> bool:
    """Whether `option` is built in (``y``)."""
    return config.get(option) == "y"


def not_honoured(fragment: Mapping[str, str], config: Mapping[str, str]) -> list[str]:
    """Options that `fragment` wants and `config` does not have so, sorted."""
    return sorted(
        name
        for name, value in fragment.items()
        # An option that is off, and one that the tree does not have, are the same.
        if config.get(name, "n") != value
    )


def check(config: Mapping[str, str], required: Iterable[str] = REQUIRED) -> None:
    """Raises `BuildError` naming each required option that is not ``y``."""
    missing = [name for name in required if not enabled(config, name)]
    if missing:
        names = ", ".join(f"CONFIG_{name}" for name in missing)
        raise BuildError(
            f"the kernel configuration came out without {names}: a dependency is missing in the "
            f"tree or switched off in the fragment"
        )
