# SPDX-License-Identifier: MIT
"""What a hostile build may try: nothing of it reaches the host, and each attempt is reported."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builders import watch
from harness.builders.cache import BuildDirectory
from harness.builders.process import ToolRunner
from harness.builders.sandbox import Contained, NoSandbox, Sandbox, check
from harness.builders.watch import Limits
from harness.errors import BuildError
from harness.host import confine, launch
from harness.host.confine import Means

SMALL = Limits(seconds=20, memory=300 << 20, processes=40, disk=64 << 20, output=1 << 20)


class Place:
    """A build in a sandbox; `tree` is what it may write."""

    def __init__(self, directory: Path) -> None:
        self.tree = directory / "tree"
        self.outside = directory / "outside"
        for path in (self.tree, self.outside):
            path.mkdir()
        self.log = directory / "log"

    def run(self, script: str, limits: Limits = SMALL) -> str:
        """Runs a script of bash, and returns what it says."""
        confine.give(self.tree)
        lock = os.open("/dev/null", os.O_RDONLY)
        build_dir = BuildDirectory(self.tree, self.tree, self.log, lock)
        lines: list[str] = []
        try:
            tools = ToolRunner(build_dir, {"MARK": "given"}, Sandbox((self.tree,), limits))
            tools.run(["bash", "-c", script], "building", on_line=lines.append)
        finally:
            os.close(lock)
        return "\n".join(lines)


@pytest.fixture(params=list(Means), ids=lambda means: means.name.lower())
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A build's place; each test is run with each means of confinement that this host has."""
    try:
        best = check()
    except NoSandbox as error:
        pytest.skip(str(error).partition("\n")[0])
    landlock = launch.landlock_version() if request.param is Means.BARE else 0
    if request.param is Means.BARE and not landlock:
        pytest.skip("this kernel has no Landlock")
    if request.param is Means.HOST_PROC and best.uid is not None:
        pytest.skip("root has a /proc of its own")
    if best.means is Means.BARE and request.param is not Means.BARE:
        pytest.skip("there are no namespaces here")
    how = dataclasses.replace(best, means=request.param, landlock=landlock)
    monkeypatch.setattr(confine, "find", lambda: how)
    with tempfile.TemporaryDirectory(prefix="builds-") as name:
        # Another uid has to get to the tree where nothing can be mounted.
        Path(name).chmod(0o711)
        yield Place(Path(name))


@contextlib.contextmanager
def contained(what: str) -> Iterator[None]:
    with pytest.raises(Contained, match=what) as caught:
        yield
    assert "\n" not in caught.value.what


def test_a_build_builds(place: Place) -> None:
    assert place.run("echo made >made; gcc --version >/dev/null && cat made") == "made"
    assert (place.tree / "made").read_text() == "made\n"
    assert place.log.read_text().endswith("made\n")


def test_a_build_that_fails_is_no_more_than_that(place: Place) -> None:
    with pytest.raises(BuildError, match=r"exit status 3.*\nx\.c:1:1: error: no") as caught:
        place.run("echo 'x.c:1:1: error: no'; exit 3")
    assert not isinstance(caught.value, Contained)


def test_it_sees_nothing_of_the_caller(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    (place.outside / "secret").write_text("secret")
    seen = place.run(
        "env; cat /proc/[0-9]*/environ | tr '\\0' '\\n'; ls -A /root /home /tmp $HOME;"
        f" cat {place.outside}/secret /etc/passwd /etc/shadow;"
        " ls /proc | grep -c '^[0-9]'; cat /proc/self/status | grep CapEff; true"
    )
    assert "secret" not in seen.replace(f"{place.outside}/secret", "")
    assert "TOKEN" not in seen
    assert "root:x" not in seen
    assert "MARK=given" in seen
    assert "CapEff:\t0000000000000000" in seen


def test_it_has_no_privileges_and_never_will(place: Place) -> None:
    status = place.run("cat /proc/self/status; ls -ln /proc/$$ | tail -n 1")
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    uid = confine.other_uid() if os.getuid() == 0 else os.getuid()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
    assert uid != 0
    assert place.tree.stat().st_uid == uid


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/self/../sys/kernel/hostname",
        "link",
        "/dev/mem",
        "/sys/kernel/mm/lru_gen/enabled",
    ],
)
def test_opening_what_is_the_kernel_s_is_refused_and_told(place: Place, path: str) -> None:
    (place.tree / "link").symlink_to("/proc/sys/kernel/core_pattern")
    with contained("it tried to write outside its tree: /(proc/sys|dev/mem|sys)"):
        place.run(f"(exec 9>>{path}) 2>/dev/null && touch opened")
    assert not (place.tree / "opened").exists()


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("cp /bin/sh x; chmod 4755 x", "a set-uid file: .*/x"),
        ("cp /bin/sh x; chmod g+s x", "a set-uid file: .*/x"),
        ("perl -e 'use Fcntl; sysopen(F, \"x\", O_CREAT|O_WRONLY, 06755)'", "a set-uid file"),
        ("mknod x c 1 3", "a device node: .*/x"),
        ("mknod x b 8 0", "a device node: .*/x"),
    ],
)
def test_no_set_uid_file_and_no_device_is_made(place: Place, script: str, what: str) -> None:
    with contained(f"it tried to make {what}"):
        place.run(f"({script}) 2>/dev/null; true")
    modes = [path.lstat().st_mode for path in place.tree.iterdir()]
    assert not any(mode & 0o6000 or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) for mode in modes)


def test_a_descriptor_cannot_be_given_a_mode_either(place: Place) -> None:
    place.run("cp /bin/sh x; perl -e 'open(F, \"x\"); chmod(04755, *F)'; true")
    assert (place.tree / "x").stat().st_mode & 0o7000 == 0


def test_nobody_who_reports_can_be_spoken_into(place: Place) -> None:
    script = "for f in /proc/[0-9]*/fd/*; do [[ $f == /proc/$$/* ]] || readlink $f; done"
    seen = place.run(f"exec 2>/dev/null; {script}; true").splitlines()
    # Its own output, and what nobody can open. The first process has the host's /proc for a
    # moment: a build that has one of its own is begun after that.
    allowed = ["/dev/null", "pipe:", "anon_inode:[eventfd]", str(place.log)]
    if confine.find().means is Means.HOST_PROC:
        allowed.append("/proc")
    for line in set(seen):
        assert line.startswith(tuple(allowed)), line


@pytest.mark.parametrize("call", ["unshare -U true", "unshare -m true", "nsenter -t 1 -m true"])
def test_there_are_no_namespaces_to_be_had_inside(place: Place, call: str) -> None:
    assert "got" not in place.run(f"{call} 2>/dev/null && echo got; true")


def test_what_a_build_does_all_the_time_is_no_attempt(place: Place) -> None:
    place.run(
        "mkdir -p $PWD/a/b; cp /bin/true a/b/; mv a/b a/c; ln -s c a/d; rm -r a; echo x >/dev/null;"
        " echo x >/dev/stderr; echo x >/dev/fd/1; cat <(echo y) <<<z; ln made hard; : >>made; "
        " printf 'int main(void){return 0;}' | gcc -x c - -o prog && ./prog; id; mkfifo f"
    )


@pytest.mark.parametrize("where", ["/root/new", "/home/new", "/tmp/new", "$HOME/new", "/run/new"])
def test_writing_elsewhere_is_told_even_where_the_build_goes_on(place: Place, where: str) -> None:
    with contained(f"it tried to write outside its tree: .*/{Path(where).name}"):
        place.run(f"(echo x >{where} && rm -f {where}) 2>/dev/null; true")
    assert not os.path.lexists(os.path.expandvars(where))


@pytest.mark.parametrize("where", ["/usr/bin/x", "/lib/x"])
def test_the_system_cannot_be_written(place: Place, where: str) -> None:
    with contained("it tried to write outside its tree: /usr/"):
        place.run(f"(echo x >{where}) 2>/dev/null || true")
    assert not Path(where).exists()


def test_what_is_beside_the_tree_does_not_exist(place: Place) -> None:
    with pytest.raises(BuildError):
        place.run("touch ../outside/x")
    assert list(place.outside.iterdir()) == []


def test_a_link_out_of_the_tree_leads_nowhere(place: Place) -> None:
    (place.outside / "file").write_text("mine")
    with pytest.raises(BuildError):
        place.run(f"ln -s {place.outside}/file link; echo x >link")
    assert (place.outside / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "call",
    [
        "exec 3<>/dev/tcp/192.0.2.1/80",
        "exec 3<>/dev/tcp/127.0.0.1/80",
        "exec 3<>/dev/tcp/::1/80",
        "exec 3<>/dev/udp/2001:db8::1/53",
        "echo x >/dev/udp/192.0.2.1/53",
        "getent hosts example.org",
    ],
)
def test_calling_out_is_told_even_where_the_build_goes_on(place: Place, call: str) -> None:
    with contained("it tried to reach the network"):
        place.run(f"({call}) 2>/dev/null; true")


def test_forking_without_end_is_ended(place: Place) -> None:
    with contained("it had more than 40 processes at a time"):
        place.run("f() { f | f & }; f; while :; do sleep 1; done")
    assert left(place) == []
    ours = f"harness-{os.getpid()}-*"
    assert not [path for root in watch.GROUPS for path in root.glob(ours)]


def test_forks_that_are_refused_are_told_though_all_has_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = watch.process_group(1)
    watch.remove_group(group)
    if group is None:
        pytest.skip("control groups cannot be made here")
    monkeypatch.setattr(watch.Watcher, "_excess", lambda watcher: "")
    # Each child lives until no more can be started, on a host as slow as any.
    forks = "pipe R, W; for (1..60) { $p = fork; last if !defined $p; next if $p;"
    forks += " close W; sysread R, $x, 1; exit } close W; 1 while wait > 0"
    with contained("it had more than 40 processes at a time"):
        place.run(f"perl -e '{forks}'")


def test_filling_the_disk_is_ended(place: Place) -> None:
    with contained("it filled the disk with more than 64 MiB"):
        place.run("while :; do head -c 1M /dev/zero >>big; done")


def test_what_another_writes_is_not_the_build_s(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter(range(10**12, 0, -(32 << 20)))
    monkeypatch.setattr(watch.Watcher, "_free_bytes", lambda watcher: next(free))
    assert place.run("sleep 0.3; echo ok") == "ok"


def test_filling_memory_is_ended(place: Place) -> None:
    with contained("it used more than 300 MiB of memory"):
        place.run("perl -e '$x = \"x\" x (1 << 30); sleep 100'")


def test_filling_what_is_thrown_away_is_told(place: Place) -> None:
    with contained("it tried to write outside its tree: /tmp/big"):
        place.run("head -c 100M /dev/zero >/tmp/big")


def test_printing_without_end_is_ended(place: Place) -> None:
    with contained("it printed more than 1 MiB"):
        place.run("yes")
    assert place.log.stat().st_size < 3 << 20
    with contained("it printed more than 1 MiB"):
        place.run("head -c 2M /dev/zero", dataclasses.replace(SMALL))


def test_not_ending_is_ended(place: Place) -> None:
    with contained("it ran for more than 0 s"):
        place.run("trap '' TERM INT HUP; while :; do :; done", Limits(seconds=0.3))
    assert left(place) == []


def test_waiting_for_nothing_is_ended(place: Place) -> None:
    with contained("it did nothing for more than 0 s"):
        place.run("sleep 600", Limits(idle=0.4))
    # Computing, and not sleeping a little: on a loaded host a short sleep is a long one.
    busy = "timeout 1 sh -c 'while :; do :; done'; echo ok"
    assert place.run(busy, Limits(idle=0.4)) == "ok"


def test_what_it_leaves_running_ends_with_it(place: Place) -> None:
    place.run("setsid nohup sleep 600 >/dev/null 2>&1 & echo done")
    assert left(place) == []


def test_it_cannot_end_the_first_process_to_hide(place: Place) -> None:
    with contained("it tried to write outside its tree"):
        place.run("echo x >/tmp/x; kill -9 1; kill -9 $PPID; true")


def left(place: Place) -> list[str]:
    """Processes whose working directory is in the tree, or is the sandbox's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place.tree) in (process / "cmdline").read_text():
                found.append(process.name)
    return found


def test_a_host_without_it_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confine, "other_uid", lambda: None)
    monkeypatch.setattr(launch, "landlock_version", lambda: 0)
    monkeypatch.setattr(confine, "find", confine._find)
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: no permission' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoSandbox, match=r"no permission\n(.|\n)*max_user_namespaces") as caught:
        check()
    assert "--unconfined" in str(caught.value)
    assert "--privileged" not in str(caught.value)


def test_all_below_a_process_are_found() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 20 & sleep 20; :"]) as process:
        until = 500
        while len(found := watch.descendants(process.pid, 9)) < 3 and until:
            until -= 1
        assert len(found) == 3
        assert watch.resident(found) > 0
        for pid in reversed(found):
            os.kill(pid, 9)
