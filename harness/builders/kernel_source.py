# SPDX-License-Identifier: MIT
"""Kernel sources: a package of the distribution, or a tree of the user's (never written)."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import fnmatch
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from harness.builders import apt
from harness.builders.cache import Cache
from harness.builders.process import ToolRunner
from harness.errors import BuildError, UserError
from harness.host import project
from harness.host.git import RUNS_NOTHING
from harness.host.process import capture

DEFAULT = "6.1"
NEWEST = "newest"
"""In place of a version: the newest that apt has."""
OLDEST = (5, 0)
VARIANTS = project.IMAGES / "kernel" / "variants"
"""A fragment of options for each variant of the kernel that checks itself."""
USR_SRC = Path("/usr/src")
_BUILT = ("*.o", "*.ko", "*.a", "*.mod", "*.mod.c", ".*.cmd", ".tmp_*", "vmlinux", "*.order")
"""What a build leaves beside the sources (Linux's ``.gitignore``); the rest of it is small."""
_IS_BUILT = re.compile("|".join(map(fnmatch.translate, _BUILT)))
_SCRIPT = ("bash", "-o", "pipefail", "-c")
_UNPACK = ("tar", "-x", "--strip-components=1", "-C")


@dataclasses.dataclass(frozen=True)
class KernelSource:
    """Where a kernel comes from."""

    label: str
    """``6.1``, or the name of the user's directory: for messages and file names."""
    identity: str
    """Changes whenever the content does."""
    unpack: Callable[[ToolRunner, Path], None]
    """Lays the tree into an empty directory."""
    version: str = ""
    """What was asked for by its number, such as ``6.1``; empty where nothing was."""
    repository: Path | None = None
    """The git tree that it comes from."""
    variant: Path | None = None
    """Options of the kernel that are laid on ours (``images/kernel/variants``)."""

    def check(self, found: str) -> None:
        """Raises `BuildError` where `found`, a kernel's own version, is not what was asked for.

        Only version and patch level count: Ubuntu's ``linux-source-6.8.0`` holds 6.8.12.
        """
        wanted = ".".join(self.version.split(".")[:2])
        if wanted and not re.match(rf"{re.escape(wanted)}(?!\d)", found):
            raise BuildError(f"asked for Linux {self.version}, {self.identity} is Linux {found}")


def variants() -> list[str]:
    """The names of all variants."""
    return sorted(path.stem for path in VARIANTS.glob("*.config"))


def variant_fragment(name: str) -> Path:
    """The options of a variant. Raises `UserError` where there is no such variant."""
    if name not in variants():
        near = difflib.get_close_matches(name, variants(), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(variants())}"
        raise UserError(f"--variant {name}: there is no such variant of the kernel; {hint}")
    return VARIANTS / f"{name}.config"


def with_variant(source: KernelSource, name: str) -> KernelSource:
    """The source, to be built as the variant `name`; empty: as it is.

    Raises `UserError` where there is no such variant.
    """
    if not name:
        return source
    fragment = variant_fragment(name)
    return dataclasses.replace(source, label=f"{source.label}-{name}", variant=fragment)


def is_version(text: str) -> bool:
    """Whether `text` can name a kernel of apt's: ``6.1``, ``newest``."""
    return text == NEWEST or re.fullmatch(r"\d+\.\d+(\.\d+)?", text) is not None


def resolve(kernel: str | Path | KernelSource | None, cache: Cache) -> KernelSource:
    """The source for a version (``6.1``, ``newest``), a directory, or None: the default; or what it
    is already.

    Raises `UserError` for a version that apt does not have and for what is no kernel tree.
    """
    if isinstance(kernel, KernelSource):
        return kernel
    if isinstance(kernel, Path):
        return _from_directory(kernel, cache)
    if kernel is not None and not is_version(kernel):
        raise UserError(f"kernel version {kernel!r}: expected one like {DEFAULT}, or {NEWEST}")
    version = _newest(cache) if kernel == NEWEST else kernel or DEFAULT
    found = _from_package(version, cache)
    if found is None and cache.offline:
        raise UserError(f"it is not known yet which linux-source-{version} apt has")
    if found is None:
        client = apt.PrivateApt(cache, arm=False)
        others = _versions(client.names("linux-source-"))
        if f"{version}.0" in others:  # Ubuntu's names have three numbers: linux-source-6.8.0
            found = _from_package(f"{version}.0", cache, client)
        # What runs by default must run on a distribution with other kernels too; what was asked
        # for by its number is not replaced.
        if found is None and kernel is None and others:
            # The next one: the nearest to what is tried most.
            later = [name for name in others if _number(name) > _number(version)]
            nearest = later[0] if later else others[-1]
            cache.say(f"apt has no linux-source-{version} here: taking linux-source-{nearest}")
            found = _from_package(nearest, cache, client)
        if found is None:
            known = f"it has {', '.join(others)}" if others else "nor any other kernel source"
            raise UserError(
                f"apt has no linux-source-{version} ({known}); "
                "give a kernel tree with --kernel-source DIR"
            )
    return found


def _newest(cache: Cache) -> str:
    """The newest version that apt has; offline, the newest that was asked for before.

    Raises `UserError` where there is none.
    """
    if cache.offline:
        names = list(apt.pinned(cache))
    else:
        names = apt.PrivateApt(cache, arm=False).names("linux-source-")
    versions = _versions(names)
    if not versions:
        raise UserError("apt has no kernel source; give a kernel tree with --kernel-source DIR")
    return versions[-1]


def at_commit(directory: Path, commit: str, prefix: str = "") -> KernelSource:
    """The tree of one commit (its full id) of a git repository, which is only read; `prefix` is
    where in it the kernel is, with a slash at its end.
    """
    name = re.sub(r"[^\w.+-]", "_", directory.absolute().name) or "tree"

    def unpack(tools: ToolRunner, tree: Path) -> None:
        # A partial clone's missing objects would be fetched into it.
        nothing = "GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1"
        script = nothing + ' git -c safe.directory=* -C "$1" archive "$2" | tar -x -C "$3"'
        content = f"{commit}:{prefix}" if prefix else commit
        argv = [*_SCRIPT, script, "unpack", str(directory), content, str(tree)]
        tools.run(argv, f"unpacking {commit[:12]} of {directory}")

    return KernelSource(f"{name}-{commit[:12]}", f"commit {commit}", unpack, "", directory)


def _versions(names: list[str]) -> list[str]:
    found = (re.fullmatch(r"linux-source-(\d+\.\d+(?:\.\d+)?)", name) for name in names)
    versions = [match[1] for match in found if match]
    usable = [version for version in versions if _number(version) >= OLDEST]
    return sorted(usable, key=_number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _from_package(
    version: str, cache: Cache, client: apt.PrivateApt | None = None
) -> KernelSource | None:
    package = f"linux-source-{version}"
    # Installed: the machine's own choice, and nothing to download.
    tarball = next(iter(sorted(USR_SRC.glob(f"{package}.tar.*"))), None)
    installed = _installed_version(package) if tarball else None
    if tarball is not None and installed is not None:

        def unpack_installed(tools: ToolRunner, tree: Path) -> None:
            argv = [*_UNPACK, str(tree), "-f", str(tarball)]
            tools.run(argv, f"unpacking {tarball}")

        return KernelSource(version, f"{package} {installed}", unpack_installed, version)
    client = client or apt.PrivateApt(cache, arm=False)
    pinned = apt.pinned_version(cache, package, client)
    if pinned is None:
        return None

    def unpack_package(tools: ToolRunner, tree: Path) -> None:
        deb = apt.fetch(cache, package, pinned, client)
        script = (
            'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/*.tar.*" > "$2" '
            '&& tar -xf "$2" --strip-components=1 -C "$3" && rm "$2"'
        )
        # GNU tar tells the compression from the name where it can seek.
        member = tools.build_dir.tmp / "linux.tar"
        argv = [*_SCRIPT, script, "unpack", str(deb), str(member), str(tree)]
        tools.run(argv, f"unpacking {package} {pinned}")

    return KernelSource(version, f"{package} {pinned}", unpack_package, version)


def _installed_version(package: str) -> str | None:
    """Version of an installed package, from dpkg's own file: no process on the warm path."""
    with contextlib.suppress(OSError):
        status = Path("/var/lib/dpkg/status").read_text(errors="replace")
        match = re.search(
            rf"(?m)^Package: {re.escape(package)}\nStatus: install ok installed\n"
            r"(?:(?!\n\n)[\s\S])*?^Version: (\S+)",
            status,
        )
        return match[1] if match else None
    return None


def _from_directory(path: Path, cache: Cache) -> KernelSource:
    path = path.absolute()
    version = tree_version(path)
    if version < OLDEST:
        raise UserError(f"{path} is Linux {version[0]}.{version[1]}; 5.0 is the oldest that works")
    label = re.sub(r"[^\w.+-]", "_", path.name) or "tree"
    if _is_tracked(path):
        files, identity, dirty = _git_state(path)
        if dirty:
            cache.say(f"{path} has uncommitted changes ({dirty} files): they are built too")

        def unpack_git(tools: ToolRunner, tree: Path) -> None:
            names = tools.build_dir.tmp / "files"
            names.write_bytes(b"\0".join(os.fsencode(name) for name in files))
            script = 'tar -C "$1" --null -T "$2" -cf - | tar -C "$3" -xf -'
            argv = [*_SCRIPT, script, "copy", str(path), str(names), str(tree)]
            tools.run(argv, f"copying {path}")

        return KernelSource(label, identity, unpack_git, "", path)

    outputs = _build_directories(path)
    if (path / "obj").is_dir() and path / "obj" not in outputs:
        raise UserError(f"{path}/obj is in the way: the build makes a directory of that name")

    def unpack_plain(tools: ToolRunner, tree: Path) -> None:
        # What an earlier build left may be gigabytes, and a tree that was built in cannot be built
        # out of.
        left_out = [f"--exclude={pattern}" for pattern in (*_BUILT, "./.git")]
        left_out += [f"--exclude=./{place.relative_to(path)}" for place in outputs]
        script = 'from="$1" to="$2"; shift 2; tar -C "$from" "$@" -cf - . | tar -C "$to" -xf -'
        argv = [*_SCRIPT, script, "copy", str(path), str(tree), *left_out]
        tools.run(argv, f"copying {path}")
        if (tree / ".config").exists() or (tree / "include" / "config").exists():
            tools.run(["make", "-C", tree, "ARCH=arm", "mrproper"], "cleaning the copy")

    return KernelSource(label, _plain_identity(path, outputs), unpack_plain)


_TOP = "name the top directory of Linux's sources"


def tree_version(path: Path) -> tuple[int, int]:
    """Version and patch level of a kernel tree. Raises `UserError` where `path` is none."""
    try:
        makefile = (path / "Makefile").read_text(errors="replace")[:4096]
    except OSError as error:
        raise UserError(f"{path} is no kernel tree: Makefile: {error.strerror}; {_TOP}") from error
    if not (path / "arch" / "arm" / "Kconfig").exists():
        raise UserError(f"{path} is no kernel tree: it has no arch/arm; {_TOP}")
    return makefile_version(makefile, path)


def makefile_version(makefile: str, path: Path) -> tuple[int, int]:
    """Version and patch level in the text of a kernel's Makefile. Raises `UserError` with `path`
    where there are none.
    """
    major = re.search(r"(?m)^VERSION\s*=\s*(\d+)", makefile)
    minor = re.search(r"(?m)^PATCHLEVEL\s*=\s*(\d+)", makefile)
    if major is None or minor is None:
        raise UserError(f"{path} is no kernel tree: no VERSION in its Makefile; {_TOP}")
    return int(major[1]), int(minor[1])


def _git(path: Path, *words: str) -> str:
    # --no-optional-locks leaves the index alone.
    argv = ["git", *RUNS_NOTHING, "--no-optional-locks", "-C", str(path), *words]
    status, output, errors = capture(argv)
    if status != 0:
        raise BuildError(f"git {words[0]} failed in {path}\n{errors.strip()}")
    return os.fsdecode(output)


def _is_tracked(path: Path) -> bool:
    """Whether git has the tree's files in a commit.

    In a fresh ``git init`` it has none, and the ``.gitignore`` of Debian's sources is for all
    files, so that there ``git add .`` adds nothing.
    """
    if not (path / ".git").exists():
        return False
    with contextlib.suppress(BuildError):
        _git(path, "rev-parse", "--verify", "HEAD:Makefile")
        return True
    return False


def _git_state(path: Path) -> tuple[list[str], str, int]:
    """The files on disk that belong to the tree, its identity, and how many differ from HEAD."""
    listed = _git(path, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = sorted({name for name in listed.split("\0") if name and os.path.lexists(path / name)})
    head = _git(path, "rev-parse", "HEAD^{tree}").strip()
    # Not `git diff`: it writes the index, whatever it is told.
    status = _git(path, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    changed = sorted(entry[3:] for entry in status.split("\0") if entry)
    if not changed:
        return files, f"git tree {head}", 0
    digest = hashlib.sha256()
    for name in changed:
        digest.update(name.encode(errors="surrogateescape") + b"\0")
        digest.update(_content(path / name))
    return files, f"git tree {head} with {digest.hexdigest()[:16]}", len(changed)


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return b"link " + os.fsencode(path.readlink())
    try:
        mode = b"x" if path.stat().st_mode & 0o100 else b"-"
        return mode + hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b"gone"


def _build_directories(path: Path) -> list[Path]:
    """The directories at the top of a tree that ``make O=DIR`` has built in."""
    places = (place for place in path.iterdir() if place.is_dir() and not place.is_symlink())
    return sorted(
        place
        for place in places
        if (place / ".config").is_file() or (place / "include" / "config").is_dir()
    )


def _plain_identity(path: Path, outputs: list[Path]) -> str:
    """By names, sizes and times of all that is copied."""
    digest = hashlib.sha256()
    for directory, subdirectories, names in os.walk(path):
        here = Path(directory)
        subdirectories[:] = sorted(
            name
            for name in subdirectories
            if here / name not in outputs and here / name != path / ".git"
        )
        for name in sorted(names):
            if _IS_BUILT.match(name):
                continue
            status = os.lstat(f"{directory}/{name}")
            line = f"{directory}/{name} {status.st_size} {status.st_mtime_ns} {status.st_mode}\n"
            digest.update(line.encode(errors="surrogateescape"))
    return f"directory {path} {digest.hexdigest()[:16]}"
