# SPDX-License-Identifier: MIT
from __future__ import annotations

import threading

import pexpect
import pytest

from harness.machine.transcript import Changes, Stream

PATIENCE = 10.0


def test_whoever_waits_for_frames_is_woken_by_whole_lines_alone() -> None:
    changed = Changes()
    stream = Stream("line", changed, framed=True)
    pieces: list[bytes] = []
    stream.listen(lambda data, _now: pieces.append(data))
    for byte in b"@frame":
        stream.append(bytes([byte]))
    assert changed.count == 0
    assert pieces == []
    stream.append(b"\n@ne")
    assert changed.count == 1
    assert pieces == [b"@frame\n@ne"]
    stream.append(b"xt")
    stream.close()
    assert pieces == [b"@frame\n@ne", b"xt"], "the rest is told at the end"
    assert stream.bytes() == b"@frame\n@next"


def test_text_wakes_with_each_piece() -> None:
    changed = Changes()
    stream = Stream("console", changed)
    stream.append(b"login: ")
    assert changed.count == 1


def test_part_of_a_frame_is_there_for_who_comes_later_or_waits_in_vain() -> None:
    stream = Stream("line", framed=True)
    with pytest.raises(pexpect.TIMEOUT):
        stream.wait(0, 0)
    stream.append(b"@half")
    stream.wait(0, 0)
    waiting = threading.Thread(target=stream.wait, args=(5, PATIENCE))
    waiting.start()
    stream.append(b" frame\n")
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
