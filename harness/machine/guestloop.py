# SPDX-License-Identifier: MIT
"""What runs in the guest behind a shared serial line: a shell that obeys whole commands only.

Each line to it is a verb of its own, and a line that was damaged is passed over:

    _w NONCE            takes the machine's nonce, forgets which command was the last -> here
    _c SEQ PLACE TEXT   a piece of a command, quoted for a shell; PLACE counts from 0 on
    _r SEQ MD5          runs the pieces, if the sum of "SEQ PIECES" is right, else -> missing
    _q SEQ              has it been run? -> done or missing
    _a SEQ TURN         the answer once more

An interactive shell that reads a line in place of the loop knows none of the verbs, and does
nothing. Answers are lines that begin with ``@NONCE SEQ``: ``here``, ``missing``, ``done``, numbered
base64 lines of standard output (``o1:``) and error (``e1:``), and
``end TURN STATUS MD5 MD5 STATUS``.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator

PIECE = 600
"""Bytes of one line to the guest; the tty's line editor takes 4095, and ash's editor fewer."""
LINE = 1020
"""Characters of base64 in one line of a file."""

# File descriptor 9 is the terminal, for commands that read it. The loop has no prompt, no editor.
# As many processes for a megabyte as for a line: ash reads a pipe byte by byte.
SCRIPT = r"""
for _d in ${TMPDIR:-/tmp} /run /dev /; do (: >$_d/.h$$.o) 2>/dev/null && break; done
_d=$_d/.h$$
_nl='
'
_l() { [ ! -s $2 ] || base64 <$2 | grep -n "" | sed "s/^/@$_w $_q $1/"; }
_a() {
  _x=$1; _l o $_d.o; _l e $_d.e
  set -- $(md5sum <$_d.o) $(md5sum <$_d.e)
  for _y in 1 2 3; do echo "@$_w $_q end $_x $_s $1 $3 $_s"; done
}
_q=0 _n=0 _t=
exec 2>/dev/null 9<&0
while read -r _v _i _k _p; do
  case $_v in
  _w) _w=$_i _q=0; echo "@$_w 0 here" ;;
  _c)
    [ "$_k" != 0 ] || _t= _n=0
    [ "$_k" != $_n ] || _t=$_t$_p _n=$(($_n + 1)) ;;
  _r)
    if [ "$_i" = $_q ]; then echo "@$_w $_i done"
    elif set -- $(printf %s "$_i $_t" | md5sum); [ "$1" = "$_k" ]; then
      _q=$_i
      eval "_c=$_t"
      eval "$_c" >$_d.o 2>$_d.e </dev/null
      _s=$?
      _a 0
    else echo "@$_w $_i missing"
    fi ;;
  _q) if [ "$_i" = $_q ]; then echo "@$_w $_i done"; else echo "@$_w $_i missing"; fi ;;
  _a) [ "$_i" != $_q ] || _a "$_k" ;;
  esac
done
""".strip()
FOUND = rb"( 0 here|\.shell|\.lacks\.\w+)\r*\n"
SUM = rb"\.sum\.(\w*)\s"
HERE = rb"( 0 here)\r*\n"
"""What comes behind the nonce: of `knock`, of `upload`, of `start`."""
PARTS = 5
"""In how many lines the script goes over."""


def md5(text: str) -> str:
    """As ``md5sum`` prints it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def knock(nonce: str) -> list[str]:
    """Lines for a shell or a loop that may be there. They open no quote and no bracket, as one that
    was not closed on the way would swallow all that follows, and close those that an earlier try
    may have left open. ``$_x`` is empty: the answers are told from the lines' echo.
    """
    lacks = [f"command -v {tool} >/dev/null||echo @{nonce}$_x.lacks.{tool}" for tool in TOOLS]
    return ["", "))", ")", "stty -echo", "PS1=", *lacks, f"echo @{nonce}$_x.shell", f"_w {nonce}"]


TOOLS = ("base64", "md5sum")


def upload(nonce: str) -> list[str]:
    """Lines that bring the script into an interactive shell's variable, and print its sum."""
    text = base64.b64encode(SCRIPT.encode()).decode()
    size = -(-len(text) // PARTS)
    parts = [f"_h{n}={text[n * size : (n + 1) * size]}" for n in range(PARTS)]
    names = "".join(f"$_h{n}" for n in range(PARTS))
    lines = ["IFS=", "set -f", *parts, f"_h=$(echo {names}|base64 -d)"]
    return [*lines, "_m=$(printf %s $_h|md5sum)", f"echo @{nonce}$_x.sum.$_m"]


def start(nonce: str) -> list[str]:
    """Lines that start the loop once its script is known to be whole."""
    return ["sh -c $_h", f"_w {nonce}"]


def command(seq: int, text: str) -> Iterator[str]:
    """The lines of a command."""
    pieces = []
    for number, line in enumerate(text.split("\n")):
        newline = '"$_nl"' if number else ""
        for at in range(0, max(len(line), 1), PIECE):
            pieces.append(("" if at else newline) + shlex.quote(line[at : at + PIECE]))
    for place, piece in enumerate(pieces):
        yield f"_c {seq} {place} {piece}"
    yield f"_r {seq} {md5(f'{seq} ' + ''.join(pieces))}"


def file_lines(data: bytes) -> list[str]:
    """Data as lines that a command reads by `take_lines`, with an end that it cannot miss.

    Two marks: BusyBox's ``sed`` acts upon a line once it has read the next.
    """
    text = base64.b64encode(data).decode()
    return [f"_={text[at : at + LINE]}" for at in range(0, len(text), LINE)] + END_OF_LINES


END_OF_LINES = ["_.", "_."]


def take_lines(data: bytes, where: str) -> str:
    """A command that appends the data to a file (a quoted path), if its sum is right, or fails."""
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return (
        "sed -n -e '/^_\\.$/q' -e 's/^_=//p' <&9 | base64 -d 2>/dev/null >$_d.b\n"
        f"set -- $(md5sum <$_d.b); [ $1 = {found} ] && cat $_d.b >>{where}"
    )
