# SPDX-License-Identifier: MIT
"""Short programs that read what is not trusted: they see it, and nothing else."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host import confine, launch, seccomp, tool
from harness.host.confine import Confinement, Means, NoMeans, Program


@pytest.fixture(autouse=True)
def _needs_means() -> None:
    try:
        confine.find()
    except NoMeans as error:
        pytest.skip(str(error).partition("\n")[0])


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that another uid can get to."""
    with tempfile.TemporaryDirectory(prefix="confine-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_it_reads_what_it_is_given_and_nothing_else(place: Path) -> None:
    for name in ("given", "secret"):
        (place / name).write_text(f"{name}\n")
    command = ["cat", *(str(place / name) for name in ("given", "secret")), "/etc/shadow"]
    done = tool.run(command, [place / "given"])
    assert done.stdout == b"given\n"
    assert done.returncode != 0


def test_it_reads_its_input(place: Path) -> None:
    assert tool.run(["tr", "a-z", "A-Z"], data=b"abc" * 100_000).stdout == b"ABC" * 100_000


def test_it_writes_nothing(place: Path) -> None:
    given = place / "given"
    given.write_text("mine")
    given.chmod(0o666)
    assert tool.run(["sh", "-c", f"echo x >{given}"], [given]).returncode != 0
    assert given.read_text() == "mine"


def test_it_has_no_privileges_no_environment_and_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    script = "cat /proc/self/status; env; getent ahosts localhost; exec 3<>/dev/tcp/127.0.0.1/1"
    done = tool.run(["bash", "-c", script])
    text = done.stdout.decode()
    assert "Seccomp:\t2" in text
    assert "NoNewPrivs:\t1" in text
    assert "Uid:\t0\t" not in text
    assert "CapEff:\t0000000000000000" in text
    assert "s3cret" not in text
    assert b"socket" in done.stderr


def test_it_is_ended_at_its_deadline() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        tool.run(["sleep", "600"], seconds=0.2)


def test_what_it_leaves_behind_without_namespaces_ends_with_it(place: Path) -> None:
    landlock = launch.landlock_version()
    if not landlock:
        pytest.skip("this kernel has no Landlock")
    how = confine.Confinement(Means.BARE, confine.other_uid(), True, False, landlock)
    script = "for i in 1 2 3; do setsid sh -c 'sleep 600 & sleep 600' & done; echo $$"
    mark = f"CONFINE_TEST_{os.getpid()}"
    program = Program(("sh", "-c", script), Path("/"), environment={mark: "1"})
    assert confine.run(how, program, 20).returncode == 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        assert f"{mark}=1".encode() not in environment or int(process.name) == os.getpid()


def test_the_other_uid_is_nobody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert confine.other_uid.__wrapped__() is None
    monkeypatch.setattr(os, "getuid", lambda: 0)
    uid = confine.other_uid.__wrapped__()
    assert uid is not None
    assert 0 < uid < 65535


def test_giving_a_tree_follows_no_link(place: Path) -> None:
    tree, outside = place / "tree", place / "outside"
    outside.write_text("mine")
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "up").symlink_to(place)
    before = outside.stat().st_uid, place.stat().st_uid
    confine.give_tree(tree)
    assert (outside.stat().st_uid, place.stat().st_uid) == before
    assert (tree / "a" / "link").lstat().st_uid == (confine.other_uid() or os.getuid())


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("asked", [True, False])
def test_a_filter_is_one_that_the_kernel_can_take(architecture: str, asked: bool) -> None:
    for rules in (seccomp.refusals(asked, signals=False), seccomp.questions()):
        code = seccomp.assemble(rules, architecture)
        instructions = [code[at : at + 8] for at in range(0, len(code), 8)]
        assert len(instructions) < 4096
        for number, instruction in enumerate(instructions):
            true, false = instruction[2], instruction[3]
            assert number + max(true, false) < len(instructions)
        assert instructions[-1] == b"\x06\x00\x00\x00\x00\x00\xff\x7f"


def test_what_is_asked_is_not_refused_before() -> None:
    asked = {rule.call for rule in seccomp.questions()}
    assert not asked & {rule.call for rule in seccomp.refusals(asked=True)}
    assert "socket" in {rule.call for rule in seccomp.refusals(asked=False)}


def test_what_does_not_end_with_its_parent_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As bubblewrap's child in the moments before it asks for its death signal."""
    ours, theirs = os.pipe()

    @contextlib.contextmanager
    def prepared(how: Confinement, program: Program) -> Iterator[tuple[list[str], list[int], None]]:
        yield ["sh", "-c", "sleep 600 & wait"], [theirs], None

    monkeypatch.setattr(confine, "prepared", prepared)
    how = Confinement(Means.NAMESPACES, None, False, False, 0)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            confine.run(how, Program(("true",), Path("/")), 0.5)
    finally:
        os.close(theirs)
    ended, _, _ = select.select([ours], [], [], 20)
    os.close(ours)
    assert ended, "nobody has the other end any more"
