# SPDX-License-Identifier: MIT
"""Files of the cache are cut or flipped: it is noticed, said and mended, and nobody is blamed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.builders.cache import Cache
from harness.builders.imageset import rootfs_parts
from harness.builders.kernel import CHECKED, KernelTree
from harness.builders.manifest import MANIFEST, damaged_files, write_manifest
from harness.guest.guest import Guest
from harness.host.integrity import SEAL
from harness.host.progress import LineProgress
from harness.machine.config import MachineConfig
from harness.machine.template import TemplateStore, damaged
from harness.pytest_plugin.session import Session
from harness.testrun.suite import Suite

Damage = Callable[[Path, random.Random], None]


def cut(path: Path, chance: random.Random) -> None:
    """Cuts a file short, at random; an empty one grows."""
    size = path.stat().st_size
    os.truncate(path, chance.randrange(size) if size else 1)


def flip(path: Path, chance: random.Random) -> None:
    """Turns one bit of a file."""
    with path.open("r+b") as file:
        file.seek(chance.randrange(max(1, path.stat().st_size)))
        byte = file.read(1) or b"\\0"
        file.seek(-len(byte) if file.tell() else 0, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1 << chance.randrange(8)]))


def unnoticed(path: Path, chance: random.Random) -> None:
    """The same, and its times say nothing of it."""
    info = path.stat()
    flip(path, chance)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.needs("agent")
class TestTemplates:
    @pytest.mark.parametrize("damage", [cut, flip])
    @pytest.mark.parametrize("name", ["ram", "state", "console.log", SEAL])
    def test_a_damaged_template_is_made_again(
        self,
        machine_config: MachineConfig,
        tmp_path: Path,
        chance: random.Random,
        name: str,
        damage: Damage,
    ) -> None:
        store, said = TemplateStore(tmp_path), list[str]()
        template = store.get(machine_config)
        damage(template.directory / name, chance)
        again = store.get(machine_config, say=said.append)
        assert said[0].startswith("booting a template")
        assert name in said[0] or name == SEAL
        assert damaged(again.directory, wholly=True) == []
        with again.clone() as machine:
            assert Guest(machine).run("echo alive").text == "alive\n"

    def test_what_is_not_damaged_is_taken_as_it_is(
        self, machine_config: MachineConfig, tmp_path: Path
    ) -> None:
        store, said = TemplateStore(tmp_path), list[str]()
        template = store.get(machine_config)
        for _ in range(3):
            with template.clone() as machine:
                Guest(machine).run("dd if=/dev/zero of=/tmp/x bs=1M count=20 2>/dev/null")
        assert damaged(template.directory, wholly=True) == [], "a clone writes nothing there"
        store.get(machine_config, say=said.append)
        assert said == []

    def test_nobody_is_blamed_for_4_kib_of_a_template_s_memory(
        self,
        qemu_session: Session,
        machine_config: MachineConfig,
        tmp_path: Path,
    ) -> None:
        """Overwritten behind the back of all that looks at times."""
        victims = tmp_path / "test_victims.py"
        victims.write_text(VICTIMS)
        suite = Suite(qemu_session.cache, tmp_path / "cache")
        run = suite.run(machine_config.images, tmp_path / "run", targets=[str(victims)])
        (case,) = run.cases
        assert case.verdict == "infrastructure", case
        assert "DamagedCache" in case.message, case
        assert "ram" in case.message


VICTIMS = """\
import os
import pytest
from harness.machine.template import Template

pytestmark = pytest.mark.needs("agent")

def test_it(templates, machine_config, boots):
    template = templates.get(machine_config)
    ram = template.directory / "ram"
    info = ram.stat()
    with ram.open("r+b") as file:
        file.seek(400 << 20)
        file.write(os.urandom(4096))
    os.utime(ram, ns=(info.st_atime_ns, info.st_mtime_ns))
    boots.templates = Given(template)
    boots.clone(machine_config, "booted", None)
    raise AssertionError("something that is wrong for that")

class Given:
    def __init__(self, template):
        self.template = template

    def get(self, *words, **more):
        return self.template

    def discard(self, template):
        pass
"""


@pytest.fixture
def own_cache(qemu_session: Session, machine_config: MachineConfig, tmp_path: Path) -> Cache:
    """A cache with copies of the entries of our images; of the kernel what is booted only."""
    cache = Cache(tmp_path / "cache")
    entries = cache.directory("entries")
    for entry in sorted((qemu_session.cache / "entries").iterdir()):
        if entry.name.startswith("kernel-") or "linux-source" in entry.name:
            continue
        shutil.copytree(entry, entries / entry.name, symlinks=True)
    for name in ("pins", "apt", "apt-native"):
        with contextlib.suppress(OSError):
            (cache.root / name).symlink_to(qemu_session.cache / name)
    for entry in entries.iterdir():
        for name in (SEAL, MANIFEST):
            (entry / name).unlink(missing_ok=True)
        write_manifest(entry, entry.name.rpartition("-")[0], {}, 0.0)
    return cache


@pytest.mark.needs("agent")
@pytest.mark.parametrize("damage", [cut, flip, unnoticed])
def test_every_file_of_every_entry(
    own_cache: Cache, rounds: int, chance: random.Random, damage: Damage
) -> None:
    """A look, or before a verdict a whole read, finds each; the entry is none then."""
    files = [
        path
        for path in (own_cache.root / "entries").rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in (MANIFEST, SEAL)
        if path.stat().st_size
    ]
    for path in chance.sample(files, min(len(files), 10 * rounds)):
        entry = own_cache.root / "entries" / path.relative_to(own_cache.root / "entries").parts[0]
        kept, info = path.read_bytes(), path.stat()
        manifest = (entry / MANIFEST).read_bytes()
        damage(path, chance)
        if damage is not unnoticed:
            assert not own_cache._sound(entry), path
        assert damaged_files([path]) == [f"{entry.name}: {path.relative_to(entry)}"]
        assert not (entry / MANIFEST).exists()
        path.chmod(0o600)
        path.write_bytes(kept)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        (entry / MANIFEST).write_bytes(manifest)
        assert own_cache._sound(entry)


@pytest.mark.needs("agent")
def test_damaged_parts_are_built_again(own_cache: Cache, chance: random.Random) -> None:
    """With the real builders, of what is built in seconds."""
    said: list[str] = []
    own_cache.say = said.append
    progress = LineProgress()
    before = {
        n: path.read_bytes()
        for n, (_, path) in rootfs_parts(own_cache, progress).items()
        if path.is_file()
    }
    _release(own_cache)
    for name in ("app", "agent"):
        _, path = rootfs_parts(own_cache, progress)[name]
        _release(own_cache)
        cut(path, chance)
    parts = rootfs_parts(own_cache, progress)
    assert {n: p.read_bytes() for n, (_, p) in parts.items() if n in before} == before
    assert sum("is damaged" in line for line in said) == 2


def _release(cache: Cache) -> None:
    """What the end of a process does: nothing is in use."""
    from harness.builders import cache as module

    for lease in module._LEASES.values():
        lease.close()
    module._LEASES.clear()


@pytest.mark.needs("agent")
@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_kernel_is_no_kernel(
    machine_config: MachineConfig, tmp_path: Path, chance: random.Random, damage: Damage
) -> None:
    entry = tmp_path / "entries" / "kernel-6.1-0123456789abcdef"
    origin = machine_config.images.kernel.parents[5]
    for name in CHECKED:
        place = entry / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin / name, place)
    write_manifest(entry, "kernel-6.1", {}, 0.0, CHECKED)
    cache = Cache(tmp_path)
    assert cache._sound(entry)
    KernelTree.of(entry)
    for name in CHECKED:
        kept, info = (entry / name).read_bytes(), (entry / name).stat()
        damage(entry / name, chance)
        assert not cache._sound(entry), name
        (entry / name).write_bytes(kept)
        os.utime(entry / name, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert cache._sound(entry)
