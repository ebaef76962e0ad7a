"""As much of Google as the two jobs talk to, in memory, behind TLS under Google's own names.

It gives secrets, objects and Drive files to the one service account there is, and makes Cloud SQL users in the test's
MySQL. Whether the account may is the sandbox's business and tested there.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import ssl
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.jobs.servers import Authority, Mysql

HOSTS = ("secretmanager", "storage", "sqladmin", "www")


@dataclasses.dataclass(kw_only=True)
class FakeGoogle:
    """Secrets by version name, objects by `bucket/name`, Drive files by id.

    `denied` ids and names answer 403, `spent` ids 403 for their quota; each of `cuts` ends one download after so many
    bytes.
    """

    mysql: Mysql
    address: str = ""
    metadata: str = ""
    secrets: dict[str, str] = dataclasses.field(default_factory=dict)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    drive: dict[str, bytes] = dataclasses.field(default_factory=dict)
    denied: set[str] = dataclasses.field(default_factory=set)
    spent: set[str] = dataclasses.field(default_factory=set)
    broken_reads: int = 0
    cuts: list[int] = dataclasses.field(default_factory=list)
    calls: list[str] = dataclasses.field(default_factory=list)

    def answer(self, host: str, method: str, path: str, query: dict[str, str], body: bytes, span: str) -> _Answer:
        self.calls.append(f"{method} {host} {path}")
        match host.split(".", maxsplit=1)[0]:
            case "secretmanager":
                return self._secret(path.removeprefix("/v1/").removesuffix(":access"))
            case "sqladmin":
                return self._sql(method, path, query, body)
            case "storage":
                return self._storage(method, path, query, body, span)
            case _:
                return self._drive(path.rpartition("/")[2], query, span)

    def _secret(self, name: str) -> _Answer:
        if name in self.denied:
            return _error(403, "Permission 'secretmanager.versions.access' denied", "PERMISSION_DENIED")
        if name not in self.secrets:
            return _error(404, f"Secret Version [{name}] not found.", "NOT_FOUND")
        data = self.secrets[name].encode()
        checksum = str(google_crc32c.value(data))
        return _json({"name": name, "payload": {"data": base64.b64encode(data).decode(), "dataCrc32c": checksum}})

    def _sql(self, method: str, path: str, query: dict[str, str], body: bytes) -> _Answer:
        if "/operations/" in path:
            return _json({"name": "op", "status": "DONE"})
        with self.mysql.root() as connection, connection.cursor() as cursor:
            if method == "GET":
                cursor.execute("SELECT User, Host FROM mysql.user WHERE Host = '%'")
                return _json({"items": [{"name": user, "host": host} for user, host in cursor.fetchall()]})
            if method == "DELETE":
                cursor.execute("DROP USER %s@%s", [query["name"], query["host"]])
            else:
                user = json.loads(body)
                cursor.execute("CREATE USER %s@%s IDENTIFIED BY %s", [user["name"], user["host"], user["password"]])
                cursor.execute("GRANT ALL ON *.* TO %s@%s WITH GRANT OPTION", [user["name"], user["host"]])
        return _json({"name": "op", "status": "PENDING"})

    def _storage(self, method: str, path: str, query: dict[str, str], body: bytes, span: str) -> _Answer:
        if method == "POST":
            bucket = path.split("/b/")[1].split("/", maxsplit=1)[0]
            head, _, rest = body.partition(b"\r\n\r\n")[2].partition(b"\r\n--")
            content = rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            name = json.loads(head)["name"]
            self.objects[f"{bucket}/{name}"] = content
            return _json({"name": name, "bucket": bucket, "size": str(len(content))})
        found = re.search(r"/b/([^/]+)/o/(.+)", path)
        key = unquote(f"{found[1]}/{found[2]}") if found else ""
        if key in self.denied:
            return _error(403, "does not have storage.objects.get access", "forbidden")
        if key not in self.objects:
            return _error(404, f"No such object: {key}", "notFound")
        if query.get("alt") == "media":
            return self._media(self.objects[key], span)
        crc32c = base64.b64encode(struct.pack(">I", google_crc32c.value(self.objects[key]))).decode()
        bucket, _, name = key.partition("/")
        size = str(len(self.objects[key]))
        return _json({"name": name, "bucket": bucket, "size": size, "crc32c": crc32c, "generation": "1"})

    def _drive(self, identity: str, query: dict[str, str], span: str) -> _Answer:
        if identity in self.denied:
            return _error(403, "The user does not have sufficient permissions", "insufficientFilePermissions")
        if identity in self.spent:
            return _error(403, "The download quota for this file has been exceeded.", "downloadQuotaExceeded")
        if identity not in self.drive:
            return _error(404, f"File not found: {identity}.", "notFound")
        content = self.drive[identity]
        if query.get("alt") == "media":
            return self._media(content, span)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return _json({"name": "backup", "size": str(len(content)), "md5Checksum": md5})

    def _media(self, content: bytes, span: str) -> _Answer:
        if self.broken_reads:
            self.broken_reads -= 1
            return _error(503, "We encountered an internal error. Please try again.", "backendError")
        first, last = (int(part) for part in span.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        headers = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
        return _Answer(status=206, body=part, headers=headers, cut=self.cuts.pop() if self.cuts else None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    cut: int | None = None


def _json(value: Any, status: int = 200) -> _Answer:
    return _Answer(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _error(status: int, message: str, reason: str) -> _Answer:
    errors = [{"reason": reason, "message": message}]
    return _json({"error": {"code": status, "message": message, "status": reason, "errors": errors}}, status)


@contextlib.contextmanager
def running(google: FakeGoogle, authority: Authority, directory: Path, address: str) -> Iterator[FakeGoogle]:
    """Serve it on port 443 of a loopback address, and a metadata server beside it."""
    chain, key = authority.issue(directory, [f"{host}.googleapis.com" for host in HOSTS])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    servers = [_Server((address, 443), _handler(google)), _Server((address, 0), _Metadata)]
    servers[0].socket = context.wrap_socket(servers[0].socket, server_side=True, do_handshake_on_connect=False)
    google.address, google.metadata = address, f"{address}:{servers[1].server_address[1]}"
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield google
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *arguments: Any) -> None: ...  # noqa: A002

    def send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, text in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])
        self.close_connection = answer.cut is not None


class _Metadata(_Quiet):
    def do_GET(self) -> None:
        texts = {"project-id": b"p", "email": b"job@p.iam.gserviceaccount.com", "scopes": b"cloud-platform"}
        flavor = {"Metadata-Flavor": "Google"}
        path = urlsplit(self.path).path.rstrip("/")
        name = path.rpartition("/")[2]
        if name == "token":
            token = {"access_token": "token-of-the-job", "expires_in": 3600, "token_type": "Bearer"}
            self.send(dataclasses.replace(_json(token), headers={**flavor, "Content-Type": "application/json"}))
        elif name == "default" or "@" in name:
            account = {"email": "job@p.iam.gserviceaccount.com", "scopes": ["cloud-platform"]}
            self.send(dataclasses.replace(_json(account), headers={**flavor, "Content-Type": "application/json"}))
        elif path in ("", "/computeMetadata/v1") or name in texts:
            self.send(_Answer(body=texts.get(name, b""), headers={**flavor, "Content-Type": "application/text"}))
        else:
            self.send(_Answer(status=404, headers=flavor))


def _handler(google: FakeGoogle) -> type[_Quiet]:
    class Handler(_Quiet):
        def do(self) -> None:
            if self.headers.get("Authorization") != "Bearer token-of-the-job":
                self.send(_error(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED"))
                return
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            span = self.headers.get("Range", "bytes=0-1073741824")
            self.send(google.answer(self.headers["Host"], self.command, parts.path, query, body, span))

        do_GET = do_POST = do_DELETE = do  # noqa: N815

    return Handler
