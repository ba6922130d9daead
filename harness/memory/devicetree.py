# SPDX-License-Identifier: MIT
"""Reserved memory as a device tree declares it: the blob on the host, or the live tree of a guest.

The meaning of each property is as drivers/of/of_reserved_mem.c and drivers/of/fdt.c of Linux read
it (5.0 to 7.3): an area's name in the kernel is its node's *full* name, including the unit address
where it has one (``foo@69800000``; ``rmem->name`` is the ``uname`` of the flattened node);
``compatible`` is compared without regard to case; of several ``reg`` tuples only the first becomes
the area; ``reg`` wins over ``size``; a node whose ``status`` is neither ``ok`` nor ``okay`` is no
area.
"""

from __future__ import annotations

import dataclasses

from harness.memory import flattree
from harness.memory.errors import AreaNotInDeviceTree, MalformedDeviceTree, NoReservedMemory
from harness.memory.flattree import RawNode, RawTree
from harness.memory.model import Claim, Coverage, Failure, Placed, Reading, Windowed
from harness.memory.ranges import AddressRange

_ROOT_CELLS_DEFAULT = 1
"""OF_ROOT_NODE_ADDR_CELLS_DEFAULT in include/linux/of.h (the specification says 2)."""


@dataclasses.dataclass(frozen=True)
class ReservedNode:
    """A child of ``/reserved-memory``.

    ``name`` includes the unit address. ``windows`` are the ``alloc-ranges``, ``reg`` the static
    ranges. ``problems`` are the reasons why the kernel makes no area of it although it is one by
    its properties.
    """

    name: str
    compatible: tuple[str, ...] = ()
    reusable: bool = False
    no_map: bool = False
    cma_default: bool = False
    available: bool = True
    size: int | None = None
    alignment: int | None = None
    windows: tuple[AddressRange, ...] = ()
    reg: tuple[AddressRange, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def base_name(self) -> str:
        """The name without the unit address."""
        return self.name.partition("@")[0]

    @property
    def is_cma(self) -> bool:
        """Whether it declares a CMA area: an enabled, reusable, mapped ``shared-dma-pool``."""
        pool = "shared-dma-pool" in map(str.lower, self.compatible)
        return self.available and pool and self.reusable and not self.no_map

    def claim(self, source: str) -> Claim | None:
        """What it says of its CMA area: an exact range, or size and windows; None if it is none."""
        if not self.is_cma or self.problems:
            return None
        where = f"{source} /reserved-memory/{self.name}"
        if self.reg:
            return Placed(self.name, self.reg[0], where)
        return Windowed(self.name, self.size or 0, self.windows, where)

    def why_not_cma(self) -> str:
        """In words, why this node is no CMA area (empty if it is one)."""
        reasons = []
        if not self.available:
            reasons.append("it is disabled (status)")
        if "shared-dma-pool" not in map(str.lower, self.compatible):
            reasons.append("its compatible is not shared-dma-pool")
        if not self.reusable:
            reasons.append("it is not reusable")
        if self.no_map:
            reasons.append("it is no-map")
        return ", ".join([*reasons, *self.problems])


@dataclasses.dataclass(frozen=True)
class DeviceTree:
    """The parts of a device tree that speak of memory. ``source`` is the path it was read from.

    ``reserved`` is None where there is no ``/reserved-memory``. ``reserved_problem`` says why the
    kernel ignores that node as a whole, if it does.
    """

    source: str
    memory: tuple[AddressRange, ...]
    reservations: tuple[AddressRange, ...]
    reserved: tuple[ReservedNode, ...] | None
    reserved_problem: str | None = None
    live: bool = False

    @property
    def cma_nodes(self) -> tuple[ReservedNode, ...]:
        """The nodes that declare CMA areas, in the order of the tree, with and without problems."""
        return tuple(node for node in self.reserved or () if node.is_cma)

    def area(self, name: str) -> ReservedNode:
        """The node that declares CMA area ``name`` (full node name).

        Raises `NoReservedMemory`, `AreaNotInDeviceTree` (which lists the areas there are) or
        `MalformedDeviceTree` where its properties cannot be used.
        """
        if self.reserved is None:
            raise NoReservedMemory(
                self.source, f"it has no /reserved-memory node, so no CMA area {name}; add one"
            )
        if self.reserved_problem:
            raise NoReservedMemory(
                self.source, f"the kernel ignores /reserved-memory: {self.reserved_problem}"
            )
        node = next((node for node in self.reserved if node.name == name), None)
        if node is None or not node.is_cma:
            raise self._no_area(name, node)
        if node.problems:
            problems = ", ".join(node.problems)
            raise MalformedDeviceTree(self.source, f"/reserved-memory/{name}: {problems}")
        return node

    def _no_area(self, name: str, node: ReservedNode | None) -> AreaNotInDeviceTree:
        present = [node.name for node in self.cma_nodes]
        listed = f"it has {', '.join(present)}" if present else "it has none"
        problem = f"no CMA area {name} in the device tree; {listed}"
        if node is not None:
            problem = f"/reserved-memory/{name} is no CMA area: {node.why_not_cma()}; {listed}"
        else:
            similar = [n for n in present if n.partition("@")[0] == name]
            if similar:
                problem += (
                    f". The kernel names an area by the whole node name: ask for {similar[0]}"
                )
        return AreaNotInDeviceTree(self.source, problem, area=name, present=present)

    def reading(self) -> Reading:
        """What it declares, as a witness (``device tree`` or ``live device tree``)."""
        claims: list[Claim] = []
        failures: list[Failure] = []
        for node in self.cma_nodes:
            problem = self.reserved_problem or ", ".join(node.problems)
            if problem:
                failures.append(Failure(node.name, problem, self.source))
            elif claim := node.claim(self.source):
                claims.append(claim)
        return Reading(
            witness="live device tree" if self.live else "device tree",
            source=self.source,
            coverage=Coverage.DECLARED,
            claims=tuple(claims),
            ram=self.memory,
            failures=tuple(failures),
            default_areas=tuple(node.name for node in self.cma_nodes if node.cma_default),
        )


def read_dtb(blob: bytes, source: str = "device tree") -> DeviceTree:
    """The device tree in a blob. Raises only `DeviceTreeError` and what derives from it."""
    return _model(flattree.from_blob(blob, source), live=False)


def read_live_tree(files: dict[str, bytes], source: str = "/proc/device-tree") -> DeviceTree:
    """The live tree from relative paths (``reserved-memory/linux,cma/size``) to property bytes.

    Raises only `DeviceTreeError` and what derives from it.
    """
    return _model(flattree.from_files(files, source), live=True)


@dataclasses.dataclass(frozen=True)
class _Cells:
    address: int
    size: int


def _model(tree: RawTree, *, live: bool) -> DeviceTree:
    root = tree.root
    root_cells = _Cells(
        _cell_count(root, "#address-cells", _ROOT_CELLS_DEFAULT, tree.source),
        _cell_count(root, "#size-cells", _ROOT_CELLS_DEFAULT, tree.source),
    )
    memory = [r for node in root.children for r in _memory_banks(node, root_cells, tree.source)]
    node = root.child("reserved-memory")
    reserved, problem = None, None
    if node is not None:
        cells = _Cells(
            _cell_count(node, "#address-cells", root_cells.address, tree.source),
            _cell_count(node, "#size-cells", root_cells.size, tree.source),
        )
        reserved = tuple(_reserved_node(child, cells) for child in node.children)
        problem = _reserved_problem(node, cells, root_cells)
    return DeviceTree(
        source=tree.source,
        memory=tuple(memory),
        reservations=tuple(
            AddressRange.from_size(address, size) for address, size in tree.reservations if size
        ),
        reserved=reserved,
        reserved_problem=problem,
        live=live,
    )


def _reserved_problem(node: RawNode, cells: _Cells, root: _Cells) -> str | None:
    """Why the kernel ignores the node (``__reserved_mem_check_root``), or None."""
    for name in ("#address-cells", "#size-cells", "ranges"):
        if name not in node.properties:
            return f"it has no {name}"
    if cells != root:
        return (
            f"its #address-cells and #size-cells are {cells.address} and {cells.size}, "
            f"and the root's {root.address} and {root.size}"
        )
    return None


def _cell_count(node: RawNode, name: str, default: int, source: str) -> int:
    raw = node.properties.get(name)
    if raw is None:
        return default
    count = int.from_bytes(raw, "big")
    if len(raw) != 4 or count not in (1, 2):
        raise MalformedDeviceTree(
            source,
            f"{name} of {node.name} is {raw.hex(' ') or 'empty'}, and not one cell of 1 or 2",
        )
    return count


def _strings(raw: bytes | None) -> tuple[str, ...]:
    parts = (raw or b"").split(b"\0")
    return tuple(part.decode("ascii", "backslashreplace") for part in parts if part)


def _available(node: RawNode) -> bool:
    status = node.properties.get("status")
    return status is None or status.split(b"\0")[0] in (b"ok", b"okay")


def _memory_banks(node: RawNode, cells: _Cells, source: str) -> list[AddressRange]:
    """The banks of a memory node as early_init_dt_scan_memory() takes them: empty ones are none."""
    if _strings(node.properties.get("device_type")) != ("memory",) or not _available(node):
        return []
    raw = node.properties.get("linux,usable-memory", node.properties.get("reg", b""))
    width = 4 * (cells.address + cells.size)
    if len(raw) % width:
        raise MalformedDeviceTree(
            source, f"reg of {node.name} has {len(raw)} bytes, which are no whole tuples of {width}"
        )
    return [AddressRange.from_size(base, size) for base, size in _pairs(raw, cells) if size]


def _pairs(raw: bytes, cells: _Cells) -> list[tuple[int, int]]:
    split, width = 4 * cells.address, 4 * (cells.address + cells.size)
    tuples = [raw[at : at + width] for at in range(0, len(raw), width)]
    return [(int.from_bytes(t[:split], "big"), int.from_bytes(t[split:], "big")) for t in tuples]


def _reserved_node(node: RawNode, cells: _Cells) -> ReservedNode:
    problems: list[str] = []
    properties = node.properties

    def pairs(name: str) -> list[tuple[int, int]]:
        raw, width = properties.get(name, b""), 4 * (cells.address + cells.size)
        if len(raw) % width:
            problems.append(f"{name} has {len(raw)} bytes, which are no whole tuples of {width}")
            return []
        if name in properties and not raw:
            problems.append(f"{name} is empty")
        return _pairs(raw, cells)

    def static() -> tuple[AddressRange, ...]:
        """Of ``reg`` only the first pair is the area's."""
        found = pairs("reg")
        if found and not found[0][1]:
            problems.append("reg has a tuple of size 0")
            return ()
        return tuple(AddressRange.from_size(base, size) for base, size in found if size)

    def ranges() -> tuple[AddressRange, ...]:
        """The kernel tries one after the other; an end of 0 is none at all."""
        found = pairs("alloc-ranges")
        if (0, 0) in found:
            return ()
        if found and not any(size for _, size in found):
            problems.append("alloc-ranges has a tuple of size 0 alone")
        return tuple(AddressRange.from_size(base, size) for base, size in found if size)

    def number(name: str, expected: int, cells_name: str) -> int | None:
        raw = properties.get(name)
        if raw is None:
            return None
        if len(raw) != 4 * expected:
            problems.append(
                f"{name} has {len(raw)} bytes, and {cells_name} asks for {4 * expected}"
            )
        return int.from_bytes(raw, "big") if len(raw) in (4, 8) else None

    reg, windows = static(), ranges()
    size = number("size", cells.size, "#size-cells")
    alignment = number("alignment", cells.address, "#address-cells")
    if "reg" in properties:
        # the kernel looks at neither size, alignment nor alloc-ranges of a static range
        problems = [problem for problem in problems if problem.startswith("reg ")]
    elif size is None and not problems:
        problems.append("it has neither reg nor size")
    elif size == 0:
        problems.append("size is 0")
    return ReservedNode(
        name=node.name,
        compatible=_strings(properties.get("compatible")),
        reusable="reusable" in properties,
        no_map="no-map" in properties,
        cma_default="linux,cma-default" in properties,
        available=_available(node),
        size=size,
        alignment=alignment,
        windows=windows,
        reg=reg,
        problems=tuple(problems),
    )
