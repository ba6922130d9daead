# SPDX-License-Identifier: MIT
"""What a system under test can offer beyond a kernel and a shell, and how that is known.

This is the one place that says for each feature which part of the image set has it, by which kernel
options or bytes it is recognised, and how a user is told that it is missing.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import re
from collections.abc import Iterable, Mapping

from harness.errors import UserError


class Feature(enum.StrEnum):
    """One feature; its value is the word for the mark ``needs`` and for manifests."""

    AGENT = "agent"
    SSH = "ssh"
    IOMEM_CMA = "iomem-cma"
    CMA_DEBUGFS = "debugfs"
    CMA_SYSFS = "cma-sysfs"
    FAULT_INJECTION = "fault-injection"
    PAGE_TABLES = "page-tables"
    MODULE_AREAS = "module-areas"
    MODULE_TREE = "module-tree"
    APP_SCRIPT = "app-script"
    PRESSURE = "memory-pressure"
    TWO_AREAS = "two-areas"
    HEAPS = "heaps"
    HEAP_ONLY = "heap-only"
    DRIVER = "driver"
    CALLS = "cma-calls"
    KASAN = "kasan"
    SPINLOCKS = "spinlocks"
    KMEMLEAK = "kmemleak"
    UBSAN = "ubsan"


@dataclasses.dataclass(frozen=True)
class Need:
    """What a feature asks of one part of the image set."""

    part: str
    """The part that has it: ``kernel``, ``initrd``, ``module``, ``app``, ``dtb``; ``set`` for what
    follows from all of them.
    """
    what: str
    """What it is, for a user who reads that it is missing."""
    options: tuple[str, ...] = ()
    """Kernel options (without ``CONFIG_``) that must all be ``y``."""
    since: str = ""
    """The Linux version from which on there are such options; empty: from 5.0 on."""
    mark: bytes = b""
    """Bytes in the part (unpacked) that only a part with the feature has."""

    @property
    def wanted(self) -> str:
        """What must be there, in one phrase."""
        if not self.options:
            return self.what
        options = ", ".join(f"CONFIG_{option}=y" for option in self.options)
        version = f", from Linux {self.since} on" if self.since else ""
        return f"{self.what} ({options}{version})"


NEEDS: Mapping[Feature, Need] = {
    Feature.AGENT: Need(
        "initrd",
        "this project's command agent in the root image, /sbin/agent",
        mark=b"sbin/agent\0",
    ),
    Feature.SSH: Need(
        "initrd",
        "this project's ssh server in the root image, /etc/init.d/ssh",
        mark=b"etc/init.d/ssh\0",
    ),
    Feature.CALLS: Need(
        "initrd",
        "this project's test module in the root image, cma_calls.ko",
        mark=b"extra/cma_calls.ko\0",
    ),
    # The warning in images/kernel/additions/mm/harness/iomem.c.
    Feature.IOMEM_CMA: Need(
        "kernel",
        "CMA areas in /proc/iomem, which this project adds to kernels",
        mark=b"cannot list area %s",
    ),
    # Names of files that mm/cma_debug.c, mm/cma_sysfs.c, mm/failslab.c and arch/arm/mm make.
    Feature.CMA_DEBUGFS: Need(
        "kernel",
        "/sys/kernel/debug/cma",
        ("DEBUG_FS", "CMA_DEBUGFS"),
        mark=b"maxchunk\0",
    ),
    Feature.CMA_SYSFS: Need(
        "kernel",
        "/sys/kernel/mm/cma",
        ("CMA_SYSFS",),
        since="5.13",
        mark=b"alloc_pages_success\0",
    ),
    Feature.FAULT_INJECTION: Need(
        "kernel",
        "/sys/kernel/debug/failslab",
        ("FAILSLAB", "FAULT_INJECTION_DEBUG_FS"),
        mark=b"cache-filter\0",
    ),
    # mm/kasan/report.c.
    Feature.KASAN: Need(
        "kernel",
        "a kernel with KASAN (--qemu-variant kasan)",
        ("KASAN",),
        since="5.11",
        mark=b"BUG: KASAN: %s in %pS",
    ),
    # kernel/locking/spinlock_debug.c.
    Feature.SPINLOCKS: Need(
        "kernel",
        "a kernel that checks its spinlocks (--qemu-variant lockdep)",
        ("DEBUG_SPINLOCK",),
        mark=b"BUG: spinlock %s on CPU#%d",
    ),
    # mm/kmemleak.c.
    Feature.KMEMLEAK: Need(
        "kernel",
        "a kernel that looks for leaks (--qemu-variant debug)",
        ("DEBUG_KMEMLEAK",),
        mark=b"Trying to color unknown object at 0x",
    ),
    # lib/ubsan.c.
    Feature.UBSAN: Need(
        "kernel",
        "a kernel that checks its arrays' bounds (--qemu-variant ubsan)",
        ("UBSAN", "UBSAN_BOUNDS"),
        mark=b"array-index-out-of-bounds\0",
    ),
    Feature.PAGE_TABLES: Need(
        "kernel",
        "/sys/kernel/debug/kernel_page_tables",
        ("ARM_PTDUMP_DEBUGFS",),
        mark=b"kernel_page_tables\0",
    ),
    # drivers/dma-buf/heaps/cma_heap.c: where there is one for each area, one that fails is skipped.
    Feature.HEAPS: Need(
        "kernel",
        "/dev/dma_heap/AREA for each CMA area",
        ("DMABUF_HEAPS", "DMABUF_HEAPS_CMA"),
        since="7.1",
        mark=b"Failed to add CMA heap %s",
    ),
    Feature.HEAP_ONLY: Need(
        "set", "no driver for this kernel: memory comes from /dev/dma_heap/AREA"
    ),
    Feature.DRIVER: Need(
        "module", "a driver for this kernel, for which /dev/dma_heap/AREA stands here"
    ),
    Feature.MODULE_AREAS: Need(
        "module", "the driver's parameter area= (modinfo shows it)", mark=b"parm=area:"
    ),
    Feature.MODULE_TREE: Need(
        "module", "the driver's parameter tree= (modinfo shows it)", mark=b"parm=tree:"
    ),
    Feature.APP_SCRIPT: Need("app", "the application's option --script", mark=b"churn SEED COUNT"),
    Feature.PRESSURE: Need(
        "app", "the script's commands tmpfs and hold", mark=b"hold PHYS LEN, one page"
    ),
    Feature.TWO_AREAS: Need(
        "dtb",
        "linux,cma at 0x69000000 and BiscuitOS_cma at 0x69800000, 8 MiB each, in the device tree",
    ),
}

OURS = frozenset({Feature.AGENT, Feature.SSH, Feature.TWO_AREAS, Feature.CALLS})
"""Features of the root image and the device tree that the project builds."""


def offered(features: frozenset[Feature]) -> frozenset[Feature]:
    """`features` and what follows from them: there is a driver unless heaps stand for it."""
    return features if Feature.HEAP_ONLY in features else features | {Feature.DRIVER}


def parse(word: str, where: str = "") -> Feature:
    """The feature of that name. Raises `UserError` for a word that is none; `where` begins it."""
    try:
        return Feature(word)
    except ValueError:
        close = difflib.get_close_matches(word, list(Feature), 1)
        hint = f"did you mean {close[0]!s}?" if close else f"there are {', '.join(Feature)}"
        at = f"{where}: " if where else ""
        raise UserError(f"{at}there is no feature {word!r}: {hint}") from None


def parse_all(words: Iterable[str], where: str = "") -> frozenset[Feature]:
    """The features of these names. Raises `UserError` as `parse` does."""
    return frozenset(parse(word, where) for word in words)


def of_part(part: str) -> frozenset[Feature]:
    """The features that a part of the image set has or lacks."""
    return frozenset(feature for feature, need in NEEDS.items() if need.part == part)


def shown_by(part: str, content: bytes) -> frozenset[Feature]:
    """The features of a part that its unpacked bytes show."""
    return frozenset(
        feature
        for feature in of_part(part)
        if NEEDS[feature].mark and NEEDS[feature].mark in content
    )


def of_config(config: Mapping[str, str], release: str = "") -> frozenset[Feature]:
    """The features of a kernel with this ``.config`` (`harness.imageset.kconfig.parse`).

    `release` (``uname -r``): what came later than that is not there, whatever the options say;
    empty where it is not known.
    """
    return frozenset(
        feature
        for feature, need in NEEDS.items()
        if need.options
        and all(config.get(option) == "y" for option in need.options)
        and (not release or _number(release) >= _number(need.since or "0.0"))
    )


def _number(release: str) -> tuple[int, ...]:
    """Version and patch level."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:2])
