# SPDX-License-Identifier: MIT
"""Compiles device trees against a kernel tree's own ``.dts`` and ``.dtsi`` files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.errors import BuildError, UserError
from harness.host import programs, project
from harness.host.process import capture

NAME = "vexpress-v2p-ca9-cma.dts"


def include_path(kernel_tree: Path) -> list[Path]:
    """Where the kernel keeps device trees for the board: in ``arm/`` since 6.5."""
    dts = kernel_tree / "arch" / "arm" / "boot" / "dts"
    found = [path for path in (dts / "arm", dts) if (path / "vexpress-v2p-ca9.dts").exists()]
    if not found:
        raise UserError(f"{kernel_tree} has no vexpress-v2p-ca9.dts under arch/arm/boot/dts")
    return [*found, kernel_tree / "include"]


def _step(command: list[str], data: bytes, what: str) -> bytes:
    status, output, errors = capture(command, data=data)
    if status != 0:
        lines = errors.splitlines()
        first = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
        raise BuildError(f"{what} failed\n{(first or lines or ['no message'])[0]}")
    return output


def compile_dts(
    text: str,
    kernel_tree: Path,
    own: Path = project.IMAGES / "dts",
    step: Callable[[list[str], bytes, str], bytes] = _step,
) -> bytes:
    """Device tree source (with ``#include``) to a flattened device tree.

    Included files are looked for in `own`, then in the kernel tree. `step` runs a program on data.
    Raises `BuildError` with the first error, which names the file and line.
    """
    programs.require(f"{programs.CROSS}gcc", "dtc")
    directories = [own, *include_path(kernel_tree)]
    preprocess = [f"{programs.CROSS}gcc", "-E", "-nostdinc", "-undef", "-D__DTS__"]
    preprocess += [f"-I{directory}" for directory in directories]
    preprocess += ["-x", "assembler-with-cpp", "-"]
    expanded = step(
        preprocess, text.encode(errors="surrogateescape"), "preprocessing the device tree"
    )
    includes = [word for directory in directories for word in ("-i", str(directory))]
    # The kernel's own makefile disables these warnings of dtc for its board files too.
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-b", "0", *includes, "-"]
    return step(command, expanded, "compiling the device tree")
