# SPDX-License-Identifier: MIT
"""Builds a kernel: sources, additions, configuration, make. The tree is kept for what comes after.

An entry ``kernel-LABEL-…`` has the sources in ``tree/``, the build in ``tree/obj/`` and
what is known of it in ``info.json``. The build directory is inside the tree because kbuild then
uses relative paths only: the entry can be renamed and copied, and make finds nothing to do there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.builders import additions
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.kernel_source import KernelSource, tree_version
from harness.builders.process import ToolRunner
from harness.errors import UserError
from harness.host import programs, project
from harness.host.progress import Progress
from harness.imageset import kconfig
from harness.imageset.features import NEEDS, Feature, of_config
from harness.imageset.linetable import LINE_FLAGS, OBJECTS
from harness.plaintext import line

RECIPE = "1"
"""Part of the key: raise it when the way of building changes the result."""
TREE_BYTES = 2200 * 2**20
TARGETS = ("zImage", "modules")
_OBJ = "tree/obj"
CHECKED = (
    "info.json",
    *(f"{_OBJ}/{name}" for name in ("arch/arm/boot/zImage", "vmlinux", "System.map", ".config")),
)
"""The files of an entry that machines boot, or that are read each time."""
_STEPS = {"6.1": 1440, "6.12": 1540, "7.3": 1600}
_STEP = re.compile(r"  [A-Z][A-Z0-9_]*( \[M\])? +\S")
# From 5.7 on the kernel's own host tools say what gcc 10 made the default.
_COMMON_BEFORE = (5, 7)
_LARGEST_FRAGMENT = 1 << 20
_PROGRAMS = ("make", "gcc", "bc", "bison", "flex", "patch", "perl", "tar", "xz", "lz4")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a source tree is configured and built: patches and configuration."""

    config: tuple[Path, ...]
    """Fragments laid on ``vexpress_defconfig``, in order."""
    additions: Path | None
    """Files that are laid beside the tree's own (see `additions`); None: a kernel as it is."""

    extra: tuple[Path, ...] = ()
    """The user's fragments, laid on top as ``scripts/kconfig/merge_config.sh`` does."""

    def with_fragments(self, paths: Sequence[Path]) -> Recipe:
        """The recipe with fragments of the user's on top. Raises `UserError` for what is none."""
        for path in paths:
            kconfig_fragment(path)
        return dataclasses.replace(self, extra=(*self.extra, *paths))

    @classmethod
    def ours(cls, images: Path = project.IMAGES) -> Recipe:
        """The recipe in ``images/kernel``."""
        kernel = images / "kernel"
        return cls((kernel / "config" / "base.config",), kernel / "additions")


@dataclasses.dataclass(frozen=True)
class KernelTree:
    """A built kernel."""

    tree: Path
    """Sources, with our additions."""
    release: str
    """``uname -r``."""
    features: frozenset[Feature]

    @property
    def obj(self) -> Path:
        """Build directory."""
        return self.tree / "obj"

    @property
    def zimage(self) -> Path:
        """Compressed kernel."""
        return self.obj / "arch" / "arm" / "boot" / "zImage"

    @property
    def vmlinux(self) -> Path:
        """ELF with symbols."""
        return self.obj / "vmlinux"

    @property
    def system_map(self) -> Path:
        """Symbols and addresses."""
        return self.obj / "System.map"

    @property
    def config(self) -> Path:
        """``.config``."""
        return self.obj / ".config"

    @classmethod
    def of(cls, entry: Path) -> KernelTree:
        """The kernel in a directory of the cache."""
        info = json.loads((entry / "info.json").read_text())
        release = str(info["release"])
        config = kconfig.parse((entry / _OBJ / ".config").read_text())
        # Today's rules may be others than when it was built: of what was noted then, only what no
        # option tells counts.
        noted = {feature for feature in Feature if feature in info["features"]}
        found = {feature for feature in noted if not NEEDS[feature].options}
        return cls(entry / "tree", release, of_config(config, release) | found)


def file_digest(path: Path) -> str:
    """Short digest of a small file. Raises `UserError` where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def kernel_key(source: KernelSource, recipe: Recipe) -> Key:
    """Key of the kernel built from `source` by `recipe`."""
    inputs = {"source": source.identity, "toolchain": programs.toolchain(), "recipe": RECIPE}
    inputs["line tables"] = " ".join((*LINE_FLAGS, *OBJECTS))
    inputs |= {f"config {path.name}": file_digest(path) for path in fragments(source, recipe)}
    # By number: two of them may be called alike.
    inputs |= {f"fragment {n}": file_digest(path) for n, path in enumerate(recipe.extra, 1)}
    inputs |= {
        f"added {name}": file_digest(path) for name, path in additions.files(recipe.additions)
    }
    return Key(f"kernel-{source.label}", inputs)


def fragments(source: KernelSource, recipe: Recipe) -> tuple[Path, ...]:
    """The options that are laid on ``vexpress_defconfig``, in order: the variant's come last."""
    return (*recipe.config, source.variant) if source.variant else recipe.config


def build_kernel(
    cache: Cache, source: KernelSource, recipe: Recipe, progress: Progress
) -> tuple[Key, KernelTree]:
    """The kernel from the cache, or built. Raises `BuildError` with the compiler's first error."""
    key = kernel_key(source, recipe)

    def build(build_dir: BuildDirectory) -> None:
        programs.require(*_PROGRAMS, f"{programs.CROSS}gcc")
        progress.say(f"building kernel {source.identity}: {cache.why(key)}")
        _Build(
            ToolRunner(build_dir, cache.compiler_environment), source, recipe, progress, cache
        ).run()

    kernel = KernelTree.of(cache.entry(key, build, needs=TREE_BYTES, checked=CHECKED))
    say_not_taken(kernel, recipe, progress)
    return key, kernel


def line_flags(objects: Iterable[str]) -> list[str]:
    """Words of the make command that give these objects (names without ``.o``) a line table."""
    return [f"CFLAGS_{name}.o={' '.join(LINE_FLAGS)}" for name in objects]


def make_words(tree: Path, jobs: int | None = None) -> list[str]:
    """The make command with all that fixes the result, for the kernel in `tree`; add targets.

    Raises `UserError` where `tree` is no kernel tree.
    """
    count = jobs or len(os.sched_getaffinity(0))
    compiler = f"{programs.CROSS}gcc"
    if shutil.which("ccache"):
        compiler = f"ccache {compiler}"
    if _asks_for_armv7(tree):
        compiler += " -msoft-float"
    words = [
        "make",
        f"-j{count}",
        "-C",
        str(tree),
        "O=obj",
        "ARCH=arm",
        f"CROSS_COMPILE={programs.CROSS}",
        f"CC={compiler}",
        "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_VERSION=1",
        "KBUILD_BUILD_USER=harness",
        "KBUILD_BUILD_HOST=harness",
    ]
    # Set here, they leave the tree's own files as they are; modules get them too.
    words += line_flags(OBJECTS)
    if tree_version(tree) < _COMMON_BEFORE:
        words.append("HOSTCFLAGS=-fcommon")
    return words


def _asks_for_armv7(tree: Path) -> bool:
    """Whether kbuild asks the compiler if it knows ``-march=armv7-a`` (up to 5.14).

    It asks before it says that floats are soft, and a compiler whose default are hard ones answers
    that this processor lacks an FPU: the kernel is then built for armv5t, and does not assemble.
    """
    makefile = tree / "arch" / "arm" / "Makefile"
    with contextlib.suppress(OSError):
        return "cc-option,-march=armv7-a" in makefile.read_text(errors="replace")
    return False


class _Build:
    """One kernel build in its build_dir."""

    def __init__(
        self,
        runner: ToolRunner,
        source: KernelSource,
        recipe: Recipe,
        progress: Progress,
        cache: Cache,
    ) -> None:
        self._runner = runner
        self._source = source
        self._recipe = recipe
        self._progress = progress
        self._steps = cache.root / "steps" / source.label
        self._tree = runner.build_dir.out / "tree"

    def run(self) -> None:
        self._tree.mkdir()
        self._progress.say(f"unpacking the sources of {self._source.label}")
        self._source.unpack(self._runner, self._tree)
        self._source.check(".".join(map(str, tree_version(self._tree))))
        additions.lay(self._recipe.additions, self._tree)
        (self._tree / "obj").mkdir()
        given = fragments(self._source, self._recipe)
        extra = self._recipe.extra
        config = configure(self._tree, given, self._runner, self._progress, extra)
        if self._source.variant is not None:
            _check_variant(self._source.variant, config)
        make_kernel(self._runner, self._tree, self._progress, self._source.label, self._steps)
        release = (self._tree / "obj" / "include" / "config" / "kernel.release").read_text()
        self._source.check(release.strip())
        found = of_config(config, release.strip())
        if additions.lists_areas(self._recipe.additions):
            found |= {Feature.IOMEM_CMA}
        own = additions.of_the_tree(self._tree / "obj")
        if own:
            self._progress.say(f"not added, because the tree has it: {', '.join(own)}")
        info = {"release": release.strip(), "features": sorted(found), "of the tree": own}
        text = json.dumps(info, indent=2) + "\n"
        (self._runner.build_dir.out / "info.json").write_text(text)


def configure(
    tree: Path,
    fragments: Sequence[Path],
    runner: ToolRunner,
    progress: Progress,
    extra: Sequence[Path] = (),
) -> dict[str, str]:
    """Makes ``.config`` from ``vexpress_defconfig`` and the fragments, and checks it; `extra`
    are the user's.

    Raises `BuildError` where an option that matters is not set.
    """
    make = make_words(tree)
    runner.run([*make, "vexpress_defconfig"], "configuring the kernel")
    path = tree / "obj" / ".config"
    wanted: dict[str, str] = {}
    texts = [fragment.read_text() for fragment in fragments]
    asked = kconfig.merged(kconfig_fragment(fragment) for fragment in extra)
    texts.append(kconfig.lines(asked))
    with path.open("a") as file:
        for text in texts:
            # kconfig takes the last line of several on one option.
            file.write(text)
            wanted |= kconfig.parse(text)
    runner.run([*make, "olddefconfig"], "configuring the kernel")
    config = kconfig.parse(path.read_text())
    kconfig.check(config)
    lost = [name for name in kconfig.not_honoured(wanted, config) if wanted[name] != "n"]
    ours = [name for name in lost if name not in asked]
    if ours:
        progress.say(f"this kernel does not have: {', '.join(ours)}")
    return config


def say_not_taken(kernel: KernelTree, recipe: Recipe, progress: Progress) -> None:
    """Says which options of the user's fragments a built kernel does not have as asked."""
    asked = kconfig.merged(kconfig_fragment(fragment) for fragment in recipe.extra)
    if asked:
        config = kconfig.parse(kernel.config.read_text())
        for name in kconfig.not_honoured(asked, config):
            progress.say(kconfig.not_taken(name, asked[name], config))


def kconfig_fragment(path: Path) -> dict[str, str]:
    """The options of a user's fragment. Raises `UserError` with the line that is none."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_FRAGMENT + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(f"cannot read the configuration {path}: {reason}") from error
    if len(text) > _LARGEST_FRAGMENT:
        raise UserError(f"the configuration {path} is larger than {_LARGEST_FRAGMENT >> 20} MiB")
    wrong = kconfig.first_wrong_line(text)
    if wrong is not None:
        raise UserError(
            f"{path}:{wrong[0]}: `{line(wrong[1], 80)}` is no option: expected CONFIG_NAME=value or"
            " # CONFIG_NAME is not set"
        )
    return kconfig.parse(text)


def _check_variant(fragment: Path, config: dict[str, str]) -> None:
    """Raises `UserError` where the kernel does not take all options of a variant: it would check
    less than its name says.
    """
    wanted = kconfig.parse(fragment.read_text())
    lost = [name for name in kconfig.not_honoured(wanted, config) if wanted[name] != "n"]
    if lost:
        raise UserError(
            f"--variant {fragment.stem}: this kernel does not have"
            f" {', '.join(f'CONFIG_{name}' for name in lost)}; another kernel may (--kernel)"
        )


def make_kernel(
    runner: ToolRunner, tree: Path, progress: Progress, label: str, steps_file: Path | None = None
) -> None:
    """Runs make for the kernel and its modules; what is up to date is not built again.

    `steps_file` keeps the number of steps for the next time.
    """
    done = 0
    with progress.steps(f"kernel {label}", _known_steps(steps_file, label)) as advance:

        def count(line: str) -> None:
            nonlocal done
            if _STEP.match(line):
                done += 1
                advance(done)

        runner.run([*make_words(tree), *TARGETS], f"building kernel {label}", on_line=count)
    if steps_file is not None:
        with contextlib.suppress(OSError):
            steps_file.parent.mkdir(parents=True, exist_ok=True)
            steps_file.write_text(f"{done}\n")


def _known_steps(steps_file: Path | None, label: str) -> int:
    if steps_file is not None:
        with contextlib.suppress(OSError, ValueError):
            return int(steps_file.read_text())
    return _STEPS.get(label, max(_STEPS.values()))


def copy_tree(
    kernel: KernelTree, to: Path, run: Callable[[Iterable[str | Path]], None]
) -> KernelTree:
    """A private copy of a built kernel at `to` (which must not exist), to patch and make again.

    Sources are hard links where the file system allows: change them by replacing files, as patch
    does, never in place. The build directory is a real copy. Times are kept, so make builds only
    what a change asks for. `run` runs a program, as `ToolRunner.run` does.
    """
    copy_sources(kernel, to, run)
    run(["cp", "-a", "--reflink=auto", kernel.obj, to])
    return KernelTree(to, kernel.release, kernel.features)


def copy_sources(kernel: KernelTree, to: Path, run: Callable[[Iterable[str | Path]], None]) -> None:
    """The same for the sources alone, with our additions, to configure them anew."""
    to.mkdir(parents=True)
    names = sorted(path for path in kernel.tree.iterdir() if path.name != "obj")
    run(["cp", "-al", *names, to])
