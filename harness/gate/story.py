# SPDX-License-Identifier: MIT
"""A failing test's guest in plain words: what it was told, and what it answered.

Read from the transcript that `harness.machine.transcript` writes; frames are those of our agent
(`harness.machine.frames`). A patched kernel wrote half of it: what is no frame is passed over.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from harness import board

_ROW = re.compile(r"^\[ *\d+\.\d+\] (.{9}) (.*)$")
_HEADER = re.compile(r"^@[0-9a-f]+ (\d+) \d+ ([a-z]+) \d+ [0-9a-f]{8} [0-9a-f]{4}$")
_TO_APP = re.compile(r"^printf '%s\\n' (.+?) 1<>/tmp/script-\d+\.in(?:; .*)?$", re.DOTALL)
_APP = re.compile(r"^mkfifo /tmp/script-.*?; \{ (\S+) --script --device (\S+) *(.*?) <&3")
_OWN = re.compile(
    r"(?:read|write) (?:/sys/module/\w+/sections/|/proc/sys/kernel/(?:random/|osrelease))"
    r"|\[ -f |if \[ -f /lib/modules/|kill -9 \d+; wait \d+; rm -f /tmp/script-"
    r"|printf '%s\\n' pid 1<>/tmp/script-"
)
"""What the harness itself asks, whatever the test does."""
_MOST = 30
_WIDTH = 200
_PATHS = 3
_ANSWER = 6
"""Lines of one answer that are told."""


@dataclasses.dataclass
class Step:
    """One request to the guest, and what came back."""

    told: str
    answer: list[str] = dataclasses.field(default_factory=list)
    status: str = ""
    """A command's exit status; empty where none came back."""

    def lines(self) -> list[str]:
        """For a person."""
        shown = [line for line in self.answer if line.strip()]
        more = len(shown) - _ANSWER
        shown = [f"  {line}"[:_WIDTH] for line in shown[:_ANSWER]]
        if more > 0:
            shown.append(f"  … {more} more lines")
        if self.status not in ("", "0"):
            shown.append(f"  exit status {self.status}")
        return [*self.told[: 2 * _WIDTH].splitlines(), *shown]


def steps(transcript: str, console: str = board.LOG) -> list[Step]:
    """What happened in the guest, in its order; the kernel's own words are steps of their own."""
    found: list[Step] = []
    by_request: dict[str, Step] = {}
    current: dict[bool, tuple[str, str]] = {}
    for stream, sent, text in _rows(transcript):
        if stream == console and not sent:
            if by_request and text.strip():
                found.append(Step(f"kernel: {text.strip()}"))
            continue
        if match := _HEADER.match(text):
            current[sent] = (match[1], match[2])
            if sent and match[2] in ("run", "get", "many", "put"):
                by_request[match[1]] = step = Step("")
                found.append(step)
            continue
        request, kind = current.get(sent, ("", ""))
        known = by_request.get(request)
        if known is not None:
            _enter(known, sent, kind, text)
    return [step for step in map(_plain, found) if step is not None]


def _rows(transcript: str) -> Iterator[tuple[str, bool, str]]:
    """Stream, whether it was sent to the guest, and text of each line."""
    for row in transcript.splitlines():
        if match := _ROW.match(row):
            name = match[1].strip()
            yield name.rstrip("<"), name.endswith("<"), match[2]


def _enter(step: Step, sent: bool, kind: str, text: str) -> None:
    if sent:
        words = {"get": "read ", "many": "read ", "put": "write "}.get(kind, "")
        between = "\n" if kind == "run" else ", "
        step.told += f"{between}{text}" if step.told else words + text
    elif kind == "file":
        step.answer.append(f"{text}:")
    elif kind == "data" and step.answer and step.answer[-1].endswith(":"):
        step.answer[-1] += f" {text}"
    elif kind == "exit":
        step.status = step.status or text.partition(" ")[0]
    elif kind in ("out", "err", "data", "fail"):
        step.answer.append(text)


def _plain(step: Step) -> Step | None:
    """A step in plain words; None for what the harness does by itself."""
    told = step.told
    if _OWN.match(told):
        return None
    if match := _APP.match(told):
        told = f"start the application: {match[1]} --script --device {match[2]} {match[3]}".strip()
        step.answer.clear()
    elif match := _TO_APP.match(told):
        told = f"to the application: {match[1]}"
    elif told and not told.startswith(("kernel: ", "read ", "write ")):
        told = f"$ {told}"
    elif told.startswith("read ") and len(paths := told.split(", ")) > _PATHS:
        told = f"{', '.join(paths[:_PATHS])} and {len(paths) - _PATHS} more"
    return dataclasses.replace(step, told=told) if told else None


def lines(found: list[Step]) -> list[str]:
    """The last steps as lines of text."""
    left = len(found) - _MOST
    head = [f"… {left} earlier steps"] if left > 0 else []
    return head + [line for step in found[-_MOST:] for line in step.lines()]
