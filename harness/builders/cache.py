# SPDX-License-Identifier: MIT
"""Content-addressed store of build results: the key of an entry is the digest of all that went in.

Layout under `cache_root`:

- ``entries/NAME-DIGEST/``: one finished result each, never changed afterwards. It appears by one
  rename, so a partial result is never visible.
- ``locks/NAME-DIGEST.lock``: held exclusively while the entry is built or removed, shared by every
  process that uses it. The kernel drops it when the process dies.
- ``tmp/NAME-DIGEST.*/``: work in progress; debris where nobody holds its lock.
- ``logs/``, ``pins/``, ``steps/``, ``apt/``, ``ccache/``, ``blobs/``: help for the next
  build, safe to delete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pwd
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from harness.builders.key import Key as Key
from harness.builders.key import Say, Source
from harness.builders.manifest import MANIFEST, condemned, few, sealed, touch, write_manifest
from harness.builders.tier import tier_of_environment
from harness.errors import UserError
from harness.host.files import sync
from harness.host.integrity import damage
from harness.host.locking import FileLock
from harness.host.userpath import expanded

ENVIRONMENT = "HARNESS_CACHE"
COMPILED = "pycache"
"""Python's compiled modules: a process may leave them there before anybody opens the cache."""
DEBRIS = (
    "apt",
    "apt-native",
    "ccache",
    "logs",
    "pins",
    "steps",
    "baselines",
    "blobs",
    COMPILED,
)
TAG = "CACHEDIR.TAG"
TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# What the vexpress-a9 CMA harness builds. See https://bford.info/cachedir/
"""
NAMES = frozenset(DEBRIS) | {
    "entries",
    "locks",
    "tmp",
    "templates",
    "trees",
    "bench",
    "sequences",
    TAG,
}
"""What there may be in a cache of ours."""
_SLUG = re.compile(r"[\w.+-]+-[0-9a-f]{16}\.\w+")
"""A directory of work in progress."""

# Leases of this process, by lock file: an entry in use stays until the process ends.
_LEASES: dict[Path, FileLock] = {}
_SWEPT: set[Path] = set()


def cache_root() -> Path:
    """Where the cache is: ``$HARNESS_CACHE``, else in the user's cache. It need not exist."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return expanded(override).absolute()
    import platformdirs

    try:
        return platformdirs.user_cache_path("vexpress-cma-harness")
    except RuntimeError:
        raise UserError(f"no home is known for the cache: set HOME, or {ENVIRONMENT}") from None


@dataclasses.dataclass(frozen=True)
class BuildDirectory:
    """Where one build works. Only `out` becomes the entry."""

    out: Path
    tmp: Path
    """For ``TMPDIR``; gone after the build."""
    log: Path
    """Log file for this build's tools; it stays."""
    lock_fd: int
    """ToolRunner inherit it: the entry stays locked until the last of them is gone."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A finished result. Times are seconds since the epoch, `size` is bytes on disk."""

    slug: str
    path: Path
    name: str
    inputs: Mapping[str, str]
    created: float
    used: float
    size: int


class Cache:
    """The store. Cheap to make; nothing is created before it is needed."""

    def __init__(self, root: Path | None = None, say: Say = lambda text: None) -> None:
        self.root = root if root is not None else cache_root()
        self.say = say
        self.offline = False
        """Set where only existing entries count: apt is not asked for a version."""
        self.sources: tuple[Source, ...] | None = None
        """Where finished entries may come from; None: the tier that the environment names."""

    def directory(self, name: str) -> Path:
        """A directory of the cache, made where missing. Raises `UserError` if it cannot be."""
        path = self.root / name
        with self._explained():
            self._take()
            path.mkdir(parents=True, exist_ok=True)
        return path

    def _take(self) -> None:
        """Makes the root, or sees that it is a cache of ours: nothing in it is removed else.

        Raises `OSError`, `UserError`.
        """
        if (self.root / TAG).exists():
            return
        if not self.root.exists():
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700, exist_ok=True)
        names = {path.name for path in self.root.iterdir()} - {COMPILED}
        if TAG in names:
            return  # another process has just made it
        if names and not (names <= NAMES and names & {"entries", "locks", "templates"}):
            raise UserError(
                f"{self.root} holds files and is no cache of this harness: name a new directory, or"
                f" an empty one, in {ENVIRONMENT}"
            )
        with contextlib.suppress(OSError):  # one that is only read serves too
            (self.root / TAG).write_text(TAG_TEXT)

    @property
    def compiler_environment(self) -> dict[str, str]:
        """Variables for a build: where ccache keeps its files, unless the user says so."""
        return {"CCACHE_DIR": os.environ.get("CCACHE_DIR") or str(self.root / "ccache")}

    def entry(
        self,
        key: Key,
        build: Callable[[BuildDirectory], None],
        needs: int = 0,
        checked: Collection[str] | None = None,
    ) -> Path:
        """The directory with the result for `key`, built now if the cache does not have it, or has
        it damaged: the size and time of its files are looked at each time, of those that are named
        in `checked` where it has too many.

        The result is in use, and safe from `prune`, until this process ends. `needs` is the room
        that a build takes, in bytes. Raises `UserError` where the cache cannot be written.
        """
        path = self.root / "entries" / key.slug
        lock_path = self.root / "locks" / f"{key.slug}.lock"
        if lock_path in _LEASES and (path / MANIFEST).exists():
            return path
        if (lease := _LEASES.pop(lock_path, None)) is not None:
            lease.close()  # it was found damaged since: else we would wait for ourselves
        self.directory("locks")
        self._sweep_once()
        with self._explained():
            lock = FileLock(lock_path)
        try:
            while True:
                lock.shared(lambda who: self.say(f"waiting for {who}, which builds {key.name}"))
                if self._sound(path):
                    break
                lock.exclusive(lambda who: self.say(f"waiting for {who}, which uses {key.name}"))
                if not self._sound(path, say=self.say):
                    self._build(key, build, needs, lock, checked)
        except BaseException:
            lock.close()
            raise
        touch(path)
        _LEASES[lock_path] = lock
        return path

    def _sound(self, path: Path, say: Say = lambda text: None) -> bool:
        """Whether an entry is finished, and the sizes and times of its files are as recorded."""
        if not (path / MANIFEST).exists():
            return False
        try:
            bad = damage(path, sealed(path))
        except (OSError, ValueError):
            bad = [MANIFEST]
        if bad:
            say(f"{path.name} in the cache is damaged ({few(bad)}): it is made again")
        return not bad

    def damaged(self, but: Collection[str] = ()) -> list[str]:
        """Reads all that this process has taken from the cache, wholly, `but` some entries; what is
        not what it was when it was made. That is made again when it is asked for next.
        """
        entries = [self.root / "entries" / slug for slug in self.leased() if slug not in but]
        return [bad for path in entries if (path / MANIFEST).exists() for bad in condemned(path)]

    def leased(self) -> list[str]:
        """The entries that this process has taken from the cache."""
        ours = [lock for lock in list(_LEASES) if lock.parent == self.root / "locks"]
        return [lock.name.removesuffix(".lock") for lock in ours]

    def find(self, key: Key) -> Path | None:
        """The entry's directory if it is there; neither built nor leased."""
        path = self.root / "entries" / key.slug
        return path if (path / MANIFEST).exists() else None

    def why(self, key: Key) -> str:
        """Why there is no entry for `key`: which inputs differ from the last build of that name."""
        before = [entry for entry in self.ls() if entry.name == key.name]
        if not before:
            return "not in the cache"
        last = max(before, key=lambda entry: entry.created).inputs
        names = sorted({*last, *key.inputs})
        changed = [name for name in names if last.get(name) != key.inputs.get(name)]
        return "changed since the last build: " + ", ".join(changed)

    def ls(self) -> list[Entry]:
        """All finished entries, by name and age. Raises `UserError` where they cannot be read."""
        found = []
        with self._explained():
            manifests = sorted((self.root / "entries").glob(f"*/{MANIFEST}"))
        for manifest in manifests:
            # Another process may remove an entry while we look.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(_read_entry(manifest))
        return sorted(found, key=lambda entry: (entry.name, entry.created))

    def prune(
        self, older_than: float | None = None, keep: Collection[str] = ()
    ) -> tuple[list[Entry], list[Entry]]:
        """Removes entries; returns (removed, spared because a process uses them).

        `older_than` is in seconds since the last use (None: any age); `keep` has slugs to leave.
        """
        removed: list[Entry] = []
        in_use: list[Entry] = []
        now = time.time()
        with self._explained():
            for entry in self.ls():
                young = older_than is not None and now - entry.used < older_than
                if young or entry.slug in keep:
                    continue
                (removed if self._remove(entry.path) else in_use).append(entry)
            if self.root.exists():
                self.sweep()
        return removed, in_use

    def prune_help(self) -> None:
        """Removes what only speeds up the next build: logs, package lists, compiler cache."""
        with self._explained():
            self._take()
            for name in DEBRIS:
                shutil.rmtree(self.root / name, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what killed builds left behind: unfinished entries whose lock is free."""
        for path in (self.root / "tmp").glob("*"):
            if not _SLUG.fullmatch(path.name):
                continue
            with FileLock(self.directory("locks") / f"{path.name.rpartition('.')[0]}.lock") as lock:
                if lock.try_exclusive():
                    shutil.rmtree(path, ignore_errors=True)

    def _sweep_once(self) -> None:
        """Sweeps at the first use in a process."""
        if self.root not in _SWEPT:
            _SWEPT.add(self.root)
            with contextlib.suppress(OSError):  # one that is only read has nothing left behind
                self.sweep()

    def _remove(self, path: Path) -> bool:
        with FileLock(self.directory("locks") / f"{path.name}.lock") as lock:
            if not lock.try_exclusive():
                return False
            self._discard(path)
            lock.remove()
        return True

    def _discard(self, path: Path) -> None:
        if path.exists():
            grave = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=self.directory("tmp")))
            path.rename(grave / "out")
            shutil.rmtree(grave, ignore_errors=True)

    def _build(
        self,
        key: Key,
        build: Callable[[BuildDirectory], None],
        needs: int,
        lock: FileLock,
        checked: Collection[str] | None,
    ) -> None:
        path = self.directory("entries") / key.slug
        tmp = self.directory("tmp")
        for debris in tmp.glob(f"{key.slug}.*"):
            shutil.rmtree(debris, ignore_errors=True)
        self.sweep()
        self._require(needs, key.name)
        with self._explained():
            self._discard(path)
            work = Path(tempfile.mkdtemp(prefix=f"{key.slug}.", dir=tmp))
        log = self.directory("logs") / f"{key.slug}.log"
        try:
            with self._explained():
                log.unlink(missing_ok=True)
                build_dir = BuildDirectory(work / "out", work / "tmp", log, lock.fd)
                build_dir.out.mkdir()
                build_dir.tmp.mkdir()
                taken = self._taken(key.slug, build_dir)
                if not taken:
                    begun = time.time()
                    build(build_dir)
                    write_manifest(build_dir.out, key.name, key.inputs, begun, checked)
                build_dir.out.rename(path)
                sync(path.parent)
            if not taken:
                for source in self.known_sources():
                    source.offer(key.slug, path, build_dir.tmp, self.say)
        except Exception:
            raise
        except BaseException:
            # A kernel tree takes seconds to remove, on a slow disk more.
            self.say(f"removing the unfinished {key.name} (interrupt again: the next build does)")
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def known_sources(self) -> tuple[Source, ...]:
        """`sources`. Raises `UserError` for a tier that cannot be used."""
        if self.sources is None:
            tier = tier_of_environment()
            self.sources = () if tier is None else (tier,)
        return self.sources

    def _taken(self, slug: str, to: BuildDirectory) -> bool:
        """Whether one of the sources had the entry; then it lies in ``out``, checked."""
        return any(source.fetch(slug, to.out, to.tmp, self.say) for source in self.known_sources())

    def _require(self, needs: int, name: str) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needs:
            raise UserError(
                f"the cache {self.root} has {_mib(free)} free, and building {name} takes about "
                f"{_mib(needs)}\n{self._advice()}"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> Exception:
        """`error` as `UserError` where the cache's file system is the reason, else itself."""
        where = f"the cache {self.root}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = "an unknown amount"
            with contextlib.suppress(OSError):
                free = _mib(shutil.disk_usage(self.root).free)
            return UserError(f"no space left for {where} ({free} free)\n{self._advice()}")
        named = Path(os.fsdecode(error.filename)) if error.filename else self.root
        ours = self.root in (named, *named.parents) or named in self.root.parents
        # ENOENT: a pseudo file system that lets nobody make a directory.
        refused = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
        if ours and error.errno in refused:
            said = f"{where} cannot be written: {error.strerror}{self._owner()}"
            return UserError(f"{said}\n{self._advice()}")
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and not self.root.is_dir():
            return UserError(f"{where} is not a directory\n{self._advice()}")
        return error

    def _owner(self) -> str:
        """Whose it is, where it is another user's."""
        with contextlib.suppress(OSError, KeyError):
            owner = self.root.stat().st_uid
            if owner != os.geteuid():
                return f"; it belongs to {pwd.getpwuid(owner).pw_name}, and each user has one"
        return ""

    def _advice(self) -> str:
        return (
            f"make room there, remove old entries with `harness cache prune`, or name "
            f"another directory in {ENVIRONMENT}"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _read_entry(manifest: Path) -> Entry:
    content = json.loads(manifest.read_text())
    return Entry(
        slug=manifest.parent.name,
        path=manifest.parent,
        name=str(content["name"]),
        inputs=dict(content["inputs"]),
        created=float(content["created"]),
        used=manifest.stat().st_mtime,
        size=int(content["size"]),
    )
