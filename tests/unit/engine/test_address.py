# SPDX-License-Identifier: MIT
"""Addresses, certificates, and what is refused."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from harness.cli import app
from harness.engine.address import check_address, local_workers
from harness.engine.security import CA, CERTIFICATE, PRIVATE_KEY, check_certificates
from harness.errors import UserError


@pytest.mark.parametrize(
    "address", ["tls://a.example.org:1", "tls://[::1]:1", "tcp://127.0.0.1:1", "tcp://[::1]:2"]
)
def test_addresses_that_are_taken(address: str) -> None:
    assert check_address(address) == address
    assert check_address(address.replace("t", "T", 1)) == address
    assert local_workers(address) is None


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:8786", "tcp://0.0.0.0:1", "tcp://one:8786"])
def test_what_is_open_to_others_without_encryption_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="without TLS"):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:1",
        "tls://host",
        "tls://:1",
        "tls://h:x",
        "tls://[::1",
        "local:0",
        "ucx://h:1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UserError, match="expected tls"):
        check_address(address)


def test_certificates_are_made_once_for_their_owner_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "certificates"
    assert app.main(["cluster", "certificates", str(place)]) == 0
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in place.iterdir())
    authority = x509.load_pem_x509_certificate((place / CA).read_bytes())
    member = x509.load_pem_x509_certificate((place / CERTIFICATE).read_bytes())
    member.verify_directly_issued_by(authority)
    assert check_certificates(place, "it") == place
    before = {path: path.read_bytes() for path in place.iterdir()}
    assert app.main(["cluster", "certificates", str(place)]) == 2
    assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert "has certificates" in capsys.readouterr().err


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    app.main(["cluster", "certificates", str(tmp_path / "c")])
    (tmp_path / "c" / PRIVATE_KEY).chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        check_certificates(tmp_path / "c", "it")


@pytest.mark.parametrize("name", [CA, CERTIFICATE, PRIVATE_KEY])
@pytest.mark.parametrize("damage", [b"", b"text\n", b"\0\xff"])
def test_what_is_damaged_is_told(tmp_path: Path, name: str, damage: bytes) -> None:
    app.main(["cluster", "certificates", str(tmp_path / "c")])
    (tmp_path / "c" / name).write_bytes(damage)
    with pytest.raises(UserError, match=r"cannot be used .*copy the directory anew"):
        check_certificates(tmp_path / "c", "it")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster", "scheduler", "tcp://0.0.0.0:0"], "without TLS"),
        (["cluster", "worker", "tcp://192.0.2.1:1"], "without TLS"),
        (["nightly", "--cluster", "tcp://192.0.2.1:1"], "without TLS"),
        (["mutants", "--cluster", "here"], "expected tls"),
        (["cluster", "scheduler", "0.0.0.0:0"], "needs certificates"),
        (["cluster", "worker", "tls://h:1", "--certificates", "/none"], "there is no /none"),
        (["gate", "--queue", "/none"], "/none"),
    ],
)
def test_what_is_refused_at_once(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HARNESS_CLUSTER_CERTIFICATES", raising=False)
    assert app.main(words) == 2
    assert said in capsys.readouterr().err


def test_without_its_packages_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else find(name)
    )
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert app.main(["cluster", "scheduler", "tcp://127.0.0.1:0"]) == 2
    assert "pip install distributed" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        argv = [sys.executable, "-m", "harness", "cluster", "scheduler", address]
        done = subprocess.run(argv, capture_output=True, text=True)  # Dask leaves a socket open
    assert done.returncode == 3
    assert f"error: cannot listen at {address}: " in done.stderr
    assert "already in use" in done.stderr
