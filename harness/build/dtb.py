# SPDX-License-Identifier: MIT
"""Compiles device trees against a kernel tree's own ``.dts`` and ``.dtsi`` files."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from harness.build import tools
from harness.build.process import capture
from harness.errors import BuildError, UserError

NAME = "vexpress-v2p-ca9-cma.dts"


def include_path(kernel_tree: Path) -> list[Path]:
    """Where the kernel keeps device trees for the board: in ``arm/`` since 6.5."""
    dts = kernel_tree / "arch" / "arm" / "boot" / "dts"
    found = [path for path in (dts / "arm", dts) if (path / "vexpress-v2p-ca9.dts").exists()]
    if not found:
        raise UserError(f"{kernel_tree} has no vexpress-v2p-ca9.dts under arch/arm/boot/dts")
    return [*found, kernel_tree / "include"]


def compile_dts(text: str, kernel_tree: Path, own: Path = tools.IMAGES / "dts") -> bytes:
    """Device tree source (with ``#include``) to a flattened device tree.

    Included files are looked for in `own`, then in the kernel tree. Raises `BuildError` with the
    first error, which names the file and line.
    """
    tools.require(f"{tools.CROSS}gcc", "dtc")
    directories = [own, *include_path(kernel_tree)]
    with tempfile.TemporaryDirectory(prefix="harness-dts-") as name:
        source = Path(name, "board.dts")
        expanded = Path(name, "board.i")
        binary = Path(name, "board.dtb")
        source.write_text(text)
        preprocess = [f"{tools.CROSS}gcc", "-E", "-nostdinc", "-undef", "-D__DTS__"]
        preprocess += [f"-I{directory}" for directory in directories]
        preprocess += ["-x", "assembler-with-cpp", "-o", str(expanded), str(source)]
        _step(preprocess, "preprocessing the device tree")
        includes = [word for directory in directories for word in ("-i", str(directory))]
        # The kernel's own makefile silences dtc's opinions on its board files too.
        quiet = ["-W", "no-unit_address_vs_reg", "-W", "no-simple_bus_reg", "-q"]
        command = ["dtc", "-I", "dts", "-O", "dtb", "-b", "0", *quiet, *includes]
        _step([*command, "-o", str(binary), str(expanded)], "compiling the device tree")
        return binary.read_bytes()


def _step(command: list[str], what: str) -> None:
    status, output, errors = capture(command)
    if status != 0:
        lines = (output + errors).splitlines()
        first = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
        raise BuildError(f"{what} failed\n{(first or lines or ['no message'])[0]}")
