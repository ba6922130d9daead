# SPDX-License-Identifier: MIT
"""The shared tier: what comes from it is what was left there, or it is built."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.builders import archive
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.manifest import MANIFEST
from harness.builders.tier import ENVIRONMENT, KEY, store_of
from harness.errors import UserError

THING = Key("thing", {"source": "1"})
OTHER = Key("thing", {"source": "2"})


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "shared"
    monkeypatch.setenv(ENVIRONMENT, f"file://{place}")
    return place


class Machine:
    """A cache of its own, and how often it built."""

    def __init__(self, root: Path) -> None:
        self.said: list[str] = []
        self.cache = Cache(root, self.said.append)
        self.built = 0

    def build(self, build_dir: BuildDirectory) -> None:
        self.built += 1
        out = build_dir.out
        (out / "sub").mkdir()
        (out / "sub" / "file").write_text("content")
        (out / "program").write_text("#!/bin/sh\n")
        (out / "program").chmod(0o755)
        (out / "link").symlink_to("sub/file")
        os.utime(out / "program", ns=(1, 1_700_000_000_123_456_789))

    def get(self, key: Key = THING) -> Path:
        return self.cache.entry(key, self.build)


def test_what_one_machine_built_another_takes_with_modes_times_and_links(
    shared: Path, tmp_path: Path
) -> None:
    one, two = Machine(tmp_path / "one"), Machine(tmp_path / "two")
    made, taken = one.get(), two.get()
    assert (one.built, two.built) == (1, 0)
    assert (taken / "link").readlink() == Path("sub/file")
    for name in ("program", "sub/file", MANIFEST):
        before, after = (made / name).stat(), (taken / name).stat()
        assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
        assert (made / name).read_bytes() == (taken / name).read_bytes()
    assert any("comes from the shared cache" in line for line in two.said)
    assert sorted(path.name for path in shared.iterdir()) == [
        f"{THING.slug}.json",
        f"{THING.slug}.tar.lz4",
    ]


def repacked(shared: Path, work: Path, change: Callable[[Path], None], signed: bool = True) -> None:
    """The entry in the tier with a change; `signed`: its digest fits, as a forger makes it."""
    packed = shared / f"{THING.slug}.tar.lz4"
    out = work / "forged"
    out.mkdir()
    archive.unpack(packed, out, THING.slug)
    change(out)
    archive.pack(out, packed)
    if signed:
        import hashlib

        digest = hashlib.sha256(packed.read_bytes()).hexdigest()
        content = {"size": packed.stat().st_size, "sha256": digest}
        (shared / f"{THING.slug}.json").write_text(json.dumps(content))


def changed(out: Path) -> None:
    (out / "sub" / "file").write_text("CONTENT")


def added(out: Path) -> None:
    (out / "sub" / "more").write_text("more")


def led_out(out: Path) -> None:
    (out / "link").unlink()
    (out / "link").symlink_to("/etc/passwd")


def nothing(out: Path) -> None:
    (out / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed, "not as they were made: sub/file"),
        (added, "its record does not have sub/more"),
        (led_out, "link leads out of it"),
        (nothing, "it has no manifest"),
    ],
)
def test_a_poisoned_entry_is_refused_said_and_built(
    shared: Path, tmp_path: Path, change: Callable[[Path], None], why: str
) -> None:
    Machine(tmp_path / "one").get()
    repacked(shared, tmp_path, change)
    two = Machine(tmp_path / "two")
    taken = two.get()
    assert two.built == 1
    assert why in "\n".join(two.said)
    assert (taken / "sub" / "file").read_text() == "content"


@pytest.mark.parametrize("left", [0, 10, 100])
def test_one_that_is_cut_off_is_refused_and_built(shared: Path, tmp_path: Path, left: int) -> None:
    Machine(tmp_path / "one").get()
    packed = shared / f"{THING.slug}.tar.lz4"
    packed.write_bytes(packed.read_bytes()[:left])
    two = Machine(tmp_path / "two")
    two.get()
    assert two.built == 1
    assert f"has {left} bytes" in "\n".join(two.said)


def test_another_entry_under_its_name_is_refused(shared: Path, tmp_path: Path) -> None:
    Machine(tmp_path / "one").get(OTHER)
    for suffix in (".json", ".tar.lz4"):
        (shared / f"{OTHER.slug}{suffix}").rename(shared / f"{THING.slug}{suffix}")
    two = Machine(tmp_path / "two")
    two.get()
    assert two.built == 1
    assert f"it is {OTHER.slug}" in "\n".join(two.said)


def test_with_a_secret_only_what_is_signed_with_it_is_taken(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one secret\n")
    monkeypatch.setenv(KEY, str(secret))
    Machine(tmp_path / "one").get()
    two = Machine(tmp_path / "two")
    two.get()
    assert two.built == 0
    secret.write_text("another secret\n")
    three = Machine(tmp_path / "three")
    three.get()
    assert three.built == 1
    assert "is not signed with the secret" in "\n".join(three.said)


@pytest.fixture
def web(shared: Path) -> Iterator[str]:
    shared.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(shared))
    handler.log_message = lambda *words: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server_is_read_and_not_written(
    web: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(tmp_path / "one").get()
    monkeypatch.setenv(ENVIRONMENT, web)
    two = Machine(tmp_path / "two")
    two.get()
    two.get(OTHER)
    assert two.built == 1  # the other one
    assert len(list(shared.iterdir())) == 2
    packed = shared / f"{THING.slug}.tar.lz4"
    packed.write_bytes(packed.read_bytes()[:-1] + b"x")
    three = Machine(tmp_path / "three")
    three.get()
    assert three.built == 1
    assert "has not the digest" in "\n".join(three.said)


def test_a_server_that_is_away_is_said_and_costs_only_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "http://127.0.0.1:9/cache")
    one = Machine(tmp_path / "one")
    one.get()
    assert one.built == 1
    assert "cannot be read" in "\n".join(one.said)


def test_a_server_that_breaks_off_is_said_and_costs_only_the_build(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(handler: http.server.SimpleHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "do_GET", cut_off)
    monkeypatch.setenv(ENVIRONMENT, web.replace("http", "HTTP"))
    one = Machine(tmp_path / "one")
    one.get()
    assert one.built == 1
    assert "IncompleteRead" in "\n".join(one.said)


@pytest.mark.parametrize(
    "url",
    ["relative/path", "file://relative", "nonsense://x/y", "http://", "http://[::1", "http://h:x/"],
)
def test_an_address_that_cannot_be_used_is_the_user_s_mistake(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, url)
    with pytest.raises(UserError, match=ENVIRONMENT):
        Machine(tmp_path / "one").get()


@pytest.mark.parametrize("url", ["file:/srv/cache", "file:///srv/cache", "/srv/cache"])
def test_a_directory_is_named_in_three_ways(url: str) -> None:
    assert store_of(url)._root == Path("/srv/cache")
