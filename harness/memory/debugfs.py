# SPDX-License-Identifier: MIT
"""``/sys/kernel/debug/cma``: base, size and bitmap of each area. Format: mm/cma_debug.c.

Up to Linux 5.15 (at least) a directory is called ``cma-<name>``, cut to 15 characters (a 16-byte
buffer there): ``cma-BiscuitOS_c`` is ``BiscuitOS_cma``; of areas whose cut names are the same only
the first gets one. In 6.1 it is ``<name>``. From 6.15 an area has
``ranges/<n>/`` with a ``base_pfn`` and a ``bitmap`` each; ``count`` remains that of the whole
area.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from harness.memory.errors import MalformedDebugfs
from harness.memory.model import Claim, Coverage, Exists, Placed, Reading
from harness.memory.ranges import AddressRange, merged

_PREFIX = "cma-"
_OLD_DIRECTORY_LENGTH = 15
_WORD_BITS = 32
_NUMBERS = ("base_pfn", "count", "order_per_bit", "used", "maxchunk")


@dataclasses.dataclass(frozen=True)
class DebugArea:
    """One area. Counts are in pages; ``bases`` are addresses in bytes, one per range.

    ``allocated`` are the address ranges whose bitmap bits are set, None where the bitmap was not
    read. ``may_be`` are the areas that it may be, where an old kernel cut several names to this.
    """

    name: str
    directory: str
    bases: tuple[int, ...]
    count: int
    order_per_bit: int = 0
    used: int | None = None
    maxchunk: int | None = None
    allocated: tuple[AddressRange, ...] | None = None
    page_shift: int = 12
    may_be: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count << self.page_shift

    @property
    def range(self) -> AddressRange | None:
        """The exact range; None where the area is not active (count 0) or has several ranges."""
        if len(self.bases) != 1 or self.count == 0:
            return None
        return AddressRange.from_size(self.bases[0], self.size)


def parse_debugfs(
    files: Mapping[str, str],
    *,
    known_names: Collection[str] = (),
    page_shift: int = 12,
    source: str = "/sys/kernel/debug/cma",
) -> tuple[DebugArea, ...]:
    """The areas from the files below the directory: relative path (``linux,cma/count``) to text.

    ``known_names`` are names from other witnesses: they complete a directory name that an old
    kernel cut, and tell ``cma-x`` the old directory of ``x`` from ``cma-x`` the area. ``alloc``
    and ``free`` are write-only and not looked at. Raises `MalformedDebugfs`.
    """
    directories: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        directory, _, name = path.strip("/").partition("/")
        if name:
            directories.setdefault(directory, {})[name] = text
    old = bool(directories) and all(name.startswith(_PREFIX) for name in directories)
    areas = []
    for directory, contents in directories.items():
        names = _area_names(directory, known_names, old)
        area = _area(names[0], directory, contents, page_shift, source)
        if len(names) > 1:
            area = dataclasses.replace(area, name=_cut(directory), may_be=names)
        areas.append(area)
    return tuple(areas)


def directory_of(name: str) -> str:
    """What kernels up to 5.15 (at least) call the directory of an area."""
    return f"{_PREFIX}{name}"[:_OLD_DIRECTORY_LENGTH]


def debugfs_reading(areas: Collection[DebugArea], source: str = "/sys/kernel/debug/cma") -> Reading:
    """What the areas say, as a witness. An area with count 0 failed to be activated: no claim.
    Nor has one whose name was cut to that of others: what is silent then may be there.
    """
    claims: list[Claim] = []
    notes: list[str] = []
    coverage = Coverage.ALL
    for area in areas:
        where = f"{source}/{area.directory}"
        if area.may_be:
            coverage = Coverage.SOME
            notes.append(f"{where}: the name is cut: {' or '.join(area.may_be)}")
        elif area.range is not None:
            claims.append(Placed(area.name, area.range, where))
        elif area.count:
            claims.append(Exists(area.name, where, area.size))
        else:
            notes.append(f"{where}: count is 0, the area is not active")
    return Reading("debugfs", source, coverage, tuple(claims), notes=tuple(notes))


def parse_bitmap(
    text: str,
    *,
    base: int,
    count: int,
    order_per_bit: int = 0,
    page_shift: int = 12,
    source: str = "bitmap",
) -> tuple[AddressRange, ...]:
    """The allocated address ranges, merged, in order.

    ``text`` is 32-bit words in decimal, space separated, lowest bit first (u32_format_array() in
    fs/debugfs/file.c); a bit stands for ``2**order_per_bit`` pages. ``count`` is the pages of the
    range. Raises `MalformedDebugfs` for a wrong number of words or a bit beyond the end.
    """
    bits = -(-count // (1 << order_per_bit))
    words = [_number(word, source) for word in text.split()]
    expected = -(-bits // _WORD_BITS)
    if len(words) != expected:
        problem = f"{len(words)} words, and {count} pages need {expected}"
        raise MalformedDebugfs(source, problem, text=text)
    if any(word >> _WORD_BITS for word in words):
        raise MalformedDebugfs(source, "a word of more than 32 bits", text=text)
    value = sum(word << (_WORD_BITS * index) for index, word in enumerate(words))
    if value >> bits:
        raise MalformedDebugfs(source, f"a bit is set beyond the {bits} of the area", text=text)
    unit = 1 << (order_per_bit + page_shift)
    return merged(
        AddressRange.from_size(base + index * unit, unit)
        for index in range(bits)
        if value >> index & 1
    )


def _cut(directory: str) -> str:
    return directory.removeprefix(_PREFIX)


def _area_names(directory: str, known: Collection[str], old: bool) -> tuple[str, ...]:
    """The areas that a directory may be of."""
    if not old:
        return (directory,)
    names = tuple(dict.fromkeys(name for name in known if directory_of(name) == directory))
    if directory in known and not names:
        return (directory,)
    return names or (_cut(directory),)


def _area(
    name: str, directory: str, contents: Mapping[str, str], page_shift: int, source: str
) -> DebugArea:
    where = f"{source}/{directory}"
    numbers = {key: _number(contents[key], f"{where}/{key}") for key in _NUMBERS if key in contents}
    if "count" not in numbers:
        raise MalformedDebugfs(where, "there is no count, so the size is unknown")
    count, order = numbers["count"], numbers.get("order_per_bit", 0)
    if order > _WORD_BITS:
        raise MalformedDebugfs(where, "an impossible order_per_bit", text=contents["order_per_bit"])
    ranges = sorted(
        (int(parts[1]), path)
        for path in contents
        if len(parts := path.split("/")) == 3
        and parts[0] == "ranges"
        and parts[2] == "base_pfn"
        and parts[1].isascii()
        and parts[1].isdigit()
    )
    pfns = [_number(contents[path], f"{where}/{path}") for _, path in ranges]
    if not pfns and "base_pfn" in numbers:
        pfns = [numbers["base_pfn"]]
    if not pfns:
        raise MalformedDebugfs(where, "there is no base_pfn, so the place is unknown")
    bases = tuple(pfn << page_shift for pfn in pfns)
    bitmap = contents.get("bitmap", contents.get("ranges/0/bitmap"))
    allocated = None
    if bitmap is not None and len(bases) == 1 and count:
        allocated = parse_bitmap(
            bitmap,
            base=bases[0],
            count=count,
            order_per_bit=order,
            page_shift=page_shift,
            source=f"{where}/bitmap",
        )
    return DebugArea(
        name,
        directory,
        bases,
        count,
        order,
        numbers.get("used"),
        numbers.get("maxchunk"),
        allocated,
        page_shift,
    )


def _number(text: str, source: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        raise MalformedDebugfs(source, "not a decimal number", text=text)
    return int(digits)
