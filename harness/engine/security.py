# SPDX-License-Identifier: MIT
"""Certificates of a cluster: a CA of its own, and one certificate for each role.

Whoever holds a certificate of this CA can run anything on the workers, so the keys are readable by
their owner only. Scheduler and workers know each other, and the clients, by the CA.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError

CA, CA_KEY = "ca.pem", "ca-key.pem"
CERTIFICATE, PRIVATE_KEY = "cluster.pem", "cluster-key.pem"
DAYS = 825
"""For how long certificates are valid."""
_NAME = "vexpress-cma-harness cluster"


def make_certificates(directory: Path) -> list[Path]:
    """A CA and a certificate that scheduler, workers and clients share; the files made.

    Raises `UserError` where there are some already, or the directory cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = (CA, CA_KEY, CERTIFICATE, PRIVATE_KEY)
    if any((directory / name).exists() for name in names):
        raise UserError(f"{directory} has certificates: name a new directory, or remove them")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    authority = (
        _builder(issuer, issuer, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
    )
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{_NAME} member")])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    member = (
        _builder(subject, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    contents = (_signed(authority, ca_key), _secret(ca_key), _signed(member, ca_key), _secret(key))
    return _write(directory, names, contents)


def _builder(subject: Any, issuer: Any, public_key: Any) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # Machines whose clocks differ a little take it at once.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, sign: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: Any, key: Any) -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    made: bytes = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return made


def _secret(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    made: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made


def _write(directory: Path, names: Sequence[str], contents: Sequence[bytes]) -> list[Path]:
    made = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in zip(names, contents, strict=True):
            path = directory / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
                made.append(path)
                to.write(content)
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise UserError(f"cannot write certificates to {directory}: {error.strerror}") from error
    return made


def check_certificates(directory: Path | None, why: str) -> Path:
    """The directory, where it has what a member of the cluster needs. Raises `UserError`."""
    if directory is None:
        raise UserError(f"{why} needs certificates: name their directory with --certificates")
    for name in (CA, CERTIFICATE, PRIVATE_KEY):
        path = directory / name
        if not path.is_file():
            raise UserError(
                f"there is no {path}: make certificates with `harness cluster certificates DIR` on"
                " one machine, and copy the directory to the others"
            )
        if name == PRIVATE_KEY and path.stat().st_mode & 0o077:
            raise UserError(f"{path} can be read by others: chmod 600 {path}")
    try:
        context = ssl.create_default_context(cafile=directory / CA)
        context.load_cert_chain(directory / CERTIFICATE, directory / PRIVATE_KEY)
    except OSError as error:  # ssl's own are such
        raise UserError(
            f"the certificates in {directory} cannot be used ({error}): copy the directory anew"
        ) from error
    return directory


def security_of(address: str, certificates: Path | None) -> Any:
    """Dask's `Security` for an address; None for a plain one. Raises `UserError`."""
    from distributed import Security

    if not address.startswith("tls://"):
        return None
    place = check_certificates(certificates, address)
    values = {"tls_ca_file": str(place / CA), "require_encryption": True}
    for role in ("scheduler", "worker", "client"):
        values[f"tls_{role}_cert"] = str(place / CERTIFICATE)
        values[f"tls_{role}_key"] = str(place / PRIVATE_KEY)
    return Security(**values)
