# SPDX-License-Identifier: MIT
"""A shared tier of the cache: finished entries in a directory, on a web server, in an S3 bucket.

An entry ``SLUG`` is the archive ``SLUG.tar.lz4`` (`harness.builders.archive`) and ``SLUG.json``,
its size and SHA-256, which is written last. What is taken is checked against that, and then file by
file against the entry's own record; what is not as it should be is refused, said, and built.

Whoever can write there could leave an entry of his own making that is right in itself: with a
secret in `KEY`, only what was signed with it (HMAC-SHA256) is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from harness.builders import archive
from harness.builders.key import Say
from harness.errors import HarnessError, UserError
from harness.host.userpath import expanded
from harness.host.webaddress import TROUBLE, split
from harness.plaintext import line

ENVIRONMENT = "HARNESS_CACHE_URL"
KEY = "HARNESS_CACHE_KEY"
"""In the environment: a file with the secret that entries are signed with."""
TIMEOUT = 60.0
PIECE = 1 << 20
_NOT_SHARED = ("deb-", "biscuitos-")
"""Kinds of entries that are not offered: apt has them, or they are made in a moment."""


class NoFile(HarnessError):
    """The tier does not have it."""


class Store:
    """Whole files by name. This one is a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str, to: IO[bytes]) -> None:
        """Copies a file. Raises `NoFile`, `HarnessError`."""
        try:
            with (self._root / name).open("rb") as file:
                shutil.copyfileobj(file, to, PIECE)
        except FileNotFoundError as error:
            raise NoFile(f"{self._root} has no {name}") from error
        except OSError as error:
            raise HarnessError(f"cannot read {self._root / name}: {error}") from error

    def put(self, name: str, file: Path) -> None:
        """Adds a file, whole or not at all. Raises `HarnessError`."""
        new = self._root / f".{name}.{os.getpid()}.new"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, new)
                new.replace(self._root / name)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            raise HarnessError(f"cannot write to {self._root}: {error}") from error


class WebStore(Store):
    """A directory on a web server; only read."""

    def __init__(self, url: str) -> None:
        super().__init__(Path())
        self._url = url.rstrip("/")

    def get(self, name: str, to: IO[bytes]) -> None:
        """See `Store`."""
        address = f"{self._url}/{urllib.parse.quote(name)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, to, PIECE)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (403, 404, 410):
                    raise NoFile(f"{address}: {error.code}") from error
                raise HarnessError(f"{address}: {error.code} {error.reason}") from error
        except TROUBLE as error:
            raise HarnessError(f"{address} cannot be read: {line(str(error), 200)}") from error

    def put(self, name: str, file: Path) -> None:
        """Nothing: whoever runs the server fills it."""


class FsspecStore(Store):
    """Whatever fsspec knows: ``s3://bucket/prefix``."""

    def __init__(self, url: str) -> None:
        """Raises whatever its file system does."""
        super().__init__(Path())
        import fsspec

        self._files, self._place = fsspec.core.url_to_fs(url)

    def get(self, name: str, to: IO[bytes]) -> None:
        """See `Store`."""
        with self._told(name), self._files.open(f"{self._place}/{name}", "rb") as file:
            shutil.copyfileobj(file, to, PIECE)

    def put(self, name: str, file: Path) -> None:
        """See `Store`."""
        with self._told(name):
            self._files.put_file(str(file), f"{self._place}/{name}")

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NoFile(f"{self._place} has no {name}") from error
        except Exception as error:  # each file system has errors of its own
            raise HarnessError(f"{self._place}/{name}: {error}") from error


def store_of(url: str, what: str = ENVIRONMENT) -> Store:
    """The store at an address, which `what` named. Raises `UserError` for one that cannot be used,
    `HarnessError` for one that is away.
    """
    parts = split(url if "://" in url or url.startswith("file:") else "", what)
    if parts.scheme in ("http", "https"):
        return WebStore(url)
    if parts.scheme in ("", "file"):
        path = expanded(urllib.parse.unquote(parts.path) if parts.scheme else url)
        if not path.is_absolute():
            raise UserError(f"{what} {url}: name an absolute path")
        return Store(path)
    try:
        return FsspecStore(parts.scheme + url[len(parts.scheme) :])
    except OSError as error:
        raise HarnessError(f"{what} {url}: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise UserError(f"{what} {url} cannot be used: {error}") from error


class Tier:
    """Entries in a store."""

    def __init__(self, store: Store, secret: bytes = b"") -> None:
        self._store = store
        self._secret = secret

    def fetch(self, slug: str, to: Path, tmp: Path, say: Say) -> bool:
        """Lays the entry into the empty directory `to`, where the tier has it whole; `tmp` is for
        the archive. Why one is refused is said; then `to` is empty.
        """
        packed = tmp / f"{slug}{archive.SUFFIX}"
        try:
            known = self._known(slug, tmp)
            archive.room(tmp, 5 * known["size"])
            with packed.open("wb") as file:
                self._store.get(packed.name, file)
            self._check(packed, known)
            archive.unpack(packed, to, slug)
        except NoFile:
            return False
        except (HarnessError, OSError) as error:
            say(f"not taken from the shared cache: {error}")
            shutil.rmtree(to, ignore_errors=True)
            to.mkdir()
            return False
        finally:
            packed.unlink(missing_ok=True)
        say(f"{slug} comes from the shared cache")
        return True

    def _known(self, slug: str, tmp: Path) -> dict[str, Any]:
        path = tmp / f"{slug}.json"
        try:
            with path.open("wb") as file:
                self._store.get(path.name, file)
            content = json.loads(path.read_bytes())
            size, digest = int(content["size"]), str(content["sha256"])
            signed = str(content.get("hmac", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise archive.BadArchive(f"{slug}.json is damaged") from error
        finally:
            path.unlink(missing_ok=True)
        if self._secret and not hmac.compare_digest(signed, self._sign(slug, digest)):
            raise archive.BadArchive(f"{slug} is not signed with the secret in {KEY}")
        return {"size": size, "sha256": digest}

    def _check(self, packed: Path, known: dict[str, Any]) -> None:
        size = packed.stat().st_size
        if size != known["size"]:
            raise archive.BadArchive(f"{packed.name} has {size} bytes, not {known['size']}")
        if _digest(packed) != known["sha256"]:
            raise archive.BadArchive(f"{packed.name} has not the digest that it should have")

    def _sign(self, slug: str, digest: str) -> str:
        return hmac.new(self._secret, f"{slug} {digest}".encode(), hashlib.sha256).hexdigest()

    def offer(self, slug: str, entry: Path, tmp: Path, say: Say) -> None:
        """Leaves a finished entry there; that it cannot is said, and no error."""
        if slug.startswith(_NOT_SHARED) or type(self._store) is WebStore:
            return
        packed = tmp / f"{slug}{archive.SUFFIX}"
        about = tmp / f"{slug}.json"
        try:
            archive.pack(entry, packed)
            content = {"size": packed.stat().st_size, "sha256": _digest(packed)}
            if self._secret:
                content["hmac"] = self._sign(slug, str(content["sha256"]))
            about.write_text(json.dumps(content) + "\n")
            self._store.put(packed.name, packed)
            self._store.put(about.name, about)
        except (HarnessError, OSError) as error:
            say(f"{slug} was not left in the shared cache: {error}")
        finally:
            packed.unlink(missing_ok=True)
            about.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tier_of_environment() -> Tier | None:
    """The tier that the user named, if he did. Raises `UserError` for one that cannot be used."""
    url = os.environ.get(ENVIRONMENT, "")
    if not url:
        return None
    secret = b""
    if named := os.environ.get(KEY, ""):
        try:
            secret = expanded(named).read_bytes().strip()
        except OSError as error:
            raise UserError(f"cannot read {KEY}={named}: {error.strerror}") from error
        if not secret:
            raise UserError(f"{KEY}={named} is empty")
    return Tier(store_of(url), secret)
