# SPDX-License-Identifier: MIT
"""The driver without its start and its end."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.errors import UserError
from harness.host.programs import CROSS
from harness.imageset.module import without_init

THIS_MODULE = '.section .gnu.linkonce.this_module,"aw"\n.word init_module, 0, cleanup_module\n'


def assembled(place: Path, text: str) -> Path:
    source = place / "it.s"
    source.write_text(text)
    subprocess.run([f"{CROSS}as", "-o", place / "it.ko", source], check=True)
    return place / "it.ko"


def relocations(content: bytes) -> dict[str, int]:
    sections = ELFFile(BytesIO(content)).iter_sections("SHT_REL")
    return {section.name: section["sh_size"] // section["sh_entsize"] for section in sections}


def test_nothing_refers_to_the_start_and_the_end_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    path = assembled(tmp_path, f".text\n.word elsewhere\n{THIS_MODULE}")
    before = path.read_bytes()
    after = without_init(path, before)
    assert relocations(before) == {".rel.text": 1, ".rel.gnu.linkonce.this_module": 2}
    assert relocations(after) == {".rel.text": 1, ".rel.gnu.linkonce.this_module": 0}
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    path = assembled(tmp_path, ".text\n.word elsewhere\n")
    with pytest.raises(UserError, match="no relocations of __this_module"):
        without_init(path, path.read_bytes())
