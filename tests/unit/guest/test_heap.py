# SPDX-License-Identifier: MIT
"""Memory of a heap: the application and the guest's RAM are played here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from harness.guest.application import AppScript
from harness.guest.heap import DEFAULT_HEAP, HeapScript, NotFound, head, heap_path, in_one_piece
from harness.memory.ranges import AddressRange

PAGE = 4096
BASE = 0x69800000


class Fake:
    """The application on a heap whose buffers lie one behind the other from `BASE` on."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.buffers: dict[int, int] = {}
        self.bases: dict[int, int] = {}
        self.places: dict[int, int] = {}
        self.ram: dict[int, bytes] = {}
        self.next = BASE
        self.token = 0x1000
        self.shift = 0
        """How far the second page of each buffer is from where it should be."""

    def ask(self, commands: Iterable[str]) -> list[str]:
        return [self.answer(command) for command in commands]

    def answer(self, command: str) -> str:
        self.sent.append(command)
        word, *rest = command.split()
        if word == "repeat":
            return [self.answer(" ".join(rest[1:])) for _ in range(int(rest[0]))][-1]
        if word == "alloc":
            size = int(rest[0])
            if size > 8 << 20:
                return "error ENOMEM (12) Cannot allocate memory"
            token, self.token = self.token, self.token + PAGE
            self.buffers[token] = size
            return f"ok {token:#x} {size:#x} 0x0"
        if word == "unplaced":
            new = [t for t in self.buffers if t not in self.places][:2]
            return " ".join(["ok", *(f"{t:#x}:1:{self.buffers[t]:#x}" for t in reversed(new))])
        if word == "tag":
            self.tag(int(rest[0], 16))
        if word == "place":
            self.places[int(rest[0])] = int(rest[1])
        return "ok"

    def tag(self, nonce: int) -> None:
        for token, size in self.buffers.items():
            if token in self.places:
                continue
            base = self.bases.setdefault(token, self.next)
            self.next = max(self.next, base + size)
            for page in range(size // PAGE):
                at = base + page * PAGE + (self.shift if page == 1 else 0)
                self.ram[at] = head(nonce, token, page)

    def find(self, heads: Mapping[bytes, int]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for at, content in self.ram.items():
            if content in heads:
                found.setdefault(heads[content], []).append(at)
        return found


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(AppScript, "ask", lambda _self, commands, _timeout=0.0: fake.ask(commands))
    return fake


@pytest.fixture
def app(fake: Fake) -> HeapScript:
    return HeapScript(None, 0, 1, fake.find, lambda device: f"heap of {device}")  # type: ignore[arg-type]


def test_an_allocation_is_where_the_host_finds_it(app: HeapScript) -> None:
    assert app.alloc(3 * PAGE) == AddressRange(BASE, BASE + 3 * PAGE)


def test_many_at_once_are_found_in_turns(app: HeapScript, fake: Fake) -> None:
    answers = app.ask([f"alloc {PAGE}"] * 5)
    assert len({line.split()[1] for line in answers}) == 5
    assert all(int(line.split()[1], 16) >= BASE for line in answers)
    assert fake.sent.count("unplaced") == 4, "two at a time, until none is left"


def test_what_follows_an_allocation_knows_its_address(app: HeapScript, fake: Fake) -> None:
    app.ask([f"alloc {PAGE}", f"release {BASE} {PAGE}", f"alloc {PAGE}"])
    kinds = [line.split()[0] for line in fake.sent]
    found = ["alloc", "unplaced", "tag", "place", "unplaced"]
    assert kinds == [*found, "release", *found]


def test_a_refusal_needs_no_search(app: HeapScript, fake: Fake) -> None:
    assert app.error(f"alloc {16 << 20}") == "ENOMEM"
    assert fake.sent[1:] == ["unplaced"]


def test_repeated_allocations_are_placed_too(app: HeapScript) -> None:
    (answer,) = app.ask([f"repeat 3 alloc {PAGE}"])
    assert int(answer.split()[1], 16) in range(BASE, BASE + 3 * PAGE)


def test_another_device_is_another_heap(app: HeapScript, fake: Fake) -> None:
    app.ask(["device /dev/CMA_demo1"])
    assert fake.sent == ["device heap of /dev/CMA_demo1"]


def test_memory_that_is_not_contiguous_is_told(app: HeapScript, fake: Fake) -> None:
    fake.shift = 1 << 20
    with pytest.raises(NotFound, match="not contiguous: page 0 is at 0x69800000, page 1"):
        app.alloc(2 * PAGE)


def test_memory_that_is_nowhere_or_twice_is_told() -> None:
    with pytest.raises(NotFound, match="page 1 of 2 of the heap's memory is nowhere in RAM"):
        in_one_piece([[BASE], []])
    with pytest.raises(NotFound, match=r"page 0 of 1 .* is 0x1000, 0x2000 in RAM"):
        in_one_piece([[0x1000, 0x2000]])


def test_heaps_are_called_after_their_areas() -> None:
    assert heap_path("BiscuitOS_cma") == "/dev/dma_heap/BiscuitOS_cma"
    assert heap_path("default") == heap_path("") == f"/dev/dma_heap/{DEFAULT_HEAP}"


def test_no_two_pages_have_the_same_head() -> None:
    heads = {head(1, token, page) for token in (0x1000, 0x2000) for page in range(2048)}
    assert len(heads) == 4096
