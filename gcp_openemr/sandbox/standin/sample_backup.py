"""Backups of the stand-in, of any size and always the same for a seed: `openemr.sql` and `sites/default/**`.

The crypto is the stand-in's (app/src/Common/Crypto/CryptoGen.php): the database's keys lock the share's keys, and
those lock the documents, so that opening one proves that files and database came from the same backup.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import hmac
import io
import random
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from backports import zstd
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gcp_openemr import process
from gcp_openemr.errors import ToolMissing, UsageError

__all__ = ["Document", "SampleBackup", "bcrypt_hash", "make_backup"]

_APP = Path(__file__).with_name("app")
_ROOT = "/var/www/localhost/htdocs/openemr"
_DOCUMENTS_PER_PATIENT = 20
_ROWS_PER_INSERT = 500
_MOMENT = 1_767_225_600  # 2026-01-01T00:00:00Z, so that the same arguments give the same bytes
_ZSTD: Mapping[int, int] = {zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.checksum_flag: 1}
_FIRST_NAMES = ("Ada", "Björn", "Chiara", "Dmitri", "Élodie", "Farah", "Grace", "Hiro", "Inés", "Jonas")
_LAST_NAMES = ("Abel", "Brontë", "Curie", "D'Arcy", "Euler", "Franklin", "Gauß", "Hopper", "Ibsen", "Jensen")

# version → OpenEMR's counter of container versions, and its number of the database
_DOCKER_VERSIONS = {"7.0.3": b"7\n", "7.0.4": b"8\n", "8.0.0": b"9\n"}
_DATABASE_VERSIONS = {"7.0.3": 516, "7.0.4": 517, "8.0.0": 530}

Add = Callable[[str, bytes], None]
"""Puts a file of this name and content into the archive."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A document of the backup: `sha256` is of the plain content."""

    id: int
    patient_id: int
    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleBackup:
    """What a made backup holds. `sha256` is of the archive."""

    path: Path
    size: int
    sha256: str
    patients: int
    documents: tuple[Document, ...]
    admin_user: str


def make_backup(
    path: Path,
    *,
    documents: int,
    bytes_per_document: int,
    seed: int,
    admin_user: str,
    admin_password: str,
    version: str = "7.0.4",
) -> SampleBackup:
    """Write an archive in the format of the suffix (.zip, .tar, .tar.gz, .tar.zst). Memory: a few documents."""
    keys = _Keys(_generator(seed))
    made: list[Document] = []
    rows: list[str] = []
    with _archive(path) as add:
        for name, content in _skeleton(version):
            add(f"sites/default/{name}", content)
        for name, locked in keys.on_share.items():
            add(f"sites/default/documents/logs_and_misc/methods/{name}", locked)
        for identity in range(1, documents + 1):
            document, stored, row = _document(identity, bytes_per_document, seed, keys)
            add(f"sites/default/documents/{document.patient_id}/{stored[0]}", stored[1])
            made.append(document)
            rows.append(row)
        hashed = bcrypt_hash(admin_password, _generator(f"{seed}:salt"))
        add("openemr.sql", _dump(rows, keys, admin_user, hashed, version).encode())
    return SampleBackup(
        path=path,
        size=path.stat().st_size,
        sha256=_file_sha256(path),
        patients=_patients(documents),
        documents=tuple(made),
        admin_user=admin_user,
    )


def bcrypt_hash(password: str, generator: random.Random) -> str:
    """A hash as OpenEMR keeps it, with a salt from `generator`, computed by PHP, which gets the password on stdin."""
    salt = "".join(generator.choices("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", k=21)) + "."
    php = next((found for name in ("php8.2", "php") if (found := shutil.which(name))), None)
    if php is None:
        raise ToolMissing("PHP is not on this machine.", do="Run: make setup")
    script = "echo crypt(stream_get_contents(STDIN), $argv[1]);"
    return process.run([php, "-n", "-r", script, "--", f"$2y$10${salt}"], stdin=password).stdout


class _Keys:
    """Keys of one clinic: 32 bytes each, a encrypts and b signs, in the database and on the share."""

    def __init__(self, generator: random.Random) -> None:
        self.in_database = {name: generator.randbytes(32) for name in ("sevena", "sevenb")}
        self._on_share = {name: generator.randbytes(32) for name in ("sevena", "sevenb")}
        self.on_share = {name: _encrypt(key, self.in_database, generator) for name, key in self._on_share.items()}

    def encrypt(self, content: bytes, generator: random.Random) -> bytes:
        """Lock a document with the share's keys."""
        return _encrypt(content, self._on_share, generator)


def _encrypt(content: bytes, keys: Mapping[str, bytes], generator: random.Random) -> bytes:
    iv = generator.randbytes(16)
    encryptor = Cipher(algorithms.AES(keys["sevena"]), modes.CBC(iv)).encryptor()
    padder = padding.PKCS7(128).padder()
    locked = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    signature = hmac.digest(keys["sevenb"], iv + locked, "sha384")
    return b"007" + base64.b64encode(signature + iv + locked)


def _document(identity: int, size: int, seed: int, keys: _Keys) -> tuple[Document, tuple[str, bytes], str]:
    """A document, its stored name and locked content, and its row of the table `documents`."""
    generator = _generator(f"{seed}:{identity}")
    content = generator.randbytes(size)
    patient = 1 + (identity - 1) // _DOCUMENTS_PER_PATIENT
    document = Document(
        id=identity,
        patient_id=patient,
        name=f"report-{identity}.bin",
        size=size,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    stored = generator.randbytes(16).hex()
    row = (
        f"({identity},'file_url',{size},'2026-01-01 08:00:00',"
        f"'file://{_ROOT}/sites/default/documents/{patient}/{stored}','application/octet-stream',{patient},"
        f"'{document.name}','{hashlib.sha3_512(content).hexdigest()}',1,0)"
    )
    return document, (stored, keys.encrypt(content, generator)), row


def _generator(seed: int | str) -> random.Random:
    """The same bytes for the same seed: a sample's keys protect nothing."""
    return random.Random(seed)  # noqa: S311


def _patients(documents: int) -> int:
    return -(-documents // _DOCUMENTS_PER_PATIENT) if documents else 0


def _skeleton(version: str) -> Iterator[tuple[str, bytes]]:
    """The site of a running clinic: what the stand-in brings, and a sqlconf.php of the place it comes from."""
    site = _APP / "sites" / "default"
    for file in sorted(path for path in site.rglob("*") if path.is_file()):
        name = str(file.relative_to(site))
        if name not in ("sqlconf.php", "docker-version"):
            yield name, file.read_bytes()
    yield "docker-version", _DOCKER_VERSIONS[version]
    yield "sqlconf.php", b"<?php\n$host = 'the-old-server';\n$sqlconf = ['host' => $host];\n$config = 1;\n"


def _dump(rows: Sequence[str], keys: _Keys, admin_user: str, hashed: str, version: str) -> str:
    """The database as mysqldump would write it: the stand-in's tables, multi-row inserts."""
    major, minor, patch = version.split(".")
    tables = (_APP / "sql" / "database.sql").read_text()
    names = re.findall(r"CREATE TABLE (`\w+`)", tables)
    people = [_person(pid) for pid in range(1, _patients(len(rows)) + 1)]
    key_rows = [f"('{name}','{base64.b64encode(key).decode()}')" for name, key in keys.in_database.items()]
    admin = admin_user.replace("\\", "\\\\").replace("'", "\\'")
    parts = [
        "-- MySQL dump of the stand-in for OpenEMR",
        "/*!40101 SET NAMES utf8mb4 */;",
        "/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;",
        *(f"DROP TABLE IF EXISTS {name};" for name in names),
        re.sub(r"INSERT INTO `version`[^;]*;\n", "", tables),
        *_inserts("`version`", [f"({major},{minor},{patch},0,'',{_DATABASE_VERSIONS[version]},12)"]),
        *_inserts("`globals`", ["('openemr_name',0,'Sample clinic')", "('drive_encryption',0,'1')"]),
        *_inserts("`groups`", [f"(1,'Default','{admin}')"]),
        *_inserts("`users`", [f"(1,'{admin}','NoLongerUsed',1,'OpenEMR','Administrator',1)"]),
        *_inserts("`users_secure`", [f"(1,'{admin}','{hashed}','2026-01-01 08:00:00',0)"]),
        *_inserts("`keys` (`name`,`value`)", key_rows),
        *_inserts("`patient_data`", people),
        *_inserts("`documents`", rows),
        *_inserts("`gacl_aro`", [f"(10,'users','{admin}',10,'Administrator',0)"]),
        *_inserts("`gacl_aro_groups`", ["(10,0,1,4,'OpenEMR Users','users')", "(11,10,2,3,'Administrators','admin')"]),
        *_inserts("`gacl_groups_aro_map`", ["(11,10)"]),
        "-- Dump completed",
        "",
    ]
    return "\n".join(parts)


def _inserts(table: str, rows: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        values = ",".join(rows[start : start + _ROWS_PER_INSERT])
        yield f"INSERT INTO {table} VALUES {values};"  # noqa: S608  # the rows are made here


def _person(pid: int) -> str:
    first = _FIRST_NAMES[pid % len(_FIRST_NAMES)]
    last = _LAST_NAMES[pid // len(_FIRST_NAMES) % len(_LAST_NAMES)].replace("'", "\\'")
    return f"({pid},{pid},'{first}','{last}','19{pid % 100:02d}-01-01')"


@contextmanager
def _archive(path: Path) -> Iterator[Add]:
    """An archive that takes files one after the other."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            yield lambda name, content: archive.writestr(_zip_info(name), content)
    elif path.name.endswith((".tar", ".tar.gz", ".tar.zst")):
        with (
            path.open("wb") as file,
            _compressed(file, path.suffix) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield lambda name, content: tar.addfile(_tar_info(name, len(content)), io.BytesIO(content))
    else:
        raise UsageError(f"{path.name} ends in none of .zip, .tar, .tar.gz, .tar.zst.")


@contextmanager
def _compressed(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    match suffix:
        case ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=_MOMENT) as packed:
                yield cast("IO[bytes]", packed)
        case ".zst":
            with zstd.ZstdFile(file, "w", options=_ZSTD) as packed:
                yield cast("IO[bytes]", packed)
        case _:
            yield file


def _zip_info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=time.gmtime(_MOMENT)[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100640 << 16
    return info


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o640, _MOMENT
    return info


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
