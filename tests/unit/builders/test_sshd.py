# SPDX-License-Identifier: MIT
"""The ssh server's libraries: exactly those that it loads, and a word where one is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.builders import sshd
from harness.errors import BuildError

GCC = "arm-linux-gnueabihf-gcc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What unpacked packages look like: program -> libone -> libtwo, and a library too many."""
    place = tmp_path / sshd.LIBRARIES[1]
    place.mkdir(parents=True)

    def link(name: str, *needs: str) -> None:
        source = tmp_path / "empty.c"
        source.write_text("")
        options = ["-shared", "-nostdlib", f"-Wl,-soname,{name}", "-Wl,--no-as-needed"]
        subprocess.run(
            [GCC, *options, "-o", f"{place}/{name}.0", str(source), f"-L{place}"]
            + [f"-l:{need}" for need in needs],
            check=True,
        )
        (place / name).symlink_to(f"{name}.0")

    link("libtwo.so.1")
    link("libone.so.1", "libtwo.so.1")
    link("libmore.so.1")
    link("program", "libone.so.1")
    return tmp_path


def test_what_is_needed_is_found_through_libraries(root: Path) -> None:
    program = root / sshd.LIBRARIES[1] / "program"
    found = [path.name for path in sshd.libraries(root, program)]
    assert found == ["libone.so.1", "libtwo.so.1"]


def test_a_library_that_is_in_no_package_is_named(root: Path) -> None:
    program = root / sshd.LIBRARIES[1] / "program"
    (root / sshd.LIBRARIES[1] / "libtwo.so.1").unlink()
    with pytest.raises(BuildError, match=r"libone\.so\.1 needs libtwo\.so\.1.*dropbear-bin"):
        sshd.libraries(root, program)


def test_what_is_no_program_is_told(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("no program")
    with pytest.raises(BuildError, match=r"cannot read what .*program needs"):
        sshd.libraries(tmp_path, tmp_path / "program")
