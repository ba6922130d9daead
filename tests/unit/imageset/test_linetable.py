# SPDX-License-Identifier: MIT
"""Line tables of objects that are compiled here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.host.programs import CROSS
from harness.imageset.linetable import (
    LINE_FLAGS,
    LineTable,
    Row,
    read_line_table,
    read_line_tables,
    tree_path,
)

SOURCE = """\
static inline int twice(int x)
{
\treturn x + x;
}

int big(int a)
{
\tif (a > 3)
\t\treturn twice(a);
\treturn 7;
}

int never(void)
{
\treturn 1;
}
"""


def compiled(place: Path, *options: str, source: str = SOURCE) -> Path:
    """An object of ``mm/cma.c``, as an out-of-tree build of a kernel compiles it."""
    (place / "mm").mkdir()
    (place / "obj").mkdir()
    (place / "mm" / "cma.c").write_text(source)
    words = [f"{CROSS}gcc", "-O2", "-marm", "-c", *options, "../mm/cma.c", "-o", "cma.o"]
    subprocess.run(words, cwd=place / "obj", check=True)
    return place / "obj" / "cma.o"


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_each_line_with_code_has_its_instructions(tmp_path: Path, version: str) -> None:
    table = read_line_tables(compiled(tmp_path, version, *LINE_FLAGS), ["mm/cma*.c"])[".text"]
    code = table.code["mm/cma.c"]
    assert {3, 8, 9, 10, 15} <= code
    assert not {5, 12} & code
    assert [name.name for name in table.functions] == ["twice", "big", "never"]
    # An inlined line is its own function's, wherever its instructions are.
    assert table.function_of("mm/cma.c", 3) == "twice"
    assert table.function_of("mm/cma.c", 9) == "big"
    assert table.function_of("mm/cma.c", 15) == "never"
    ((start, end),) = table.ranges()
    assert table.lines(range(start, end, 4)) == table.code
    assert table.lines([end, end + 4]) == {}


DIES = """\
int after(int a)
{
\treturn a + 1;
}

void dies(void)
{
\tasm volatile("udf #0");
\t__builtin_unreachable();
}
"""


@pytest.mark.parametrize("order", ["-fno-toplevel-reorder", "-ftoplevel-reorder"])
def test_the_end_of_a_function_that_never_returns_is_not_the_next_one_s(
    tmp_path: Path, order: str
) -> None:
    halves = DIES.partition("\n\n")
    for number, source in enumerate((DIES, "\n".join([halves[2], halves[0], ""]))):
        place = tmp_path / str(number)
        place.mkdir()
        words = ["-gdwarf-5", order, *LINE_FLAGS]
        table = read_line_tables(compiled(place, *words, source=source), ["mm/cma*.c"])[".text"]
        dead = 1 + source.split("\n").index('\tasm volatile("udf #0");')
        alive = 1 + source.split("\n").index("\treturn a + 1;")
        places = {row.line: row.start for row in table.rows}
        together = table.lines([places[alive]])["mm/cma.c"]
        assert alive in together
        assert not {dead, dead + 1} & together


def test_some_functions_of_a_file(tmp_path: Path) -> None:
    table = read_line_tables(compiled(tmp_path, *LINE_FLAGS), ["mm/cma*.c:never"])[".text"]
    assert [function.name for function in table.functions] == ["never"]
    assert min(table.code["mm/cma.c"]) >= table.functions[0].line == 13
    assert 15 in table.code["mm/cma.c"]


def test_other_files_are_left_out(tmp_path: Path) -> None:
    assert read_line_tables(compiled(tmp_path, *LINE_FLAGS), ["mm/slab.c"]) == {}


def test_a_file_without_debug_information_has_no_lines(tmp_path: Path) -> None:
    assert read_line_tables(compiled(tmp_path), ["mm/cma.c"]) == {}


def test_the_sections_of_a_module_are_kept_apart(tmp_path: Path) -> None:
    """Each begins at address 0 until it is loaded."""
    path = compiled(tmp_path, *LINE_FLAGS)
    (tmp_path / "mm" / "cma.c").write_text(
        '__attribute__((section(".init.text"))) int begin(void)\n{\n\treturn 2;\n}\n' + SOURCE
    )
    words = [f"{CROSS}gcc", "-O2", "-marm", "-c", *LINE_FLAGS, "../mm/cma.c", "-o", "cma.o"]
    subprocess.run(words, cwd=tmp_path / "obj", check=True)
    tables = read_line_tables(path, ["mm/cma*.c"])
    assert sorted(tables) == [".init.text", ".text"]
    assert tables[".init.text"].code["mm/cma.c"] <= {2, 3, 4}
    assert {7, 12, 14} <= tables[".text"].code["mm/cma.c"]
    assert not {2, 3, 4} & tables[".text"].code["mm/cma.c"]
    assert tables[".text"].rows[0].start == tables[".init.text"].rows[0].start == 0


def test_a_module_moves_to_where_it_was_loaded() -> None:
    table = LineTable((Row(0, 8, "cma.c", 3),), ())
    assert table.moved(0x7F000000).lines([0x7F000004]) == {"cma.c": {3}}
    assert table.lines([0x7F000004]) == {}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../mm/cma.c", "mm/cma.c"),
        ("mm/cma.c", "mm/cma.c"),
        ("/home/kernel/linux/mm/cma.c", "mm/cma.c"),
        ("../../include/linux/mm.h", "include/linux/mm.h"),
    ],
)
def test_names_are_those_of_the_tree(name: str, path: str) -> None:
    assert tree_path(name, ["mm/*.c"]) == path


def test_what_is_no_elf_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(UserError, match="no line table"):
        read_line_table(tmp_path / "x", ["mm/cma.c"])
    with pytest.raises(UserError, match="cannot read"):
        read_line_table(tmp_path / "y", ["mm/cma.c"])
