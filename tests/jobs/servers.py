"""A real MySQL with TLS and a real Redis with an ACL file, each on a port of its own, gone after the block."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import ipaddress
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gcp_openemr.setup import mysql, mysql_data

ADDRESS = "127.0.0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Authority:
    """A CA made for one test session, able to sign for names and addresses."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
        """Write certificate and key for these DNS names and for ADDRESS; return both paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives.append(x509.IPAddress(ipaddress.ip_address(ADDRESS)))
        certificate = _sign(key.public_key(), names[0], self, alternatives=x509.SubjectAlternativeName(alternatives))
        chain, secret = directory / f"{names[0]}.pem", directory / f"{names[0]}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(_private(key))
        return chain, secret


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mysql:
    """A running server; root only through the socket."""

    port: int
    socket: Path
    authority: Authority
    dual_passwords: bool

    def root(self) -> pymysql.connections.Connection:
        socket = str(self.socket)
        return pymysql.connect(unix_socket=socket, user="root", autocommit=True, charset="utf8mb4", ssl_disabled=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redis:
    port: int
    admin_password: str


def make_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(key=key, certificate=_sign(key.public_key(), "Test CA", None, signer=key))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mysql_server(directory: Path, authority: Authority) -> Iterator[Mysql]:
    """Start MySQL (or MariaDB, where that is all there is) with an empty data directory."""
    found = mysql.locate()
    data, run = directory / "data", directory / "run"
    run.mkdir(parents=True)
    chain, key = authority.issue(run, ["sql.test"])
    if found.prepared:
        mysql_data.copy(found.prepared, data, owner=(0, 0))
    else:
        command = [*found.initialize, "--user=root", f"--datadir={data}"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    port, path = free_port(), run / "sql.sock"
    arguments = [
        *("--user=root", f"--datadir={data}", f"--socket={path}", f"--port={port}", f"--bind-address={ADDRESS}"),
        *(f"--ssl-ca={_write(run / 'ca.pem', authority.pem)}", f"--ssl-cert={chain}", f"--ssl-key={key}"),
        *(f"--pid-file={run / 'pid'}", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"),
        *(("--mysqlx=OFF", "--performance-schema=OFF") if found.flavor == "MySQL" else ()),
    ]
    log = (run / "log").open("wb")
    with log, subprocess.Popen([*found.server, *arguments], stdout=log, stderr=log) as process:
        try:
            server = Mysql(port=port, socket=path, authority=authority, dual_passwords=found.dual_passwords)
            _await_mysql(server, process, run / "log")
            yield server
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def redis_server(directory: Path, authority: Authority | None = None, *, name: str = "") -> Iterator[Redis]:
    """Start Redis as the files machine does: an administrator, no default user, users kept in an ACL file.

    With `authority` it speaks TLS only, under `name`.
    """
    directory.mkdir(parents=True)
    password = "redis-admin = 'q%"
    administrator = f"user admin on #{hashlib.sha256(password.encode()).hexdigest()} ~* &* +@all"
    users = _write(directory / "users.acl", f"user default off -@all\n{administrator}\n")
    port = free_port()
    arguments = [f"--bind {ADDRESS}", f"--aclfile {users}", f"--dir {directory}", '--save ""']
    if authority is None:
        arguments.append(f"--port {port}")
    else:
        chain, key = authority.issue(directory, [name])
        arguments += ["--port 0", f"--tls-port {port}", f"--tls-cert-file {chain}", f"--tls-key-file {key}"]
        arguments += [f"--tls-ca-cert-file {chain}", "--tls-auth-clients no"]
    configuration = "\n".join(argument.removeprefix("--") for argument in arguments)
    with subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            process.stdin.write(configuration)  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
            _await_port(port, process)
            yield Redis(port=port, admin_password=password)
        finally:
            process.terminate()
            process.wait(15)


def _await_mysql(server: Mysql, process: subprocess.Popen[bytes], log: Path) -> None:
    # a refused attempt of PyMySQL leaves its socket to the garbage collector, which the tests complain about
    try:
        _await(lambda: _answers(socket.AF_UNIX, str(server.socket)), process)
        server.root().close()
    except (AssertionError, pymysql.MySQLError) as error:
        raise AssertionError(f"MySQL did not start:\n{log.read_text()[-3000:]}") from error


def _await_port(port: int, process: subprocess.Popen[str]) -> None:
    _await(lambda: _answers(socket.AF_INET, (ADDRESS, port)), process)


def _await(ready: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 40
    while not ready():
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.05)


def _answers(family: int, address: Any) -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding = serialization.Encoding.PEM
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _sign(
    public: ec.EllipticCurvePublicKey,
    name: str,
    authority: Authority | None,
    *,
    signer: ec.EllipticCurvePrivateKey | None = None,
    alternatives: x509.SubjectAlternativeName | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(alternatives, critical=False)
    key = authority.key if authority else signer
    assert key is not None
    return builder.sign(key, hashes.SHA256())
