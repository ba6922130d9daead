# SPDX-License-Identifier: MIT
"""How QEMU is confined, on hosts that allow more and less."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from harness.errors import UserError
from harness.host import confine as host
from harness.host.tool import UNCONFINED
from harness.machine import confine
from harness.machine.confine import Means


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    confine.means.cache_clear()
    yield
    confine.means.cache_clear()


def only(monkeypatch: pytest.MonkeyPatch, *works: Means) -> None:
    """A host on which nothing else works."""
    monkeypatch.setattr(
        confine, "_complaint", lambda one: "" if one in works else f"no {one.name} here"
    )


def test_the_best_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "other_uid", lambda: 61183)
    only(monkeypatch, Means.UID, Means.NAMESPACES)
    assert confine.means() is Means.NAMESPACES


def test_without_namespaces_root_becomes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "other_uid", lambda: 61183)
    only(monkeypatch, Means.UID)
    assert confine.means() is Means.UID
    argv = confine.command(["qemu", "-S"], network=False)
    assert argv[0] == "setpriv"
    assert argv[argv.index("--reuid") + 1] == "61183"
    assert "--no-new-privs" in argv
    assert argv[argv.index("--") + 1 :] == ["qemu", "-S", *confine.FILTER]


def test_where_nothing_works_consent_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UNCONFINED, raising=False)
    monkeypatch.setattr(host, "other_uid", lambda: None)
    only(monkeypatch)
    with pytest.raises(UserError, match=r"no NAMESPACES here(?s:.*)--unconfined"):
        confine.command(["qemu"], network=False)


def test_with_consent_qemu_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNCONFINED, "")
    monkeypatch.setenv("SECRET", "1")
    only(monkeypatch)
    confine.allow_unconfined()
    assert confine.means() is Means.NONE
    assert confine.command(["qemu"], network=False) == ["setpriv", "--pdeathsig", "KILL", "qemu"]
    assert confine.uid() is None


def test_consent_takes_nothing_away_where_there_is_confinement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(UNCONFINED, "1")
    only(monkeypatch, Means.NAMESPACES)
    assert confine.means() is Means.NAMESPACES


def test_the_environment_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    only(monkeypatch, Means.NAMESPACES)
    assert confine.environment({"MARK": "x"}) == {"PATH": "/usr/bin:/bin", "MARK": "x"}


def inside(network: bool, *command: str) -> str:
    """What a command prints in QEMU's place."""
    argv = confine.command(["env", *command], network)[: -len(confine.FILTER)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def confined() -> None:
    try:
        if confine.means() is not Means.NAMESPACES:
            pytest.skip("this host allows no namespaces")
    except UserError as error:
        pytest.skip(str(error).partition("\n")[0])


@pytest.mark.usefixtures("confined")
def test_nothing_of_the_host_is_there_but_the_system() -> None:
    there = set(inside(False, "ls", "/").split())
    assert there <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "usr"}
    assert inside(False, "ls", "/dev").split() == ["null", "urandom"]


@pytest.mark.usefixtures("confined")
@pytest.mark.parametrize("place", ["/", "/usr", "/etc", "/dev", "/proc/sys/kernel"])
def test_nothing_can_be_written(place: str) -> None:
    assert "cannot touch" in inside(False, "touch", f"{place}/made")


@pytest.mark.usefixtures("confined")
def test_the_network_is_there_only_where_it_is_given() -> None:
    def interfaces(network: bool) -> list[str]:
        lines = inside(network, "cat", "/proc/self/net/dev").splitlines()[2:]
        return [line.partition(":")[0].strip() for line in lines]

    assert interfaces(False) == ["lo"]
    assert inside(True, "readlink", "/proc/self/ns/net") != inside(
        False, "readlink", "/proc/self/ns/net"
    )


@pytest.mark.usefixtures("confined")
def test_no_new_privileges_no_capability_and_another_uid() -> None:
    status = dict(
        line.split(":\t", 1) for line in inside(False, "cat", "/proc/self/status").splitlines()
    )
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    if host.other_uid() is not None:
        assert status["Uid"].split() == [str(host.other_uid())] * 4


@pytest.mark.parametrize("means", Means)
def test_less_than_all_is_said(monkeypatch: pytest.MonkeyPatch, means: Means) -> None:
    monkeypatch.setattr(confine, "means", lambda: means)
    said = confine.remark()
    assert said == "" if means is Means.NAMESPACES else means.value in said
