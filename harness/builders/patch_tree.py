# SPDX-License-Identifier: MIT
"""A private copy of a built kernel tree: apply a patch, build what changed, remove the patch.

One directory ``trees/LABEL`` of the cache for each kernel (more of them where several may be
patched at once: ``LABEL@2`` …), used by one process at a time:

- ``linux/``: a copy of the built tree, kept good by a `Mirror`,
- ``images/``: ``module``, ``app`` and ``dts`` as in the checkout,
- ``tmp/``: for the tools,
- ``stamp.json``: which kernel it is a copy of; ``linux.json``: the mirror's record; ``log``.

Whoever builds has the first three, and can write nowhere else: what a patch is made of is not
trusted. Whatever ends a process, the next one brings all of it back to what it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from harness.builders import cpio, git_apply, userland
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.diff import touched_files
from harness.builders.dtb import NAME, compile_dts
from harness.builders.kept_base import KeptBase
from harness.builders.kernel import (
    TARGETS,
    KernelTree,
    line_flags,
    make_words,
)
from harness.builders.mirror import Mirror, below, plain_file, remove, take
from harness.builders.module import CALLS
from harness.builders.overlay import Layer, Overlay
from harness.builders.process import ToolRunner
from harness.builders.rootfs import read_manifest
from harness.builders.sandbox import Sandbox, check
from harness.builders.treediff import traced_objects, unified
from harness.builders.watch import Limits, scaled
from harness.errors import BuildError, UserError
from harness.host import confine, project
from harness.host.confine import Means
from harness.host.files import write_text
from harness.host.locking import FileLock
from harness.host.progress import Progress
from harness.imageset import preflight
from harness.imageset.features import OURS
from harness.imageset.model import APP, ImageSet

KERNEL_FILES = (
    *("arch/arm/boot/zImage", "vmlinux", "System.map"),
    "include/config/kernel.release",
)
"""What is taken from a built kernel, from its build directory."""
MODULE = "cma.ko"
SYMVERS = "Module.symvers"
"""What the kernel exports (``scripts/mod/modpost.c``)."""
PATCHABLE = ("module", "app", "dts")
"""Directories of ``images/`` that patches may change."""
KERNEL = "linux"
# What make says of a step that gives something new; checks and calls are run each time.
_STEP = re.compile(r"^  (?!CALL|CHK|UPD|DESCEND|SYNC|GEN|Kernel)[A-Z][A-Z0-9_]*\b.* (\S+)$")

_RELEASE = re.compile(r"[0-9][A-Za-z0-9.+_~-]{0,63}")
_RELEASE_BYTES = 256
_CONFIGURES = re.compile(r"Kconfig")
_WIDEST = 1000
"""Characters of a compiler's warning that are kept."""
_WARNING = re.compile(r"^\S.*\b(?i:warning): ")


class PatchError(BuildError):
    """A patch does not apply."""


class PatchTree:
    """See the module's text. Get one with `open_patch_tree`."""

    def __init__(
        self,
        root: Path,
        base: KernelTree,
        slug: str,
        parts: dict[str, tuple[Key, Path]],
        lock: FileLock,
        progress: Progress,
        cache: Cache,
        jobs: int,
        limits: Limits | None = None,
        repository: Path | None = None,
    ) -> None:
        """`base` is the cache's kernel, named `slug`; `parts` are its busybox, agent, module and
        app. With `limits`, all that a patch can influence runs in a sandbox. `repository`: the git
        tree that the kernel comes from.
        """
        self.root = root
        self._base = base
        self._slug = slug
        self._parts = parts
        self._lock = lock
        self._progress = progress
        self._jobs = jobs
        self._environment = cache.compiler_environment
        self._sandbox: Sandbox | None = None
        if limits is not None:
            # What an untrusted compiler run leaves there would be taken for good by the next.
            self._environment = {"CCACHE_DISABLE": "1"}
            writable = tuple(root / name for name in (KERNEL, "images", "tmp"))
            self._sandbox = Sandbox(writable, scaled(limits, jobs))
        self.kernel = KernelTree(root / KERNEL, base.release, base.features)
        self._make: list[str] = []
        self._mirror = Mirror(base.tree, self.kernel.tree, root / "linux.json")
        self.log = root / "log"
        self.steps: list[str] = []
        """What the last build made, by make's words: ``mm/cma.o``."""
        self.made: list[str] = []
        """What all builds made since the tree was as the built kernel's."""
        self.warnings: list[str] = []
        """What compilers and linkers warned of in it, as they said it."""
        self.building = 0.0
        """Seconds that compilers and make have run."""
        self.said: list[str] = []
        """How patches went in that did not go in exactly, since the last `restore`."""
        self._repository = repository
        self._touched: set[str] = set()
        self._layer = Layer(self.kernel.tree, base.tree)
        self.left_as_it_is = False
        """At the end nothing is restored: whoever opens it next has to."""
        self.on_step: Callable[[str], None] = lambda step: None
        """Called with each step of a build."""
        self._laid: Overlay = {}
        self._driver: bytes | None = None
        """What the kernel exported when the driver was made; None where that has to be made."""

    @property
    def origin(self) -> Path:
        """The tree that it is a copy of: sources without patches, built in its ``obj``."""
        return self._base.tree

    @property
    def touched(self) -> list[str]:
        """The files that the patches change, from its root: ``linux/mm/cma.c``."""
        return sorted(self._touched)

    # Getting ready

    def prepare(self) -> None:
        """Prepares the directory: copies the tree where it is missing, else restores it."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._close()
        stamp = self.root / "stamp.json"
        wanted = {"kernel": self._slug, "uid": confine.other_uid()}
        self.log.unlink(missing_ok=True)
        if read_json(stamp) != wanted:
            self._mirror.forget()
            write_text(stamp, json.dumps(wanted) + "\n")
        runner = self._tools(trusted=True)

        def copy(words: Sequence[str | Path]) -> None:
            self._progress.say(f"copying the tree of {self._slug}")
            runner.run(list(words), "copying the kernel tree")

        self._mirror.prepare(copy)
        # Before a patch can make something else of its Makefile, in which this looks.
        self._make = make_words(self.kernel.tree, self._jobs)
        self._reset_images()

    def _close(self) -> None:
        """Only this user, and the uid that builds, can reach what is built here."""
        self.root.chmod(0o700)
        if (
            self._sandbox is not None
            and confine.other_uid() is not None
            and check().means is Means.BARE
        ):
            # Where nothing can be mounted, the other uid has to pass; it can list nothing.
            for place in (self.root, *self.root.parents[:2]):
                place.chmod(place.stat().st_mode & 0o7777 | 0o011)

    def _reset_images(self) -> None:
        remove(self.root / "images")
        for part in PATCHABLE:
            shutil.copytree(project.IMAGES / part, self.root / "images" / part)
        confine.give_tree(self.root / "images")
        self._touched.clear()

    def _tools(self, trusted: bool = False) -> ToolRunner:
        tmp = self.root / "tmp"
        # Empty each time: a link that somebody left there would lead our own writing elsewhere.
        remove(tmp)
        tmp.mkdir(mode=0o700)
        confine.give(tmp)
        build_dir = BuildDirectory(tmp, tmp, self.log, self._lock.fd)
        return ToolRunner(build_dir, self._environment, None if trusted else self._sandbox)

    def _run(
        self,
        words: Sequence[str | Path],
        what: str,
        cwd: Path | None = None,
        runner: ToolRunner | None = None,
    ) -> None:
        """Runs a program of a build."""
        with self._counted():
            (runner or self._tools()).run(words, what, cwd, self._note)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts the block's time as the compilers'."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.building += time.monotonic() - begun

    def _note(self, line: str) -> None:
        if match := _STEP.match(line):
            self.steps.append(match[1])
            self.made.append(match[1])
            self.on_step(match[1])
        line = line[:_WIDEST]
        if _WARNING.search(line):
            self.warnings.append(line.removeprefix("../").strip())

    @property
    def laid(self) -> Overlay:
        """What is laid over the built kernel."""
        return self._laid

    @property
    def made_of_source(self) -> bool:
        """Whether the last build made anything of the kernel's. The driver is made each time."""
        return any(not step.startswith(str(self.root / "images")) for step in self.steps)

    def lay(self, overlay: Overlay, touched: Sequence[str] = ()) -> list[str]:
        """Lays these files over the kernel's, in place of what was laid before, and lets them stay:
        what is patched is the tree with them. `touched` are those that patches would have changed.
        Returns what was written or removed.
        """
        self._mirror.lend()
        self._laid = overlay
        self._touched = {f"{KERNEL}/{path}" for path in touched}
        return self._changing(self._layer.lay(overlay))

    def _changing(self, paths: list[str]) -> list[str]:
        if not all(path.endswith(".c") for path in paths):
            self._driver = None  # a header, or how things are built
        return paths

    # Patches

    def place(self, paths: Sequence[str]) -> str:
        """What a patch of these paths is for: ``linux``, or the directory of ``images`` in which
        its files are, or ``.`` where the paths themselves begin with ``linux`` or ``images``.
        """
        if all(path.split("/")[0] in (KERNEL, "images") for path in paths):
            return "."
        places = [KERNEL, "images", *(f"images/{part}" for part in PATCHABLE)]
        found = [sum((self.root / place / path).is_file() for path in paths) for place in places]
        return places[found.index(max(found))]

    def apply(self, patch: Path, *, loosely: bool = False) -> list[str]:
        """Applies a patch to the parts that its paths name; the files, from the patch_tree's root.

        Their paths start with ``a/linux/`` or ``a/images/``; a patch with neither is one for the
        kernel alone, as git makes it there, or for one part of ``images``. As ``git am`` does:
        exactly, at whatever line. `loosely`: where that fails, by a merge with the blobs that it
        was made against, or with less context than it has; what was done is in `said`. Raises
        `PatchError` where it does not apply (then nothing has changed), `UserError` for what is no
        patch or goes elsewhere.
        """
        try:
            text = patch.read_text(errors="surrogateescape")
        except OSError as error:
            raise UserError(f"cannot read {patch}: {error.strerror}") from error
        named = touched_files(text, patch.name, trusted=self._sandbox is None)
        place = self.place(named)
        paths = [f"{place}/{path}".removeprefix("./") for path in named]
        for path in paths:
            words = path.split("/")
            if words[0] == "images" and (len(words) < 3 or words[1] not in PATCHABLE):
                raise UserError(
                    f"{patch.name}: {path} is in none of images/{{{','.join(PATCHABLE)}}}"
                )
            if path.startswith(f"{KERNEL}/obj/"):
                raise UserError(f"{patch.name}: {path} is not a source")
        runner = self._tools()
        copy = Path(shutil.copyfile(patch, runner.build_dir.tmp / "applied.patch"))
        confine.give(copy)
        self._mirror.lend()
        apply = git_apply.Apply(runner, self.root / place, copy, patch.name)
        try:
            with self._counted():
                apply.exactly()
        except BuildError as error:
            known = self._repository if place == KERNEL else None
            said = apply.loosely(named, known) if loosely else ""
            if not said:
                raise PatchError(str(error)) from error
            self.said.append(said)
        self._touched |= set(self._changing(paths))
        return paths

    def restore(self) -> None:
        """Removes all patches and restores every file; what was laid is laid again."""
        self.clean()
        if self._laid:
            self._mirror.lend()
            self._layer.lay(self._laid)

    def clean(self) -> None:
        """Restores every file to what the built kernel has."""
        self._mirror.restore()
        self._driver = None
        self._layer.forget()
        self._reset_images()
        self.said.clear()
        self.made.clear()

    # Builds

    def build(self, to: Path) -> ImageSet:
        """Makes what the patches changed and puts an image set together in the directory `to`.

        Raises `BuildError` with the first error, `Contained` for a build that does what it must
        not. The set's files stay when the next is built.
        """
        to.mkdir(parents=True, exist_ok=True)
        self.steps.clear()
        self.warnings.clear()
        changed = {path.split("/")[1] for path in self._touched if path.startswith("images/")}
        kernel = any(path.startswith(f"{KERNEL}/") for path in self._touched)
        files = {name: path for name, (_, path) in self._parts.items()}
        base = self._laid_base if self._laid and not self._touched else None
        if base is not None and base.take(to):
            files["module"], files["calls"] = to / MODULE, to / CALLS
        else:
            if kernel or self._laid:
                self._make_kernel()
            if kernel or self._laid or "module" in changed:
                self._driver_into(to, changed)
                files["module"], files["calls"] = to / MODULE, to / CALLS
            for name in KERNEL_FILES:
                take(self.kernel.obj, name, to)
            if base is not None:
                base.keep(to)
        if "app" in changed:
            files["app"] = self._make_app(to)
        return self._put_together(to, files)

    def unlaid(self, to: Path) -> ImageSet:
        """The image set of the built kernel, without what is laid over it and without patches."""
        to.mkdir(parents=True, exist_ok=True)
        for name in KERNEL_FILES:
            take(self._base.obj, name, to)
        return self._put_together(to, {name: path for name, (_, path) in self._parts.items()})

    def _put_together(self, to: Path, files: Mapping[str, Path]) -> ImageSet:
        dtb = to / Path(NAME).with_suffix(".dtb")
        dtb.write_bytes(self._compile_dts())
        release = self._release(to)
        manifest = project.IMAGES / "rootfs" / "manifest.toml"
        initrd = to / "initramfs.cpio"
        initrd.write_bytes(cpio.archive(read_manifest(manifest, release, files)))
        zimage, vmlinux, system_map = (to / Path(name).name for name in KERNEL_FILES[:3])
        return preflight.with_parts(
            ImageSet(
                kernel=zimage,
                dtb=dtb,
                initrd=initrd,
                module=files["module"],
                app=files["app"],
                vmlinux=vmlinux,
                system_map=system_map,
                release=release,
                features=self._base.features | OURS,
            )
        )

    @property
    def _laid_base(self) -> KeptBase:
        """Where the kernel with what is laid, and no patch, is kept."""
        digest = hashlib.sha256(f"{self._slug} {self._parts['module'][0].slug}\n".encode())
        for path, content in sorted(self._laid.items()):
            blob = "" if content is None else f"{content.mode} {content.blob()}"
            digest.update(f"{path} {blob}\n".encode(errors="surrogateescape"))
        return KeptBase(self.root / "bases", digest.hexdigest()[:16])

    def _release(self, to: Path) -> str:
        """What the kernel calls itself. It becomes the name of a directory of the guest."""
        made = (to / "kernel.release").read_bytes()
        release = made[:_RELEASE_BYTES].decode("ascii", errors="replace").strip()
        if not _RELEASE.fullmatch(release):
            raise BuildError(f"the kernel's release is no name of one: {ascii(release)[:200]}")
        return release

    def _make_kernel(self) -> None:
        words = [*self._make, *line_flags(traced_objects(self._touched))]
        changed = (*self._touched, *self._laid)
        if any(_CONFIGURES.match(path.rpartition("/")[2]) for path in changed):
            # kconfig would ask for a new option on standard input.
            self._run([*words, "olddefconfig"], "configuring the kernel")
        self._run([*words, *TARGETS], "making the kernel")

    def diff(self, context: int = 0) -> str:
        """What the applied patches change, as one unified diff. Paths are those of
        the kernel's tree, or ``images/…``.
        """
        kernel = self._kernel_files()
        before = self.root / "before"
        remove(before)
        before.mkdir(mode=0o700)
        for name in kernel:
            content = self._layer.before(name)
            if content is not None and content.mode:
                (before / name).parent.mkdir(parents=True, exist_ok=True)
                (before / name).write_bytes(content.data)
        places = [(name, before, self.kernel.tree) for name in sorted(kernel)]
        return unified([*places, *self._own_places()], context)

    def diff_of_all(self) -> str:
        """What differs from the built kernel, with what is laid over it; as `diff`."""
        kernel = sorted(self._kernel_files() | self._laid.keys())
        places = [(name, self.origin, self.kernel.tree) for name in kernel]
        return unified([*places, *self._own_places()], 0)

    def _kernel_files(self) -> set[str]:
        """The kernel's files that the patches change, as its tree names them."""
        return {p.removeprefix(f"{KERNEL}/") for p in self._touched if p.startswith(f"{KERNEL}/")}

    def _own_places(self) -> list[tuple[str, Path, Path]]:
        own = sorted(path for path in self._touched if path.startswith("images/"))
        return [(name, project.IMAGES.parent, self.root) for name in own]

    def warnings_before(self, steps: Sequence[str]) -> list[str]:
        """What the unpatched sources make the compilers warn of, when `steps` are made again.

        Takes all patches off.
        """
        self.restore()
        self._mirror.lend()
        self.warnings.clear()
        for step in steps:
            place = below(self.kernel.obj, step)
            if step.endswith(".o") and place is not None and place.is_file():
                place.unlink()
        self._make_kernel()
        self._make_module(self.root / "tmp")
        said = list(self.warnings)
        self.restore()
        return said

    def _serves(self, changed: Collection[str]) -> bool:
        """Whether the built kernel's own driver is what would be made: only sources of the kernel
        differ, none that headers or tools are made of, and what it exports does not.
        """
        sources = [*self._touched, *self._laid]
        made = (".h", ".s")
        if "module" in changed or not all(path.endswith(".c") for path in sources):
            return False
        if any(step.endswith(made) or step.startswith("scripts/") for step in self.made):
            return False
        with contextlib.suppress(BuildError, OSError):
            exported = plain_file(self.kernel.obj, SYMVERS).read_bytes()
            return exported == (self._base.obj / SYMVERS).read_bytes()
        return False

    def _driver_into(self, to: Path, changed: Collection[str]) -> None:
        """The driver and the module of calls; made again unless only sources of the kernel differ
        since they were, or from the built kernel, and what that exports does not.
        """
        if self._serves(changed):
            for name, part in ((MODULE, "module"), (CALLS, "calls")):
                shutil.copyfile(self._parts[part][1], to / name)
            return
        exported = None
        with contextlib.suppress(BuildError):
            exported = plain_file(self.kernel.obj, SYMVERS).read_bytes()
        if exported is not None and self._driver == exported and not changed:
            take(self.root, f"images/module/{MODULE}", to)
        else:
            self._driver = None
            self._make_module(to)
            self._driver = exported
        take(self.root, f"images/module/{CALLS}", to)

    def _make_module(self, to: Path) -> Path:
        self._mirror.lend()
        source = self.root / "images" / "module"
        words = [*self._make, f"M={source}", "modules"]
        before = len(self.steps)
        self._run(words, "making cma.ko")
        # From 6.13 on kbuild names the files of a module by where they are in its directory.
        self.steps[before:] = [str(source / step) for step in self.steps[before:]]
        return take(self.root, f"images/module/{MODULE}", to)

    def _make_app(self, to: Path) -> Path:
        source = self.root / "images" / "app"
        with self._counted():
            made = userland.compile_program(self._tools(), APP, source)
        self.steps.append(made.name)
        return take(self.root, f"tmp/{made.name}", to)

    def _compile_dts(self) -> bytes:
        dts = self.root / "images" / "dts"
        text = plain_file(self.root, f"images/dts/{NAME}").read_text(errors="surrogateescape")
        with self._counted():
            return compile_dts(text, self.kernel.tree, dts, self._filter)

    def _filter(self, command: list[str], data: bytes, what: str) -> bytes:
        """Runs a program on `data`, in the sandbox; what it gives."""
        runner = self._tools()
        given = runner.build_dir.tmp / "given"
        given.write_bytes(data)
        confine.give(given)
        runner.run(["sh", "-c", '"$@" <given >made', "sh", *command], what)
        return plain_file(self.root, "tmp/made").read_bytes()


def read_json(path: Path) -> object:
    """What a file holds; None where it is not there, or damaged: that is as if it were missing."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
