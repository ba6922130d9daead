# SPDX-License-Identifier: MIT
"""Whether a change changes the object, told by the compiler of this host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import BuildError, HarnessError
from harness.mutants.objects import Compiler, object_digest

GCC = "arm-linux-gnueabihf-gcc"
TEXT = b"""\
#include "there.h"
extern int known(const char *file, int line);
int counter = 1;
int f(int a)
{
	return a > THERE ? known(__FILE__, __LINE__) : counter;
}
"""
pytestmark = pytest.mark.skipif(not shutil.which(GCC), reason=f"no {GCC}")


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    """Of ``src/a.c``, which kbuild has made ``obj/src/a.o`` of."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.c").write_bytes(TEXT)
    (tmp_path / "src" / "there.h").write_text("#define THERE 4\n")
    made = tmp_path / "obj" / "src"
    made.mkdir(parents=True)
    (made / ".a.o.cmd").write_text(
        f"savedcmd_src/a.o := {GCC} -Wp,-MMD,src/.a.o.d -O2 -g1 -DNAME='\"a b\"'"
        " -c -o src/a.o ../src/a.c ; ./tools/check src/a.o\n\nsource_src/a.o := ../src/a.c\n"
    )
    (tmp_path / "tmp").mkdir()
    return Compiler(tmp_path / "obj", "src/a.o", tmp_path / "tmp")


def test_only_what_is_loaded_counts(compiler: Compiler) -> None:
    original = compiler.digest(TEXT)
    same = (TEXT.replace(b"a > THERE", b"a >= THERE + 1"), TEXT.replace(b"int a)", b"int  a)"))
    assert {compiler.digest(text) for text in same} == {original}
    assert compiler.digest(TEXT.replace(b"a > THERE", b"a >= THERE")) != original
    assert compiler.digest(TEXT.replace(b"counter = 1", b"counter = 2")) != original
    assert compiler.digest(TEXT.replace(b"known", b"other")) != original


def test_a_file_has_the_name_of_the_original(compiler: Compiler, tmp_path: Path) -> None:
    digest = compiler.digest(TEXT)
    assert b"../src/a.c\0" in (tmp_path / "tmp" / "made.o").read_bytes()
    assert object_digest(tmp_path / "tmp" / "made.o") == digest
    assert not (tmp_path / "obj" / "src" / "a.o").exists()


def test_what_does_not_compile_is_said(compiler: Compiler) -> None:
    with pytest.raises(BuildError, match=r"\.\./src/a\.c:3:\d+: error"):
        compiler.digest(TEXT.replace(b"counter = 1", b"counter = p"))


def test_what_kbuild_has_not_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"kbuild has not made .*mm/gone\.o"):
        Compiler(tmp_path, "mm/gone.o", tmp_path)
