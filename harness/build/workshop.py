# SPDX-License-Identifier: MIT
"""A built kernel tree of one's own: patch it, make what changed, take the patch off again.

One directory ``workshops/LABEL`` of the cache for each kernel, used by one process at a time:

- ``linux/``: a copy of the built tree; its sources are hard links into the cache until they change,
- ``images/``: ``module``, ``app`` and ``dts`` as in the checkout; ``origin/``: so, unpatched,
- ``stamp.json``: which kernel it is a copy of. Written last: without it the copy is not whole,
- ``touched.json``: files that a patch may have changed, written before it is applied,
- ``made.json``: what the kernel's objects were made from; ``making``: a make has not ended.

So whatever ends a process, the next one knows what to restore, or that it must copy anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness import preflight
from harness.build import cpio, tools, userland
from harness.build.cache import Cache, Key, Room
from harness.build.dtb import NAME, compile_dts
from harness.build.imageset import rootfs_parts
from harness.build.kernel import (
    TARGETS,
    TREE_BYTES,
    KernelTree,
    Recipe,
    build_kernel,
    copy_tree,
    make_words,
)
from harness.build.kernel_source import resolve
from harness.build.locking import FileLock
from harness.build.module import build_module
from harness.build.process import Tools
from harness.build.progress import Progress
from harness.build.rootfs import read_manifest
from harness.errors import BuildError, UserError
from harness.images import OURS, ImageSet

PARTS = ("module", "app", "dts")
"""Directories of ``images/`` that patches may change."""
_FILE = re.compile(r"^(?:---|\+\+\+) ([^\t\n]+)", re.MULTILINE)


class PatchError(BuildError):
    """A patch does not apply."""


def touched_files(patch: Path) -> list[str]:
    """The files that a unified diff names, without the leading ``a/`` or ``b/``.

    Raises `UserError` for one that names none, or one outside the tree.
    """
    try:
        text = patch.read_text(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {patch}: {error.strerror}") from error
    names = {name.strip() for name in _FILE.findall(text)} - {"/dev/null"}
    paths = sorted({"" if name[0] == "/" else name.partition("/")[2] for name in names})
    for path in paths:
        if not path or ".." in path.split("/"):
            raise UserError(f"{patch}: a path that is not a/… or b/… within the tree")
    if not paths:
        raise UserError(f"{patch} is no unified diff: it names no file")
    return paths


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


class Workshop:
    """See the module's text. Get one with `open_workshop`."""

    def __init__(
        self,
        root: Path,
        base: KernelTree,
        slug: str,
        parts: dict[str, tuple[Key, Path]],
        lock: FileLock,
        progress: Progress,
        cache: Cache,
        jobs: int | None = None,
    ) -> None:
        """`base` is the cache's kernel, named `slug`; `parts` are its busybox, agent, module and
        app.
        """
        self.root = root
        self._base = base
        self._slug = slug
        self._parts = parts
        self._lock = lock
        self._progress = progress
        self._jobs = jobs
        self._environment = cache.compiler_environment
        self.kernel = KernelTree(root / "linux", base.release, base.features)
        self.log = root / "log"

    # Getting ready

    def prepare(self) -> None:
        """Makes the directory fit for use: copied where it must be, clean in any case."""
        self.root.mkdir(parents=True, exist_ok=True)
        stamp = self.root / "stamp.json"
        whole = stamp.exists() and json.loads(stamp.read_text()) == {"kernel": self._slug}
        self.log.unlink(missing_ok=True)
        if not whole or (self.root / "making").exists():
            self._copy()
        for name in ("images", "origin"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            for part in (*PARTS, "rootfs"):
                shutil.copytree(tools.IMAGES / part, self.root / name / part)
        self.restore()

    def _copy(self) -> None:
        """The tree anew; patches of the kernel are gone with the old one."""
        self._progress.say(f"copying the tree of {self._slug}")
        stamp = self.root / "stamp.json"
        stamp.unlink(missing_ok=True)
        shutil.rmtree(self.root / "linux", ignore_errors=True)
        runner = self._tools(self.root)
        copy_tree(
            self._base,
            self.root / "linux",
            lambda words: runner.run(list(words), "copying the kernel tree"),
        )
        _write_json(self.root / "made.json", {})
        (self.root / "making").unlink(missing_ok=True)
        _write_json(stamp, {"kernel": self._slug})

    def _tools(self, out: Path) -> Tools:
        tmp = self.root / "tmp"
        tmp.mkdir(exist_ok=True)
        return Tools(Room(out, tmp, self.log, self._lock.fd), self._environment)

    # Patches

    @property
    def touched(self) -> list[str]:
        """Files that are not what they were, as far as anybody knows: ``linux/mm/cma.c``."""
        path = self.root / "touched.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def apply(self, patch: Path) -> None:
        """Applies a patch to the parts that its paths name.

        They start with ``a/linux/`` or ``a/images/``; a patch with neither is one for the kernel
        alone, as git makes it there. Raises `PatchError` where it does not apply (then nothing has
        changed), `UserError` for what is no patch or goes elsewhere.
        """
        paths = touched_files(patch)
        below = "." if all(path.split("/")[0] in ("linux", "images") for path in paths) else "linux"
        if below == "linux":
            paths = [f"linux/{path}" for path in paths]
        for path in paths:
            words = path.split("/")
            if words[0] == "images" and words[1] not in PARTS:
                raise UserError(f"{patch}: {path} is in none of images/{{{','.join(PARTS)}}}")
            if path.startswith("linux/obj/"):
                raise UserError(f"{patch}: {path} is not a source")
        # No fuzz: a patch with little context would go anywhere.
        words = [
            "patch",
            "-p1",
            "-F0",
            "--forward",
            "--batch",
            "--no-backup-if-mismatch",
            "-r",
            "-",
        ]
        words += ["-i", str(patch.absolute())]
        runner, place = self._tools(self.root), self.root / below
        try:
            runner.run([*words, "--dry-run"], f"applying {patch.name}", cwd=place)
        except BuildError as error:
            raise PatchError(str(error)) from error
        _write_json(self.root / "touched.json", sorted({*self.touched, *paths}))
        for path in paths:
            _own(self.root / path)
        runner.run(words, f"applying {patch.name}", cwd=place)

    def restore(self) -> None:
        """Brings every touched file back. Raises `BuildError` where one is not what it was."""
        touched = self.touched
        for path in touched:
            origin, place = self._origin(path), self.root / path
            if not origin.exists():
                place.unlink(missing_ok=True)
            elif not (place.exists() and place.samefile(origin)):
                # Its time is now, so that make builds it again.
                _replace(origin, place)
        for path in touched:
            if _digest(self._origin(path)) != _digest(self.root / path):
                raise BuildError(f"{self.root / path} is not what it was")
        (self.root / "touched.json").unlink(missing_ok=True)

    def _origin(self, path: str) -> Path:
        top, _, rest = path.partition("/")
        return (self._base.tree if top == "linux" else self.root / "origin") / rest

    # Builds

    def build(self, to: Path) -> ImageSet:
        """Makes what the patches changed and puts an image set together in the directory `to`.

        Raises `BuildError` with the first error. The set's files stay when the next is built.
        """
        to.mkdir(parents=True, exist_ok=True)
        changed = {path.split("/")[1] for path in self.touched if path.startswith("images/")}
        kernel = self._make_kernel()
        files = {name: path for name, (_, path) in self._parts.items()}
        if kernel or "module" in changed:
            files["module"] = self._make_module(to)
        if "app" in changed:
            files["app"] = self._make_app(to)
        dtb = to / Path(NAME).with_suffix(".dtb")
        dts = self.root / "images" / "dts"
        dtb.write_bytes(compile_dts((dts / NAME).read_text(), self.kernel.tree, dts))
        manifest = self.root / "origin" / "rootfs" / "manifest.toml"
        initrd = to / "initramfs.cpio"
        initrd.write_bytes(cpio.archive(read_manifest(manifest, self._base.release, files)))
        copies = {}
        for path in (self.kernel.zimage, self.kernel.vmlinux, self.kernel.system_map):
            copies[path.name] = Path(shutil.copy2(path, to))
        return preflight.with_parts(
            ImageSet(
                kernel=copies["zImage"],
                dtb=dtb,
                initrd=initrd,
                module=files["module"],
                app=files["app"],
                vmlinux=copies["vmlinux"],
                system_map=copies["System.map"],
                release=self._base.release,
                features=self._base.features | OURS,
            )
        )

    def _make_kernel(self) -> bool:
        """Makes the kernel where it is not made from what is there; True for a changed kernel."""
        files = [path for path in self.touched if path.startswith("linux/")]
        wanted = {path: _digest(self.root / path) for path in files}
        wanted = {p: d for p, d in wanted.items() if d != _digest(self._origin(p))}
        made = self.root / "made.json"
        if not made.exists() or json.loads(made.read_text()) != wanted:
            made.unlink(missing_ok=True)
            with self._making():
                words = make_words(self.kernel.tree, self._jobs)
                self._tools(self.root).run([*words, *TARGETS], "making the kernel")
            if not wanted and _digest(self.kernel.zimage) != _digest(self._base.zimage):
                # The proof that nothing of an earlier patch is left in the objects has failed.
                self._progress.say("the restored tree does not give the kernel that it gave before")
                self._copy()
            _write_json(made, wanted)
        return bool(wanted)

    def _make_module(self, to: Path) -> Path:
        source = self.root / "images" / "module"
        words = [*make_words(self.kernel.tree, self._jobs), f"M={source}", "modules"]
        with self._making():
            self._tools(to).run(words, "making cma.ko")
        return Path(shutil.copy2(source / "cma.ko", to))

    def _make_app(self, to: Path) -> Path:
        source = self.root / "images" / "app"
        return userland.compile_program(self._tools(to), userland.APP, source)

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """A make that is killed may leave half an object that looks new: the mark stays then."""
        mark = self.root / "making"
        mark.touch()
        try:
            yield
        except BuildError:
            mark.unlink()
            raise
        mark.unlink()


def _write_json(path: Path, content: object) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content) + "\n")
    new.replace(path)


def _replace(source: Path, place: Path) -> None:
    new = place.with_name(f".{place.name}.new")
    shutil.copyfile(source, new)
    shutil.copymode(source, new)
    new.replace(place)


def _own(path: Path) -> None:
    """Makes a hard link a file of its own, time kept: what is linked to is the cache's."""
    if path.exists() and path.stat().st_nlink > 1:
        times = path.stat()
        _replace(path, path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextlib.contextmanager
def open_workshop(
    cache: Cache,
    kernel: str | Path | None,
    progress: Progress,
    jobs: int | None = None,
) -> Iterator[Workshop]:
    """The workshop of a kernel (see `resolve`), clean, for this process alone; clean afterwards.

    Waits where another process has it. Raises `UserError`, `BuildError`.
    """
    parts = rootfs_parts(cache, progress)
    source = resolve(kernel, cache)
    key, built = build_kernel(cache, source, Recipe.ours(), progress)
    module = build_module(cache, built, key.slug, progress)
    parts["module"] = module
    root = cache.directory("workshops") / source.label
    with FileLock(cache.directory("locks") / f"workshop-{source.label}.lock") as lock:
        lock.exclusive(lambda who: progress.say(f"waiting for {who}, which is in {root}"))
        free = shutil.disk_usage(cache.root).free
        if not root.exists() and free < TREE_BYTES // 4:
            raise UserError(f"{cache.root} has only {free >> 20} MiB free")
        workshop = Workshop(root, built, key.slug, parts, lock, progress, cache, jobs)
        workshop.prepare()
        try:
            yield workshop
        finally:
            workshop.restore()
