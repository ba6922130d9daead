# SPDX-License-Identifier: MIT
"""Programs of the guest: our own, cross compiled and static, and the distribution's BusyBox."""

from __future__ import annotations

from pathlib import Path

from harness.builders import apt
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.kernel import file_digest
from harness.builders.process import ToolRunner
from harness.errors import UserError
from harness.host import programs
from harness.host.progress import Progress

BUSYBOX_PACKAGE = "busybox-static"
FLAGS = ("-static", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-s", "-Wl,--build-id")


def program_key(name: str, directory: Path) -> Key:
    """Key of one program of ours."""
    inputs = {path.name: file_digest(path) for path in sorted(directory.glob("*.[ch]"))}
    return Key(name, {**inputs, "toolchain": programs.toolchain(), "flags": " ".join(FLAGS)})


def build_program(cache: Cache, name: str, directory: Path, progress: Progress) -> tuple[Key, Path]:
    """A program from all C files of `directory`. Raises `BuildError` with the compiler's first
    error.
    """
    key = program_key(name, directory)

    def build(build_dir: BuildDirectory) -> None:
        progress.say(f"building {name}: {cache.why(key)}")
        compile_program(ToolRunner(build_dir), name, directory)

    return key, cache.entry(key, build) / name


def compile_program(runner: ToolRunner, name: str, directory: Path) -> Path:
    """Compiles all C files of `directory` into a program in the runner's build_dir."""
    program = runner.build_dir.out / name
    sources = sorted(path.name for path in directory.glob("*.c"))
    argv = [f"{programs.CROSS}gcc", *FLAGS, "-o", str(program), *sources]
    # In the sources' own directory, so that messages and nothing else depend on where it is.
    runner.run(argv, f"building {name}", cwd=directory)
    return program


def busybox_version(cache: Cache) -> str:
    """The version of BusyBox that this cache works with. Raises `UserError` where apt has none."""
    return apt.required_version(cache, BUSYBOX_PACKAGE)


def busybox(cache: Cache, version: str) -> tuple[Key, Path]:
    """BusyBox for ARM, static, from the distribution's package."""
    key = Key("busybox", {"package": BUSYBOX_PACKAGE, "version": version})

    def build(build_dir: BuildDirectory) -> None:
        deb = apt.fetch(cache, BUSYBOX_PACKAGE, version)
        runner = ToolRunner(build_dir)
        runner.run(["dpkg-deb", "-x", deb, build_dir.tmp / "root"], f"unpacking {deb.name}")
        # /bin, or /usr/bin where the distribution has merged them.
        found = [build_dir.tmp / "root" / name for name in ("bin/busybox", "usr/bin/busybox")]
        source = next((path for path in found if path.is_file()), None)
        if source is None:
            raise UserError(f"{deb} has no busybox in it")
        source.rename(build_dir.out / "busybox")

    return key, cache.entry(key, build) / "busybox"
