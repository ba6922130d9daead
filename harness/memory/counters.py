# SPDX-License-Identifier: MIT
"""Counters of CMA: ``/proc/meminfo``, ``/proc/vmstat`` and ``/sys/kernel/mm/cma``.

They prove that areas exist and how much is used, not where anything is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from harness.memory.errors import MalformedCounter
from harness.memory.model import Coverage, Exists, Reading


@dataclasses.dataclass(frozen=True)
class CmaMeminfo:
    """``CmaTotal`` and ``CmaFree`` of ``/proc/meminfo``, in bytes (fs/proc/meminfo.c prints kB)."""

    total: int
    free: int


@dataclasses.dataclass(frozen=True)
class CmaCounters:
    """``/sys/kernel/mm/cma/<name>/`` (mm/cma_sysfs.c), in *pages*; ``released`` from 6.10 on."""

    name: str
    allocated: int
    failed: int
    released: int | None = None


def parse_meminfo(text: str, source: str = "/proc/meminfo") -> CmaMeminfo | None:
    """The CMA lines; None where the kernel has none (no CONFIG_CMA). Raises `MalformedCounter`."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        key, colon, value = line.strip("\r").partition(":")
        if not colon or key not in ("CmaTotal", "CmaFree"):
            continue
        amount, _, unit = value.strip().partition(" ")
        if unit != "kB":
            raise MalformedCounter(source, "not an amount in kB", line=number, text=line)
        found[key] = 1024 * _number(amount, source, number)
    if not found:
        return None
    if len(found) == 1:
        raise MalformedCounter(source, f"only {next(iter(found))} of CmaTotal and CmaFree is there")
    return CmaMeminfo(found["CmaTotal"], found["CmaFree"])


def parse_vmstat(text: str, source: str = "/proc/vmstat") -> dict[str, int]:
    """All counters by name. ``cma_alloc_success`` and ``cma_alloc_fail`` (from 5.13) count *calls*.

    Raises `MalformedCounter`.
    """
    counters: dict[str, int] = {}
    for number, line in _lines(text):
        name, _, value = line.partition(" ")
        counters[name] = _number(value, source, number)
    return counters


def parse_sysfs(
    files: Mapping[str, str], source: str = "/sys/kernel/mm/cma"
) -> tuple[CmaCounters, ...]:
    """The areas from relative path (``linux,cma/alloc_pages_success``) to text.

    Raises `MalformedCounter`.
    """
    areas: dict[str, dict[str, int]] = {}
    for path, text in files.items():
        name, _, counter = path.strip("/").partition("/")
        if counter in ("alloc_pages_success", "alloc_pages_fail", "release_pages_success"):
            areas.setdefault(name, {})[counter] = _number(text, f"{source}/{path}")
    for name, counters in areas.items():
        for counter in ("alloc_pages_success", "alloc_pages_fail"):
            if counter not in counters:
                raise MalformedCounter(f"{source}/{name}", f"there is no {counter}")
    return tuple(
        CmaCounters(
            name,
            counters["alloc_pages_success"],
            counters["alloc_pages_fail"],
            counters.get("release_pages_success"),
        )
        for name, counters in areas.items()
    )


def sysfs_reading(areas: Collection[CmaCounters], source: str = "/sys/kernel/mm/cma") -> Reading:
    """What the areas say, as a witness: that they exist.

    It lists areas that failed to be activated as well, so nothing contradicts it by silence; an
    area it does not list is none (`Coverage.CREATED`).
    """
    claims = tuple(Exists(area.name, f"{source}/{area.name}") for area in areas)
    return Reading("sysfs", source, Coverage.CREATED, claims)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _number(text: str, source: str, line: int | None = None) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        raise MalformedCounter(source, "not a decimal number", line=line, text=text)
    return int(digits)
