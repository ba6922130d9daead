# SPDX-License-Identifier: MIT
"""Kernel modules: which one is the driver, whatever its file is called, and for which kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from harness.errors import UserError
from harness.imageset.zimage import takes_vermagic

MARKS = ("find_cma_by_name", "CMA_demo", "dma_alloc_from_contiguous")
"""What shows the driver, the surest first: the symbol it takes, and the device node it makes.
BiscuitOS calls it ``cma.ko``, since 2020 ``CMA_area_module-0.0.1.ko``.
"""
NO_WAY = "exports no way to the areas"
"""What our driver logs where it can come to no area (``images/module/cma.c``)."""
NO_WAY_HELP = (
    "exports nothing by which a module comes to a CMA area, and no node of the device tree has one"
    " as its memory-region: give such a tree, or a kernel from 7.1 on, or one with our additions"
)
_INFO = re.compile(rb"(?:^|\0)(\w+)=([^\0]*)")
_INIT = (".rel.gnu.linkonce.this_module", ".rela.gnu.linkonce.this_module")
_SH_SIZE = 20
"""Where a 32-bit section header has the section's size (``Elf32_Shdr``)."""
_T = TypeVar("_T")
_MACHINES = {
    "EM_X86_64": "x86-64",
    "EM_386": "x86",
    "EM_AARCH64": "64-bit ARM",
    "EM_RISCV": "RISC-V",
}


def pick_driver(modules: Iterable[tuple[_T, bytes]]) -> _T | None:
    """Of modules and their contents the one that is the driver; the last of equals."""
    found = list(modules)
    for mark in MARKS:
        serving = [module for module, content in found if mark.encode() + b"\0" in content]
        if serving:
            return serving[-1]
    return None


def module_info(path: Path) -> dict[str, str]:
    """What is in a module's ``.modinfo``. Raises `UserError` for what is no ARM module."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    section = arm_elf(path, content, "kernel module").get_section_by_name(".modinfo")
    info = section.data() if section is not None else b""
    return {key.decode(): value.decode("utf-8", "replace") for key, value in _INFO.findall(info)}


def module_vermagic(path: Path) -> str:
    """The version that a module was built for. Raises `UserError` for what is no ARM module."""
    magic = module_info(path).get("vermagic")
    if magic is None:
        raise UserError(f"{path} is no kernel module: it has no vermagic")
    return magic


def check_module(path: Path, release: str, kernel: Path) -> None:
    """Raises `UserError` where the module was built for another kernel than this, by its release
    or by what it was built with.
    """
    magic = module_vermagic(path)
    if release and magic.split()[0] != release:
        raise UserError(
            f"{path} was built for Linux {magic.split()[0]}, the kernel is {release}:"
            " build the module against this kernel"
        )
    if not takes_vermagic(kernel, magic):
        raise UserError(
            f"{path} was built for a Linux {release} that was configured as `{magic.strip()}`, and"
            f" {kernel} was not: build the module against this kernel"
        )


def without_init(path: Path, content: bytes) -> bytes:
    """The module in `content` with neither a start nor an end of its own: a kernel loads it and
    unloads it, with the same sections and symbols, and runs nothing of it.

    Both are relocations of ``__this_module`` (Linux ``scripts/mod/modpost.c``), which is all that
    refers to them. Raises `UserError` where there are none; `path` is for the message.
    """
    elf = arm_elf(path, content, "kernel module")
    for number, section in enumerate(elf.iter_sections()):
        if section.name in _INIT:
            header = elf["e_shoff"] + number * elf["e_shentsize"]
            size = header + _SH_SIZE
            return content[:size] + bytes(4) + content[size + 4 :]
    raise UserError(f"{path} is no kernel module: it has no relocations of __this_module")


def arm_elf(path: Path, content: bytes, what: str) -> ELFFile:
    """A file as ELF. Raises `UserError` where it is none, or none for ARM."""
    try:
        elf = ELFFile(BytesIO(content))
    except ELFError as error:
        raise UserError(f"{path} is no {what}: not an ELF file ({error})") from error
    if elf["e_machine"] != "EM_ARM":
        machine = _MACHINES.get(elf["e_machine"], elf["e_machine"])
        raise UserError(
            f"{path} is built for {machine}, not for 32-bit ARM: build it with ARCH=arm"
            " CROSS_COMPILE=arm-linux-gnueabihf-"
        )
    return elf
