# SPDX-License-Identifier: MIT
"""Memory from a dma-buf heap, where there is no driver: the host finds out where it is.

``/dev/dma_heap/AREA`` gives memory of an area and tells nobody its address (drivers/dma-buf/heaps/
cma_heap.c; its mappings are left out of pagemap). So the application writes words into the pages
that nothing else in RAM has, and the host looks for these pages in the guest's RAM: where they are
is the address (``images/app/heap.c``). This needs nothing of the kernel but the heap.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping

from harness.errors import JudgementError
from harness.guest.application import ANSWER_TIMEOUT, AppScript, Runs
from harness.memory.ranges import AddressRange

HEAPS = "/dev/dma_heap"
DEFAULT_HEAP = "default_cma_region"
"""The heap of the area of devices that name none, whatever that area is called (from 6.17 on)."""
PAGE = 4096
_AT_ONCE = 128
"""Commands in one line of the shell's."""
_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_ALLOCATED = re.compile(r"ok (0x[0-9a-f]+) (0x[0-9a-f]+)")

FindPages = Callable[[Mapping[bytes, int]], dict[int, list[int]]]
"""`harness.machine.machine.Machine.find_pages`."""


class NotFound(JudgementError):
    """What the application wrote into its memory is nowhere in RAM, or not in one piece."""


def heap_path(area: str) -> str:
    """The heap of an area; of the default one for an empty name and for ``default``."""
    return f"{HEAPS}/{DEFAULT_HEAP if area in ('', 'default') else area}"


def head(nonce: int, token: int, page: int) -> bytes:
    """What the application's ``tag`` writes at the start of page `page` of the buffer `token`."""
    number = token // PAGE << 32 | page << 1
    words = ((nonce + (number | word) * _STEP) & _MASK for word in range(2))
    return b"".join(word.to_bytes(8, "little") for word in words)


class HeapScript(AppScript):
    """An application on a heap: what it is told of addresses is what the host has found.

    The same commands as on a driver, but for those that are about the driver itself.
    """

    def __init__(
        self,
        guest: Runs,
        number: int,
        process: int,
        find_pages: FindPages,
        device: Callable[[str], str],
    ) -> None:
        """`device` gives the heap that stands for a driver's device."""
        super().__init__(guest, number, process)
        self._find_pages = find_pages
        self._device = device

    def ask(self, commands: Iterable[str], timeout: float = ANSWER_TIMEOUT) -> list[str]:
        """As `AppScript.ask`. Memory that is new has its place before anything else is done with
        it. Raises `NotFound`.
        """
        answers: list[str] = []
        piece: list[str] = []
        for line in commands:
            command = line
            if line.startswith("device "):
                command = f"device {self._device(line.split()[1])}"
            if not _allocates(command) and any(map(_allocates, piece)):
                answers += self._allocating(piece, timeout)
                piece = []
            piece.append(command)
        return answers + (self._allocating(piece, timeout) if piece else [])

    def _allocating(self, commands: list[str], timeout: float) -> list[str]:
        answers = super().ask(commands, timeout)
        places: dict[int, int] = {}
        if any(map(_allocates, commands)):
            while sizes := self._unplaced():
                places |= self._place(sizes)
        return [_placed(line, places) for line in answers]

    def _unplaced(self) -> dict[int, int]:
        """Token and size of buffers that have no place; a part of them where they are many."""
        sizes: dict[int, int] = {}
        for word in super().ask(["unplaced"])[0].split()[1:]:
            first, count, size = (int(part, 0) for part in word.split(":"))
            sizes |= {first + number * PAGE: size for number in range(count)}
        return sizes

    def _place(self, sizes: Mapping[int, int]) -> dict[int, int]:
        """Finds the buffers in RAM, and tells the application; the address of each token."""
        nonce = random.SystemRandom().getrandbits(64)
        super().ask([f"tag {nonce:x}"])
        numbers = {
            (token, page): number
            for number, (token, page) in enumerate(
                (token, page) for token, size in sizes.items() for page in range(size // PAGE)
            )
        }
        found = self._find_pages({head(nonce, *key): number for key, number in numbers.items()})
        places = {}
        for token, size in sizes.items():
            pages = [found.get(numbers[token, page], []) for page in range(size // PAGE)]
            places[token] = in_one_piece(pages).start
        told = [f"place {token} {at}" for token, at in places.items()]
        for first in range(0, len(told), _AT_ONCE):
            super().ask(told[first : first + _AT_ONCE])
        return places


def _allocates(command: str) -> bool:
    words = command.split()
    return words[:1] == ["alloc"] or (words[:1] == ["repeat"] and words[2:3] == ["alloc"])


def _placed(line: str, places: Mapping[int, int]) -> str:
    """An answer to ``alloc`` with the address in place of the token."""
    match = _ALLOCATED.match(line)
    if match is None or int(match[1], 16) not in places:
        return line
    return f"ok {places[int(match[1], 16)]:#x} {match[2]} 0x0"


def in_one_piece(pages: list[list[int]]) -> AddressRange:
    """The range of the pages, each given by all places where it was found. Raises `NotFound`."""
    for number, places in enumerate(pages):
        if len(places) != 1:
            where = ", ".join(f"{place:#x}" for place in places) or "nowhere"
            raise NotFound(f"page {number} of {len(pages)} of the heap's memory is {where} in RAM")
        if places[0] != pages[0][0] + number * PAGE:
            raise NotFound(
                f"the heap's memory is not contiguous: page 0 is at {pages[0][0]:#x}, page"
                f" {number} at {places[0]:#x}"
            )
    return AddressRange.from_size(pages[0][0], len(pages) * PAGE)
