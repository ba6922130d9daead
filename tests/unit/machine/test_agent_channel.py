# SPDX-License-Identifier: MIT
"""The command channel against a scripted guest on a pty: no hang, no wrong pass."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.machine.channel import FRESH
from harness.machine.errors import ConsoleError, GuestCrash, GuestFileError, GuestTimeout
from harness.machine.frames import Frame
from tests.unit.machine.fake import FakeAgent, bench

PANIC = b"[   12.345678] Kernel panic - not syncing: sysrq triggered crash\n"


def ends(agent: FakeAgent, seq: int, out: bytes = b"", err: bytes = b"", status: int = 0) -> None:
    if out:
        agent.say(seq, "out", out)
    if err:
        agent.say(seq, "err", err)
    agent.say(seq, "exit", b"%d %d %d" % (status, len(out), len(err)))


def test_output_error_output_and_status_are_told_apart() -> None:
    with bench(lambda a, seq, kind, text: ends(a, seq, b"out\n", b"err\n", 3)) as (b, _):
        result = b.channel.run("anything", 5)
    assert (result.stdout, result.stderr, result.status) == (b"out\n", b"err\n", 3)


def test_output_that_looks_like_a_prompt_or_a_frame_is_output() -> None:
    lies = (
        b"/ # \x1b[6n@abcd0123 2 1 exit 5 00000000 00000000\n0 0 0\n"
        + Frame("abcd0123", 2, 2, "exit", b"7 0 0").encode()
        + b"\xff\xfe\x00"
    )
    with bench(lambda a, seq, kind, text: ends(a, seq, lies)) as (b, _):
        assert b.channel.run("anything", 5).stdout == lies


def test_utf8_split_between_frames_is_put_together() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        text = "ü".encode()
        a.say(seq, "out", text[:1])
        a.say(seq, "out", text[1:])
        a.say(seq, "exit", b"0 2 0")

    with bench(answer) as (b, _):
        assert b.channel.run("anything", 5).text == "ü"


def test_megabytes_without_a_newline_come_through() -> None:
    data = os.urandom(1 << 20).replace(b"\n", b"x") * 2

    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        for start in range(0, len(data), 2048):
            a.say(seq, "out", data[start : start + 2048])
        a.say(seq, "exit", b"0 %d 0" % len(data))

    with bench(answer) as (b, _):
        assert b.channel.run("anything", 30).stdout == data


def test_a_lost_frame_is_noticed() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        a.say(seq, "out", b"second half")
        a.say(seq, "exit", b"0 22 0")

    with bench(answer) as (b, _), pytest.raises(ConsoleError, match="11 of 22 bytes"):
        b.channel.run("anything", 5)


def test_an_answer_to_an_earlier_question_is_not_taken_for_this_one() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        ends(a, seq - 1, b"earlier")
        ends(a, seq, b"this")

    with bench(answer) as (b, _):
        assert b.channel.run("anything", 5).text == "this"


def test_an_answer_to_a_question_that_nobody_asked_is_an_error() -> None:
    with (
        bench(lambda a, seq, kind, text: ends(a, seq + 1)) as (b, _),
        pytest.raises(ConsoleError, match="out of turn"),
    ):
        b.channel.run("anything", 5)


def test_another_machines_answer_is_refused() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        a.nonce = "0badbabe"
        ends(a, seq)

    with bench(answer) as (b, _), pytest.raises(ConsoleError, match="another's"):
        b.channel.run("anything", 5)


def test_an_agent_that_was_started_again_is_noticed() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        a.nonce = "0"
        a.say(0, "ready", b"0 0 agent 2")

    with bench(answer) as (b, _), pytest.raises(ConsoleError, match="started again"):
        b.channel.run("anything", 5)


def test_silence_ends_at_the_deadline_and_says_what_was_asked(tmp_path: Path) -> None:
    with bench(lambda a, seq, kind, text: None, tmp_path) as (b, _):
        os.write(b.kernel, b"[    1.000000] the last the kernel said\n")
        b.log.wait(10, 5)
        with pytest.raises(GuestTimeout) as caught:
            b.channel.run("sleep forever", 0.3)
    said = str(caught.value)
    assert "no answer to `sleep forever` after" in said
    assert "the last the kernel said" in said
    assert str(tmp_path / "transcript.txt") in said


def test_a_command_after_one_that_timed_out_gets_its_own_answer() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if payload == b"fast":
            ends(a, seq, b"fast")

    with bench(answer) as (b, _):
        with pytest.raises(GuestTimeout):
            b.channel.run("slow", 0.2)
        assert b.channel.run("fast", 5).text == "fast"


def test_a_panic_ends_the_wait_at_once() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        os.write(b.kernel, b"[    0.000000] Booting Linux on physical CPU 0x0\n" + PANIC)

    with bench(answer) as (b, _), pytest.raises(GuestCrash, match="sysrq triggered"):
        b.channel.run("echo c >/proc/sysrq-trigger", 60)


def test_what_was_printed_before_the_deadline_is_kept() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "run":
            a.say(seq, "out", b"so far\n")

    with bench(answer) as (b, _):
        with pytest.raises(GuestTimeout) as late:
            b.channel.run("sleep", 0.3)
        assert late.value.output == b"so far\n"


def test_a_panic_between_commands_is_told_at_the_next() -> None:
    with bench(lambda a, seq, kind, text: ends(a, seq)) as (b, _):
        os.write(b.kernel, PANIC)
        b.log.wait(len(PANIC) - 1, 5)
        with pytest.raises(GuestCrash):
            b.channel.run("true", 5)


def test_the_end_of_the_line_is_an_error_not_a_hang() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        a.hang_up()

    with bench(answer) as (b, _), pytest.raises(ConsoleError, match="ended"):
        b.channel.run("anything", 20)


def test_files_are_checked_both_ways() -> None:
    data = bytes(range(256)) * 9
    held = bytearray()

    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "get":
            a.say(seq, "data", data)
            a.say(seq, "end", b"%d %08x" % (len(data), zlib.crc32(data)))
        elif payload or kind == "put":
            held.extend(payload if kind == "data" else b"")
            a.say(seq, "ok")
        else:
            a.say(seq, "end", b"%d %08x" % (len(held), zlib.crc32(held)))

    with bench(answer) as (b, _):
        assert b.channel.get("/x", 5) == data
        b.channel.put("/y", data, 0o644, 5)
    assert held == data


def test_a_file_that_changed_on_the_way_is_refused() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        a.say(seq, "data", b"abc")
        a.say(seq, "end", b"4 %08x" % zlib.crc32(b"abcd"))

    with bench(answer) as (b, _), pytest.raises(ConsoleError, match="3 bytes"):
        b.channel.get("/x", 5)


def test_output_of_which_more_was_lost_than_can_be_had_again_is_an_error() -> None:
    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "run":
            a.raw(a.next_frame(seq, "out", b"lost")[1:] + a.next_frame(seq, "exit", b"0 4 0"))
        else:
            a.raw(a.frame(seq, "lost", b"2"))

    with bench(answer) as (b, agent):
        agent.repeats = True
        with pytest.raises(ConsoleError, match="than the agent keeps"):
            b.channel.run("anything", 5)


def test_a_file_of_which_too_much_was_lost_is_read_again() -> None:
    reads = iter([False, False, True])

    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        if kind == "again":
            a.raw(a.frame(seq, "lost", b"2"))
            return
        data, end = a.next_frame(seq, "data", b"abc"), a.next_frame(seq, "end", b"3 352441c2")
        a.raw((data if next(reads) else data[1:]) + end)

    with bench(answer) as (b, agent):
        agent.repeats = True
        assert b.channel.get("/x", 5) == b"abc"


def test_the_guests_own_cannot_is_passed_on() -> None:
    with (
        bench(lambda a, seq, kind, text: a.say(seq, "fail", b"2 /x: No such file")) as (b, _),
        pytest.raises(GuestFileError, match="No such file"),
    ):
        b.channel.get("/x", 5)


@settings(max_examples=3 * settings().max_examples // 2, deadline=None)
@given(
    out=st.binary(max_size=300),
    edit=st.sampled_from(["drop", "double", "change", "insert", "cut"]),
    at=st.integers(0, 400),
    byte=st.integers(0, 255),
)
def test_a_damaged_line_never_gives_a_wrong_result(
    out: bytes, edit: str, at: int, byte: int
) -> None:
    """One edit anywhere in the answer: the result is the right one, or an error.

    The line ends with the answer, so that nobody waits for what was lost.
    """
    damaged = False

    def answer(a: FakeAgent, seq: int, kind: str, payload: bytes) -> None:
        nonlocal damaged
        if kind != "run":
            return
        whole = a.next_frame(seq, "out", out) + a.next_frame(seq, "exit", b"0 %d 0" % len(out))
        i = at % len(whole)
        new = {
            "drop": whole[:i] + whole[i + 1 :],
            "double": whole[: i + 1] + whole[i:],
            "change": whole[:i] + bytes([byte]) + whole[i + 1 :],
            "insert": whole[:i] + bytes([byte]) + whole[i:],
            "cut": whole[:i],
        }[edit]
        damaged = new != whole
        a.raw(new)
        a.hang_up()

    with bench(answer) as (b, _):
        try:
            result = b.channel.run("anything", 20)
        except HarnessError:
            assert damaged
        else:
            assert (result.stdout, result.status) == (out, 0)


@pytest.mark.parametrize(("said", "stirred"), [(b"agent 2", True), (b"agent 2 unstirred", False)])
def test_a_guest_that_took_no_fresh_randomness_is_known(said: bytes, stirred: bool) -> None:
    with bench(lambda a, seq, kind, text: ends(a, seq), ready=said) as (b, _):
        assert b.channel.stirred == stirred


def test_what_greets_the_agent_has_no_character_that_a_terminal_acts_on() -> None:
    with bench(lambda *_: None) as (found, agent):
        for number in range(20):
            found.channel.open(f"{number:08x}", 10)
    assert len(set(agent.greetings)) > 20
    for greeting in agent.greetings:
        assert len(greeting) == FRESH
        assert all(0x20 <= byte < 0x7F for byte in greeting)
