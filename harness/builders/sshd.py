# SPDX-License-Identifier: MIT
"""The guest's ssh server: Debian's Dropbear for ARM, and exactly the libraries that it loads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from harness.builders import apt
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.process import ToolRunner
from harness.errors import BuildError

SERVER_PACKAGE = "dropbear-bin"
PACKAGES = (
    SERVER_PACKAGE,
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "zlib1g",
)
"""Where the server and its libraries come from. What is in them and not needed stays out; what is
needed and not in them is an error of the build, not of a boot.
"""
SERVER = Path("usr/sbin/dropbear")
LIBRARIES = ("lib/arm-linux-gnueabihf", "usr/lib/arm-linux-gnueabihf")
"""With and without the merged ``/usr``."""


def versions(cache: Cache) -> dict[str, str]:
    """Package -> version that this cache works with. Raises `UserError` where apt lacks one."""
    return {package: apt.required_version(cache, package) for package in PACKAGES}


def server(cache: Cache, packages: Mapping[str, str]) -> tuple[Key, Path]:
    """A directory with ``dropbear`` and ``lib/``, from the distribution's packages.

    Raises `BuildError` where a library is in none of them.
    """
    key = Key("dropbear", dict(packages))

    def build(build_dir: BuildDirectory) -> None:
        runner = ToolRunner(build_dir)
        root = build_dir.tmp / "root"
        for package, version in packages.items():
            deb = apt.fetch(cache, package, version)
            runner.run(["dpkg-deb", "-x", deb, root], f"unpacking {deb.name}")
        shutil.copy(root / SERVER, build_dir.out / "dropbear")
        (build_dir.out / "lib").mkdir()
        for library in libraries(root, root / SERVER):
            # By the name that the loader asks for; the package has it as a link.
            shutil.copy(library, build_dir.out / "lib" / library.name)

    return key, cache.entry(key, build)


def libraries(root: Path, program: Path) -> list[Path]:
    """The files below `root` that `program` needs to be loaded, and what these need in turn.

    Raises `BuildError` for one that is not there.
    """
    found: dict[str, Path] = {}
    asked = [(program, name) for name in _needed(program)]
    while asked:
        by, name = asked.pop()
        if name in found:
            continue
        places = [root / directory / name for directory in LIBRARIES]
        library = next((path for path in places if path.is_file()), None)
        if library is None:
            raise BuildError(
                f"{by.name} needs {name}, which is in none of the packages"
                f" {', '.join(PACKAGES)}: the distribution has changed, add the one that has it"
            )
        found[name] = library
        asked += [(library, more) for more in _needed(library)]
    return [found[name] for name in sorted(found)]


def _needed(path: Path) -> list[str]:
    """The names of the libraries that an ELF file asks the loader for."""
    try:
        with path.open("rb") as file:
            dynamic = ELFFile(file).get_section_by_name(".dynamic")
            if not isinstance(dynamic, DynamicSection):
                return []
            tags = dynamic.iter_tags("DT_NEEDED")
            return [str(tag.needed) for tag in tags]  # type: ignore[attr-defined]
    except (OSError, ELFError) as error:
        raise BuildError(f"cannot read what {path} needs: {error}") from error
