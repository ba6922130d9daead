# SPDX-License-Identifier: MIT
"""Takes off what the programs that write logs down put before each line of the kernel's.

The forms are those of dmesg(1) with its options, of journalctl(1) with its ``--output``, of syslog
files (RFC 3164, RFC 5424, BusyBox), of ``/dev/kmsg``, of terminal programs and CI systems that
stamp lines with the time of the host, of LAVA, of mails that quote or indent a log, and the
harness's own ``transcript.txt``.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable

from harness import board
from harness.errors import UserError
from harness.machine.kernelwords import STAMP
from harness.machine.transcript import readable

_NO_TIME = "[    0.000000] "
_FACILITIES = 8
"""``LOG_FAC`` begins above the three bits of the level."""
_FOREIGN = (
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
)
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_MOST_CONTROLS = 0.05
"""Share of bytes that no text has, from which on a file is none."""
_CONTROLS = bytes(set(range(32)) - set(b"\0\a\b\t\n\f\r\x1b")) + b"\x7f"

_TIME = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_DATE = (
    rf"(?:[A-Z][a-z]{{2}} [ \d]\d {_TIME}|\d{{4}}-\d\d-\d\d[T ]\S+|\d{{9,11}}\.\d{{6}}"
    rf"|\S{{2,4}} \d{{4}}-\d\d-\d\d {_TIME} [A-Z]\S*)"
)
_SYSLOG = re.compile(rf"(?:<(\d+)>)?{_DATE} (?:\S+ )?(?:(?:\w+\.\w+) )?([\w./@+-]+)(?:\[\d+\])?: ")
_RFC5424 = re.compile(r"<(\d+)>1 \S+ \S+ (\S+) \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?")
_MONOTONIC = re.compile(r"(\[ *\d+\.\d{6}\]) [\w.-]+ ([\w./@+-]+)(?:\[\d+\])?: ")
_TRANSCRIPT = re.compile(r"\[ *\d+\.\d{6}\] (ttyAMA\d|qemu)(<?) +")
_KMSG = re.compile(r"(\d+),\d+,(\d+),[^;]*;")
_FACILITY = re.compile(
    r"(kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d|res\d) *:"
    r"(?:emerg|alert|crit|err|warn|notice|info|debug) *: "
)
_LEVEL = re.compile(r"<(\d{1,3})>")
_LAVA = re.compile(r'- (\{"dt": .*\})')
_DMESG_TIME = re.compile(
    rf"\[\S+ \S+ +\d+ {_TIME} \d{{4}}\] |\[[^\W\d]+ ?\d+ \d\d:\d\d\] |\[ *[+-]\d+\.\d{{6}}\] "
    r"|\d{4}-\d\d-\d\dT[\d:]+,\d{6}\S* "
)
"""Of ``dmesg`` with ``-T``, ``-e`` and ``--time-format iso``: only lines of the kernel have it."""
_DELTA = re.compile(r"(\[ *\d+\.\d{6}) <[ \d.]+>\] ")
"""``dmesg -d``."""
_HOST_TIME = re.compile(
    rf"\d{{4}}-\d\d-\d\dT\S+ |\[?\d{{4}}-\d\d-\d\d {_TIME}\S*\]?:? |\[?{_TIME}\]?:? "
    rf"|[A-Z][a-z]{{2}} [ \d]\d {_TIME} |\[ *\d+\.\d+ \d+\.\d+\] "
)
"""Of a terminal program, a CI system, ``ts`` or grabserial: programs' lines have it too."""
_QUOTED = re.compile(r"(?:[>|] ?)+[ \t]*|[ \t]+|\d+[:|][ \t]*")
"""Of mails, of indented text and of ``grep -n``."""


def log_lines(data: bytes, source: str) -> list[str]:
    """The lines of a file, fit to be shown. Raises `UserError` for what is no text."""
    for magic, what, tool in _FOREIGN:
        if data.startswith(magic):
            raise UserError(
                f"{source} is compressed ({what}): `{tool} {source} | harness parse-log -`"
            )
    if (encoding := _UTF16.get(data[:2])) is not None:
        data = data[2:].decode(encoding, "replace").encode()
    sample = data[:65536].translate(None, b"\0")
    if len(sample) - len(sample.translate(None, _CONTROLS)) > _MOST_CONTROLS * len(sample):
        raise UserError(f"{source} is no text: expected the log of a kernel")
    if b"\n" not in data.rstrip(b"\r\n"):
        data = data.replace(b"\r", b"\n")
    data = re.sub(rb"\n\r+(?!\n)", b"\n", data).lstrip(b"\r").removeprefix(b"\xef\xbb\xbf")
    lines = readable(data).split("\n")
    if not any(line.strip() for line in lines):
        raise UserError(f"{source} is empty: expected the log of a kernel")
    return lines


def kernel_lines(lines: list[str]) -> list[str]:
    """Each line as the console has it, empty where it is surely not the kernel's; one for each."""
    if _most(lines, _LAVA):
        lines = [_of_lava(line) for line in lines]
    if _most(lines, _TRANSCRIPT):
        return [_of_transcript(line) for line in lines]
    lines = _unquoted(lines)
    for form, strip in _TAGGED:
        tagged = any(match[2] == "kernel" for match in map(form.match, lines) if match)
        if tagged and _most(lines, form):
            return list(map(strip, lines))
    if _most(lines, _FACILITY):
        lines = [_of_facility(line) for line in lines]
    elif _most(lines, _KMSG):
        lines = [_of_kmsg(line) for line in lines]
    elif _most(lines, _LEVEL):
        lines = [_of_level(line) for line in lines]
    if _most(lines, _DELTA):
        return [_DELTA.sub(r"\1] ", line, count=1) for line in lines]
    if _most(lines, _DMESG_TIME):
        return list(map(_of_dmesg, lines))
    if _most(lines, _HOST_TIME):
        return list(map(_of_host, lines))
    return lines


def _most(lines: Iterable[str], form: re.Pattern[str]) -> bool:
    """Whether more than half of the lines that are not empty begin so."""
    matches = [form.match(line) is not None for line in lines if line.strip()]
    return sum(matches) * 2 > len(matches)


def _unquoted(lines: list[str]) -> list[str]:
    """Without a quotation's marks, where they stand before most of the stamped lines."""
    found = [(_QUOTED.match(line), line) for line in lines]
    quoted = sum(STAMP.match(line, match.end()) is not None for match, line in found if match)
    if quoted <= sum(STAMP.match(line) is not None for line in lines):
        return lines
    return [line[match.end() :] if match else line for match, line in found]


def _stamped(text: str) -> str:
    """With a stamp: what wrote the file has said that the line is the kernel's."""
    return text if STAMP.match(text) else _NO_TIME + text


def _of_transcript(line: str) -> str:
    match = _TRANSCRIPT.match(line)
    ours = match is not None and match[1] == board.LOG and not match[2]
    return line[match.end() :] if match and ours else ""


def _of_rfc5424(line: str) -> str:
    match = _RFC5424.match(line)
    return _stamped(line[match.end() :]) if match and match[2] == "kernel" else ""


def _of_syslog(line: str) -> str:
    match = _SYSLOG.match(line)
    return _stamped(line[match.end() :]) if match and match[2] == "kernel" else ""


def _of_journal(line: str) -> str:
    match = _MONOTONIC.match(line)
    return f"{match[1]} {line[match.end() :]}" if match and match[2] == "kernel" else ""


_TAGGED: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (_RFC5424, _of_rfc5424),
    (_SYSLOG, _of_syslog),
    (_MONOTONIC, _of_journal),
)


def _of_dmesg(line: str) -> str:
    match = _DMESG_TIME.match(line)
    return _stamped(line[match.end() :]) if match else line


def _of_host(line: str) -> str:
    match = _HOST_TIME.match(line)
    return line[match.end() :] if match else line


def _of_facility(line: str) -> str:
    match = _FACILITY.match(line)
    if match is None or match[1] != "kern":
        return ""
    text = line[match.end() :]
    dated = STAMP.match(text) or _DELTA.match(text) or _DMESG_TIME.match(text)
    return text if dated else _NO_TIME + text


def _of_kmsg(line: str) -> str:
    match = _KMSG.match(line)
    if match is None or int(match[1]) >= _FACILITIES:
        return ""
    return f"[{int(match[2]) / 1e6:12.6f}] {line[match.end() :]}"


def _of_level(line: str) -> str:
    match = _LEVEL.match(line)
    if match is None:
        return line
    return _stamped(line[match.end() :]) if int(match[1]) < _FACILITIES else ""


def _of_lava(line: str) -> str:
    """A line of the machine's in LAVA's ``output.yaml``."""
    match = _LAVA.match(line)
    with contextlib.suppress(ValueError, TypeError, LookupError):
        said = json.loads(match[1]) if match else {}
        if said["lvl"] in ("target", "feedback"):
            return str(said["msg"]).rstrip()
    return ""
