# SPDX-License-Identifier: MIT
"""The shell library that sets up a machine, with what it finds and runs replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host import programs, project

LIB = project.ROOT / "scripts" / "lib.sh"
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
FEDORA = 'ID=fedora\nNAME="Fedora Linux"\n'
LIST = "# comment\nbash bash\nno-such-program   some-package\n/no/such/file other-package\n"


class Machine:
    """A checkout with the library, and programs of our own first in PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self.calls = root / "calls"
        self.checkout = root / "checkout"
        (self.checkout / "scripts").mkdir(parents=True)
        shutil.copy(LIB, self.checkout / "scripts")
        (self.checkout / "requirements.txt").write_text("")
        (self.checkout / "requirements-dev.txt").write_text("# more\n")
        (self.checkout / "pyproject.toml").write_text("[project]\n")
        self.list = self.checkout / "scripts" / "packages.txt"
        self.list.write_text(LIST)
        self.os_release = root / "os-release"
        self.os_release.write_text(DEBIAN)
        # The host's may be a script that looks for the right one, which takes longer than the test.
        self.program("python3", f'exec {sys.executable} "$@"', told=False)

    def program(self, name: str, body: str, told: bool = True) -> None:
        path = self.bin / name
        tell = f'echo "{name} $*" >>"{self.calls}"\n' if told else ""
        path.write_text(f"#!/bin/sh\n{tell}{body}\n")
        path.chmod(0o755)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail; . '{self.checkout}/scripts/lib.sh'; {script}"],
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def set_up_packages(self) -> subprocess.CompletedProcess[str]:
        return self.run(f"set_up_packages '{self.os_release}' '{self.list}'; echo done")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_python_compiles_is_kept_beside_the_environment(machine: Machine) -> None:
    code = machine.root / "code"
    code.mkdir()
    (code / "some.py").write_text("")
    old = machine.checkout / ".venv" / "pycache" / "tmp" / "old.pyc"
    old.parent.mkdir(parents=True)
    old.touch()
    words = f"keep_bytecode; cd '{code}'; {sys.executable} -c 'import some'"
    done = machine.run(words, PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in code.iterdir()] == ["some.py"]
    assert list((machine.checkout / ".venv" / "pycache").rglob("some.*.pyc"))
    assert not old.exists(), "tests' own directories are new each time"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (DEBIAN, "debian"),
        (UBUNTU, "debian"),
        ('ID=mint\nID_LIKE="ubuntu debian"\n', "debian"),
        (FEDORA, "fedora"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch"),
        ("ID=alpine\n", "alpine"),
        ("ID=gentoo\n", "other"),
        ("ID=debianish\n", "other"),
        ("", "other"),
    ],
)
def test_family_of_the_host(machine: Machine, text: str, family: str) -> None:
    machine.os_release.write_text(text)
    assert machine.run(f"host_family '{machine.os_release}'").stdout.strip() == family


def test_family_without_the_file(machine: Machine) -> None:
    assert machine.run("host_family /no/such/file").stdout.strip() == "other"


def test_another_distribution_is_told_what_is_missing_and_left_alone(machine: Machine) -> None:
    machine.os_release.write_text(FEDORA)
    for name in ("apt-get", "sudo"):
        machine.program(name, "exit 0")
    done = machine.set_up_packages()
    assert done.returncode == 2
    assert "neither Debian nor Ubuntu" in done.stderr
    assert "no-such-program /no/such/file" in done.stderr
    assert machine.called() == []
    assert sorted(path.name for path in machine.checkout.iterdir()) == [
        "pyproject.toml",
        "requirements-dev.txt",
        "requirements.txt",
        "scripts",
    ]


def test_another_distribution_with_all_there_goes_on(machine: Machine) -> None:
    machine.os_release.write_text(FEDORA)
    machine.list.write_text("bash bash\n")
    done = machine.set_up_packages()
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("system", "line"),
    [
        ("ID=fedora\n", "install them: sudo dnf install f-package"),
        ("ID=arch\n", "install them: sudo pacman -S --needed a-package"),
        ("ID=alpine\n", "install them: doas apk add l-package"),
    ],
)
def test_another_distribution_is_told_its_own_names(
    machine: Machine, system: str, line: str
) -> None:
    machine.os_release.write_text(system)
    machine.list.write_text(
        "no-such-program d-package f-package a-package l-package\nno-other x - - -\n"
    )
    done = machine.set_up_packages()
    assert done.returncode == 2
    assert f"{line}\n" in done.stderr
    assert "no package of this distribution has: no-other (" in done.stderr


def test_nothing_runs_when_nothing_is_missing(machine: Machine) -> None:
    machine.list.write_text("bash bash\n/bin/sh dash\n")
    for name in ("apt-get", "sudo", "dpkg-query"):
        machine.program(name, "exit 1")
    assert machine.set_up_packages().returncode == 0
    assert machine.called() == []


def test_without_root_and_sudo_the_line_to_run_is_shown(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("sudo", "exit 1")
    machine.program("apt-get", "exit 0")
    done = machine.set_up_packages()
    assert done.returncode == 2
    line = "sudo apt-get install --no-install-recommends other-package some-package"
    assert line in done.stderr
    assert not any(call.startswith("apt-get") for call in machine.called())


def test_sudo_is_used_where_there_is_no_root(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("sudo", 'if [ "$1" = -n ]; then exit 0; fi; exec "$@"')
    machine.program("apt-get", f'ln -s /bin/true "{machine.bin}/no-such-program"')
    machine.list.write_text("no-such-program some-package\n")
    assert machine.set_up_packages().returncode == 0
    assert any(call.startswith("sudo env") for call in machine.called())


def test_lists_are_fetched_only_when_the_installation_fails_without(machine: Machine) -> None:
    machine.program("id", "echo 0")
    machine.list.write_text("no-such-program some-package\n")
    fetched = machine.root / "fetched"
    body = f"""
    case "$*" in
    *update*) touch "{fetched}"; exit 100 ;;
    *) [ -e "{fetched}" ] || exit 100; ln -s /bin/true "{machine.bin}/no-such-program" ;;
    esac"""
    machine.program("apt-get", body)
    assert machine.set_up_packages().returncode == 0
    verbs = [call for call in machine.called() if call.startswith("apt-get")]
    assert [("update" in call.split()) for call in verbs] == [False, True, False]
    assert all("--no-install-recommends" in call for call in (verbs[0], verbs[2]))
    machine.calls.unlink()
    (machine.bin / "no-such-program").unlink()
    assert machine.set_up_packages().returncode == 0
    assert not any("update" in call.split() for call in machine.called())


def test_apts_error_is_shown(machine: Machine) -> None:
    machine.program("id", "echo 0")
    machine.program("apt-get", "echo 'E: Unable to locate package x' >&2; exit 100")
    done = machine.set_up_packages()
    assert done.returncode == 3
    assert "E: Unable to locate package x" in done.stderr
    assert "apt-get could not install: other-package some-package" in done.stderr


def make_python(machine: Machine, name: str, good: bool) -> None:
    machine.program(name, f"exit {0 if good else 1}")


def test_python_that_is_too_old(machine: Machine) -> None:
    make_python(machine, "oldpython", good=False)
    done = machine.run("find_python", PYTHON="oldpython")
    assert done.returncode == 2
    assert "PYTHON=oldpython is older than 3.11" in done.stderr
    done = machine.run("find_python", PYTHON="nopython")
    assert "PYTHON=nopython is not a program" in done.stderr


def test_python_is_the_one_that_is_named(machine: Machine) -> None:
    make_python(machine, "mypython", good=True)
    assert machine.run("find_python", PYTHON="mypython").stdout.strip() == f"{machine.bin}/mypython"


def test_a_later_python_is_found_where_python3_is_old(machine: Machine) -> None:
    make_python(machine, "python3", good=False)
    make_python(machine, "python3.13", good=True)
    assert machine.run("find_python").stdout.strip() == f"{machine.bin}/python3.13"


PYTHON = """
case "$1 $2" in
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
"-m pip") exit "${PIP_STATUS:-0}" ;;
esac"""


def test_the_environment_is_made_once_and_again_when_the_pins_change(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    assert machine.run("set_up_venv", PYTHON="mypython").returncode == 0
    pip = [call for call in machine.called() if "-m pip" in call]
    assert "--require-hashes" in pip[0]
    assert f"-e {machine.checkout}" in pip[1]
    assert "--no-index" in pip[1]
    assert machine.run("venv_is_good").returncode == 0
    machine.calls.unlink()
    assert machine.run("set_up_venv").returncode == 0
    assert machine.called() == []
    (machine.checkout / "requirements.txt").write_text("# other\n")
    assert machine.run("venv_is_good").returncode == 1
    assert machine.run("set_up_venv", PYTHON="mypython").returncode == 0
    assert machine.run("venv_is_good").returncode == 0
    machine.program("other", PYTHON)
    assert machine.run("venv_is_good", PYTHON="other").returncode == 1


def test_an_environment_for_the_tests_is_good_for_all(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    assert machine.run("set_up_venv", PYTHON="mypython").returncode == 0
    assert machine.run('venv_is_good "$test_list"').returncode == 1
    assert machine.run('set_up_venv "$test_list"', PYTHON="mypython").returncode == 0
    assert any("requirements-dev.txt" in call for call in machine.called())
    assert machine.run('venv_is_good "$test_list"').returncode == 0
    assert machine.run("venv_is_good").returncode == 0


def test_an_interrupted_environment_is_not_taken_for_good(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    done = machine.run("set_up_venv", PYTHON="mypython", PIP_STATUS="1")
    assert done.returncode == 3
    assert (machine.checkout / ".venv" / "bin" / "python").exists()
    assert machine.run("venv_is_good").returncode == 1
    assert machine.run("set_up_venv", PYTHON="mypython").returncode == 0
    assert machine.run("venv_is_good").returncode == 0


def test_another_user_s_checkout_is_left_alone(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    machine.run("set_up_venv", PYTHON="mypython")
    kept = machine.checkout / ".venv" / "stamp"
    kept.write_text("older\n")
    done = machine.run("writable() { false; }; set_up_venv", PYTHON="mypython")
    assert done.returncode == 2
    assert (
        f"clone it, and run the scripts of the clone (git clone {machine.checkout})" in done.stderr
    )
    assert kept.exists()


def test_an_environment_whose_python_is_gone(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    machine.run("set_up_venv", PYTHON="mypython")
    (machine.checkout / ".venv" / "bin" / "python").unlink()
    assert machine.run("venv_is_good").returncode == 1


def test_two_at_once_set_up_once(machine: Machine) -> None:
    slow = PYTHON.replace('"-m pip") ', '"-m pip") sleep 0.5; ')
    machine.program("mypython", slow)
    machine.list.write_text("bash bash\n")
    script = f". '{machine.checkout}/scripts/lib.sh'; set_up"
    environment = {**os.environ, "PATH": f"{machine.bin}:{os.environ['PATH']}"}
    environment["PYTHON"] = "mypython"
    running = [
        subprocess.Popen(["bash", "-euc", script], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = b"".join(process.communicate(timeout=30)[1] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert said.count(b"installing Python packages") == 1
    assert b"waiting for another set-up" in said


def test_a_second_set_up_is_quiet_and_starts_nothing(machine: Machine) -> None:
    machine.program("mypython", PYTHON)
    machine.list.write_text("bash bash\n")
    assert machine.run("set_up", PYTHON="mypython").returncode == 0
    machine.calls.unlink()
    done = machine.run("set_up")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.called() == []


def test_every_program_of_the_list_has_one_package_of_each_family() -> None:
    lines = [line.split() for line in programs.PACKAGES.read_text().splitlines()]
    words = [line for line in lines if line and not line[0].startswith("#")]
    assert all(len(line) == 1 + len(programs.FAMILIES) for line in words)
    assert len({line[0] for line in words}) == len(words)
    assert programs.packages()["dtc"] == "device-tree-compiler"
