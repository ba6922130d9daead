# SPDX-License-Identifier: MIT
"""ToolRunner: logged, followed, explained, and never left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.builders.cache import BuildDirectory
from harness.builders.process import ToolRunner, first_error
from harness.errors import BuildError, UserError
from harness.host import process as process_module
from harness.host.locking import FileLock
from harness.host.process import capture, clean_environment

GCC = """\
  CC      mm/cma.o
  CC      mm/oom_kill.o
../mm/cma.c: In function 'find_cma_by_name':
../mm/cma.c:612:9: warning: unused variable 'x' [-Wunused-variable]
../mm/cma.c:615:16: error: expected ';' before '}' token
  615 |         return 0
      |                ^
      |                ;
../mm/cma.c:700:1: error: another
make[3]: *** [../scripts/Makefile.build:250: mm/cma.o] Error 1
make[2]: *** Waiting for unfinished jobs....
"""
MODPOST = """\
  MODPOST /x/Module.symvers
ERROR: modpost: "find_cma_by_name" [/x/cma.ko] undefined!
make[1]: *** [scripts/Makefile.modpost:126: /x/Module.symvers] Error 1
"""
LINK = """\
  LD      .tmp_vmlinux.kallsyms1
arm-linux-gnueabihf-ld: mm/cma.o: in function `f':
cma.c:(.text+0x10): undefined reference to `missing'
make: *** [vmlinux] Error 1
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def test_first_error_of_gcc_with_its_quotation() -> None:
    text = first_error(GCC)
    assert text.splitlines()[0] == "../mm/cma.c:615:16: error: expected ';' before '}' token"
    assert "return 0" in text
    assert "another" not in text
    assert "warning" not in text


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (MODPOST, 'ERROR: modpost: "find_cma_by_name" [/x/cma.ko] undefined!'),
        (LINK, "cma.c:(.text+0x10): undefined reference to `missing'"),
        ("Error: board.dts:3.1-2 syntax error\n", "Error: board.dts:3.1-2 syntax error"),
        ("/bin/sh: 1: lz4: not found\nmake: *** [x] Error 127\n", "/bin/sh: 1: lz4: not found"),
        (
            "net/Kconfig:119: can't open file x/Kconfig\nmake[2]: *** [y: config] Error 1\n",
            "net/Kconfig:119: can't open file x/Kconfig",
        ),
        ("make: *** No rule to make target 'x'.  Stop.\n", None),
        ("just\nlines\n", "just\nlines"),
        ("", ""),
    ],
)
def test_first_error_of_others(output: str, expected: str | None) -> None:
    assert first_error(output) == (output.strip() if expected is None else expected)


def test_output_goes_to_the_log_and_to_the_follower(build_dir: BuildDirectory) -> None:
    lines: list[str] = []
    ToolRunner(build_dir).run(
        ["sh", "-c", "echo one; echo two >&2"], "echoing", on_line=lines.append
    )
    assert lines == ["one", "two"]
    assert build_dir.log.read_text().splitlines()[1:] == ["one", "two"]


def test_a_failure_names_the_step_the_error_and_the_log(build_dir: BuildDirectory) -> None:
    script = "echo noise; echo 'a.c:1:2: error: broken' >&2; exit 3"
    with pytest.raises(BuildError) as caught:
        ToolRunner(build_dir).run(["sh", "-c", script], "compiling")
    expected = f"compiling failed (exit status 3)\na.c:1:2: error: broken\nlog: {build_dir.log}"
    assert str(caught.value) == expected


def test_the_error_is_of_this_step_not_of_an_earlier_one(build_dir: BuildDirectory) -> None:
    ToolRunner(build_dir).run(["echo", "a.c:1:2: error: harmless, of a probe"], "probing")
    with pytest.raises(BuildError, match=r"b\.c:9"):
        ToolRunner(build_dir).run(["sh", "-c", "echo 'b.c:9:9: error: real'; exit 1"], "compiling")


def test_a_full_disk_inside_a_tool_is_told_as_such(build_dir: BuildDirectory) -> None:
    script = "echo 'as: cannot write: No space left on device'; exit 1"
    with pytest.raises(OSError, match="No space left"):
        ToolRunner(build_dir).run(["sh", "-c", script], "compiling")


def test_a_missing_program_names_its_package(
    build_dir: BuildDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match=r"apt-get install .*device-tree-compiler"):
        ToolRunner(build_dir).run(["dtc"], "compiling")
    with pytest.raises(UserError, match=r"apt-get install .* bc"):
        capture(["bc"])


def test_a_missing_program_behind_setpriv(build_dir: BuildDirectory) -> None:
    with pytest.raises(UserError, match="no-such-program is not installed"):
        ToolRunner(build_dir).run(["no-such-program"], "compiling")


def test_an_exception_ends_the_whole_group(build_dir: BuildDirectory) -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise KeyboardInterrupt

    # The shell and its child both say who they are, and neither heeds SIGTERM.
    script = "trap '' TERM; echo $$; sh -c 'echo $$; sleep 60; sleep 60' & wait; sleep 60"
    short = 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_module, "TERMINATE_SECONDS", short)
        with pytest.raises(KeyboardInterrupt):
            ToolRunner(build_dir).run(["sh", "-c", script], "sleeping", on_line=interrupt)
    assert all(gone(pid) for pid in pids)


def test_background_jobs_end_with_their_tool(build_dir: BuildDirectory) -> None:
    lines: list[str] = []
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    ToolRunner(build_dir).run(["sh", "-c", script], "starting", on_line=lines.append)
    assert gone(int(lines[0]))


def test_sigkill_of_the_harness_ends_the_tool(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from harness.builders.cache import BuildDirectory
from harness.builders.process import ToolRunner
here = Path(sys.argv[1])
fd = os.open(here / "lock", os.O_RDWR | os.O_CREAT)
build_dir = BuildDirectory(here, here, here / "log", fd)
ToolRunner(build_dir).run(["sh", "-c", "echo $$; sleep 60; :"], "x",
    on_line=lambda l: print(l, flush=True))
"""
    harness = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    tool = int(harness.stdout.readline())
    assert alive(tool)
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    harness.stdout.close()
    assert gone(tool)


def test_a_tool_that_survives_its_harness_keeps_the_lock(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from harness.builders.cache import Cache, Key, BuildDirectory
from harness.builders.process import ToolRunner
def build(build_dir):
    script = "trap '' TERM; echo $$; while :; do sleep 60 & wait; done"
    ToolRunner(build_dir).run(["sh", "-c", script], "x",
        on_line=lambda line: print(line, flush=True))
Cache(Path(sys.argv[1])).entry(Key("thing", {}), build)
"""
    harness = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    tool = int(harness.stdout.readline())
    harness.kill()
    harness.wait()
    harness.stdout.close()
    try:
        with FileLock(next((tmp_path / "locks").glob("thing-*"))) as lock:
            assert alive(tool)
            assert not lock.try_exclusive()
            os.killpg(tool, signal.SIGKILL)
            lock.exclusive()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool, signal.SIGKILL)


def test_the_callers_variables_do_not_reach_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARCH", "MAKEFLAGS", "KCFLAGS", "CFLAGS", "KBUILD_OUTPUT", "O", "GIT_DIR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CCACHE_DIR", "kept")
    found = clean_environment()
    assert not {"ARCH", "MAKEFLAGS", "KCFLAGS", "CFLAGS", "KBUILD_OUTPUT", "O", "GIT_DIR"} & {
        *found
    }
    assert found["CCACHE_DIR"] == "kept"
    assert found["PATH"] == os.environ["PATH"]
    assert found["LC_ALL"] == "C"


def test_a_tool_gets_the_clean_environment(
    build_dir: BuildDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCH", "x86")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines: list[str] = []
    script = 'echo "$ARCH $LC_ALL $EXTRA"'
    ToolRunner(build_dir, {"EXTRA": "more"}).run(
        ["sh", "-c", script], "asking", on_line=lines.append
    )
    assert lines == [" C more"]


def test_temporary_files_go_into_the_room(build_dir: BuildDirectory) -> None:
    lines: list[str] = []
    ToolRunner(build_dir).run(["sh", "-c", "echo $TMPDIR"], "asking", on_line=lines.append)
    assert lines == [str(build_dir.tmp)]
