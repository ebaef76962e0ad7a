"""The sandbox's two certificate authorities: one for Google's APIs, one for Cloud SQL.

They are two because Google's are: every machine trusts the first, while the second has to be given to clients, as with
`GOOGLE_MANAGED_CAS_CA`. A client that forgets it must fail here as it would there.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "write_private"]

_VALID = datetime.timedelta(days=3650)
_SLACK = datetime.timedelta(days=1)


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file that was never readable for anybody else, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
    partial.replace(path)


class Authority:
    """A certificate authority in `directory`, made at first use and kept."""

    def __init__(self, directory: Path, name: str) -> None:
        self._key_path = directory / f"{name}.key"
        self._path = directory / f"{name}.pem"
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gcp-openemr sandbox: {name}")])
        if not (self._key_path.is_file() and self._path.is_file()):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make()
        key = serialization.load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_path} holds no elliptic curve key")
        self._key = key

    @property
    def certificate(self) -> str:
        """The authority's own certificate, PEM."""
        return self._path.read_text(encoding="utf-8")

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(self._subject, self._subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_path, _private_pem(key))
        write_private(self._path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)

    def issue(self, names: Sequence[str]) -> tuple[str, str]:
        """A server certificate for DNS names and addresses: (certificate, private key), both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        # A common name has 64 characters at most; clients look at the alternative names only.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        certificate = (
            _builder(subject, self._subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), _private_pem(key).decode()

    def server_context(self, names: Sequence[str], keep: Path) -> ssl.SSLContext:
        """A context for a TLS server of these names; its certificate and key are kept at `keep`.pem and .key."""
        certificate, key = self.issue(names)
        write_private(keep.with_suffix(".pem"), certificate.encode())
        write_private(keep.with_suffix(".key"), key.encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keep.with_suffix(".pem"), keep.with_suffix(".key"))
        return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _VALID)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
