# SPDX-License-Identifier: MIT
"""What differs between two builds of an object that is compiled here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.host.programs import CROSS
from harness.imageset.objects import CodeChange, compare
from harness.imageset.symtab import functions_of

SOURCE = """\
int printf(const char *, ...);
static int table[4] = { 1, 2, 3, 4 };
static int counts[8];

__attribute__((noinline)) static int helper(int x)
{
\treturn table[x & 3] * FACTOR;
}

static inline int small(int x)
{
\treturn x + SUM;
}

int first(int a)
{
\tprintf("first %d\\n", a);
\treturn helper(a) + EXTRA;
}

int second(int a)
{
\tcounts[a & 7]++;
\tprintf("second %d\\n", a);
\tif (a > 3)
\t\treturn helper(a) + small(a);
\treturn a;
}

int (*const handlers[])(int) = { first, second };
"""
BASE = {"FACTOR": "3", "SUM": "5", "EXTRA": "0"}


def compiled(place: Path, source: str = SOURCE, *options: str, **values: str) -> Path:
    place.mkdir()
    (place / "cma.c").write_text(source)
    given = [f"-D{name}={value}" for name, value in {**BASE, **values}.items()]
    words = [f"{CROSS}gcc", "-O2", "-marm", "-fno-pic", "-c", *given, *options, "cma.c"]
    subprocess.run(words, cwd=place, check=True)
    return place / "cma.o"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("objects") / "base")


@pytest.mark.parametrize(
    ("values", "functions"),
    [
        ({}, set()),
        ({"FACTOR": "77"}, {"cma.c:helper"}),
        ({"SUM": "9"}, {"second"}),
        # It grows, and all behind it moves.
        ({"EXTRA": "a * a / 7 + printf(0) * 13"}, {"first"}),
    ],
)
def test_only_the_functions_whose_code_differs_are_told(
    tmp_path: Path, base: Path, values: dict[str, str], functions: set[str]
) -> None:
    found = compare(base, compiled(tmp_path / "x", **values))
    assert found.functions == functions
    assert not found.data
    assert found.nothing == (not functions)
    assert {"first", "second", "cma.c:helper"} <= found.every


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("first %d", "other %d", CodeChange(frozenset({"first"}))),
        ("3, 4 }", "3, 5 }", CodeChange(data=frozenset({"cma.c:table"}))),
        ("{ first, second }", "{ second, first }", CodeChange(data=frozenset({"handlers"}))),
        ("a > 3", "a > 4", CodeChange(frozenset({"second"}))),
        ("int first", "\n\n/* moved down */\nint first", CodeChange()),
    ],
)
def test_strings_data_and_lines(
    tmp_path: Path, base: Path, old: str, new: str, expected: CodeChange
) -> None:
    found = compare(base, compiled(tmp_path / "x", SOURCE.replace(old, new)))
    assert (found.functions, found.data) == (expected.functions, expected.data)


def test_where_it_was_built_is_no_difference(tmp_path: Path) -> None:
    """A driver is built in another directory than the one it is compared with."""
    source = SOURCE.replace('"first %d\\n", a', "PLACE")
    one = compiled(tmp_path / "a", source, '-DPLACE="/here/cma.c"')
    two = compiled(tmp_path / "b", source, '-DPLACE="/elsewhere/images/cma.c"')
    other = compiled(tmp_path / "c", source, '-DPLACE="/here/other.c"')
    assert compare(one, two).nothing
    assert compare(one, other).functions == {"first"}


def test_debug_information_is_no_difference(tmp_path: Path, base: Path) -> None:
    assert compare(base, compiled(tmp_path / "x", SOURCE, "-g1")).nothing


def test_functions_that_only_one_has_differ(tmp_path: Path, base: Path) -> None:
    source = SOURCE.replace("int second", "int third(int a)\n{\n\treturn a * 11;\n}\n\nint second")
    assert compare(base, compiled(tmp_path / "x", source)).functions == {"third"}


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + b"\xff" * 200])
def test_what_is_no_object_is_told(tmp_path: Path, base: Path, content: bytes) -> None:
    bad = tmp_path / "bad.o"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match="no object file"):
        compare(base, bad)
    assert functions_of(bad) == {}


def test_addresses_have_their_functions(base: Path) -> None:
    text = functions_of(base)[".text"].moved(0x7F000000)
    assert set(text.names) == {"first", "second", "cma.c:helper"}
    start = text.starts[1]
    assert text.at([start, start + 4, text.ends[-1], 0]) == {text.names[1]}
    assert text.at([start - 4]) == {text.names[0]}
