# SPDX-License-Identifier: MIT
"""The frames of our agent's line, and how they are found on a line that loses or doubles bytes.

``images/agent/agent.c`` defines them: ``@NONCE SEQ NUMBER KIND LEN SUM CHECK\\n``, the payload and
a newline. Nothing between frames is believed, and nothing of a frame whose sums do not fit.
"""

from __future__ import annotations

import dataclasses
import re
import zlib

HEADER = re.compile(
    rb"@(?P<head>(?P<summed>(?P<nonce>[0-9a-f]{1,39}) (?P<seq>\d{1,10}) (?P<number>\d{1,10})"
    rb" (?P<kind>[a-z]{1,15}) (?P<size>\d{1,7})) (?P<sum>[0-9a-f]{8})) (?P<check>[0-9a-f]{4})\n"
)
HEADER_MAX = 160
"""Bytes of a header, more than any has."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame whose sums were right."""

    nonce: str
    seq: int
    """The request that it is, or that it answers."""
    number: int
    """Its place in the answer, from 1 on; 0 for a request, and for what belongs to no answer."""
    kind: str
    payload: bytes

    def encode(self) -> bytes:
        """The frame as it goes over the line."""
        head = f"{self.nonce} {self.seq} {self.number} {self.kind} {len(self.payload)}".encode()
        head += b" %08x" % zlib.crc32(self.payload, zlib.crc32(head))
        return b"@%s %04x\n%s\n" % (head, _check(head), self.payload)


def _check(head: bytes) -> int:
    """The sum of a header, which tells whether the length in it can be believed."""
    return zlib.crc32(head) & 0xFFFF


class FrameReader:
    """Takes bytes as they come and gives the frames in them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.damage = 0
        """How often something else was found where a frame should be."""

    def feed(self, data: bytes) -> None:
        """Adds what came in."""
        self._data += data

    def next(self) -> Frame | None:
        """The next whole frame; None where more must come first."""
        while (start := self._data.find(b"@")) >= 0:
            self._drop(start)
            beginning = bytes(self._data[:HEADER_MAX])
            header = HEADER.match(beginning)
            if header is not None and _check(header["head"]) == int(header["check"], 16):
                end = header.end() + int(header["size"])
                if len(self._data) < end:
                    return None
                payload = bytes(self._data[header.end() : end])
                if zlib.crc32(payload, zlib.crc32(header["summed"])) == int(header["sum"], 16):
                    del self._data[:end]
                    seq, number = int(header["seq"]), int(header["number"])
                    return Frame(
                        header["nonce"].decode(), seq, number, header["kind"].decode(), payload
                    )
            elif len(beginning) < HEADER_MAX and b"\n" not in beginning:
                return None
            self._drop(1)
        self._drop(len(self._data))
        return None

    def give_up(self) -> None:
        """What has begun will not go on: the next frame is looked for behind its first byte."""
        self._drop(1)

    def _drop(self, count: int) -> None:
        if self._data[:count].strip(b"\n"):
            self.damage += 1
        del self._data[:count]
