"""Google as a job meets it: the sandbox's APIs behind TLS under Google's own names, and a metadata server.

The users of Cloud SQL are those of the test's MySQL.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.sandbox.api.serviceusage import enable_apis
from gcp_openemr.sandbox.runtime.metadata import MetadataServer
from gcp_openemr.sandbox.runtime.network import Identity, Interface, Networks
from tests import bad_days
from tests.jobs.servers import Authority, Mysql
from tests.sandbox.api.support import PROJECT, REGION, Cloud, RecordingRuntime

__all__ = ["HOSTS", "INSTANCE", "JOB", "Google", "running"]

HOSTS = tuple(f"{name}.googleapis.com" for name in ("secretmanager", "storage", "sqladmin", "www"))
INSTANCE = "oe-test-sql"
JOB = f"oe-test-job@{PROJECT}.iam.gserviceaccount.com"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Google:
    """`address` is where Google's names are, on port 443; `metadata` the metadata server's address with its port."""

    cloud: Cloud
    address: str
    metadata: str

    def call(self, method: str, api: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.cloud.call(method, api, path, body, **headers)
        assert answer.status in {200, 204}, answer.body
        return answer.body

    def put(self, bucket: str, name: str, content: bytes) -> None:
        """An object of Cloud Storage."""
        self.call("POST", "storage", f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name)}", content)

    def take(self, bucket: str, name: str) -> Any:
        """The JSON that a job wrote, which is gone then."""
        path = f"storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        content = self.call("GET", "storage", f"{path}?alt=media")
        self.call("DELETE", "storage", path)
        return content

    def put_on_drive(self, content: bytes, *, shared: bool = True, **fields: object) -> str:
        """The id of a file in a shared drive, of which the job is a member if it is `shared`."""
        every = "supportsAllDrives=true"
        drive = self.call("POST", "www", f"drive/v3/drives?requestId={os.urandom(8).hex()}", {"name": "Backups"})["id"]
        if shared:
            reader = {"type": "user", "role": "reader", "emailAddress": JOB}
            self.call("POST", "www", f"drive/v3/files/{drive}/permissions?{every}", reader)
        metadata = json.dumps({"name": "b.zip", "parents": [drive], **fields}).encode()
        head, middle = (f"--part\r\nContent-Type: application/{kind}\r\n\r\n".encode() for kind in ("json", "zip"))
        body = head + metadata + b"\r\n" + middle + content + b"\r\n--part--"
        kind = "multipart/related; boundary=part"
        path = f"upload/drive/v3/files?uploadType=multipart&{every}"
        return str(self.call("POST", "www", path, body, Content_Type=kind)["id"])

    def allow(self, name: str, *, allowed: bool = True) -> None:
        """Let the job read the secret of this name, or no longer."""
        bound = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{JOB}"]}
        policy = {"policy": {"bindings": [bound] if allowed else []}}
        self.call("POST", "secretmanager", f"v1/{name}:setIamPolicy", policy)


class _Runtime(RecordingRuntime):
    def __init__(self, mysql: Mysql) -> None:
        super().__init__()
        self._mysql = mysql

    def create_database_user(self, instance: str, user: str, host: str, password: str) -> None:
        self._note("create_database_user", instance, user, host)
        self._do("CREATE USER %s@%s IDENTIFIED BY %s", user, host, password)
        self._do("GRANT ALL ON *.* TO %s@%s WITH GRANT OPTION", user, host)

    def delete_database_user(self, instance: str, user: str, host: str) -> None:
        self._note("delete_database_user", instance, user, host)
        self._do("DROP USER %s@%s", user, host)

    def list_database_users(self, instance: str) -> Sequence[Mapping[str, str]]:  # noqa: ARG002 -- the protocol's
        found = self._do("SELECT User, Host FROM mysql.user WHERE Host = '%%'")
        return [{"name": str(user), "host": str(host)} for user, host in found]

    def _do(self, statement: str, *values: str) -> list[tuple[object, ...]]:
        with self._mysql.root() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())


class _Everybody:
    """Networks in which whoever asks is the job."""

    def peer(self, address: str) -> Interface:
        identity = Identity(account=JOB, project=PROJECT, region=REGION)
        return Interface(name="job", network="", identity=identity, address="", link_local=address)


@contextlib.contextmanager
def running(
    mysql: Mysql, authority: Authority, directory: Path, address: str, secrets: Mapping[str, str]
) -> Iterator[Google]:
    """With these secrets (full name of a version → value), and the buckets `backups`, `closed` and `results`."""
    chain, key = authority.issue(directory, HOSTS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    app = App(directory / "state")
    enable_apis(app.store, PROJECT)
    runtime = _Runtime(mysql)
    app.start(runtime)
    inside = serve(socket.create_server((address, 443)), app, tls_context=context)
    outside = serve(socket.create_server(("127.0.0.1", 0)), app)
    listener = socket.create_server((address, 0))
    metadata = f"{address}:{listener.getsockname()[1]}"
    told = MetadataServer(listener, access=app.access, networks=cast("Networks", _Everybody()))
    cloud = Cloud(app=app, runtime=runtime, url=f"http://127.0.0.1:{outside.port}")
    google = Google(cloud=cloud, address=address, metadata=metadata)
    try:
        _furnish(google, secrets)
        bad_days.spoil(app.faults.add, caller=f"*{JOB}")
        yield google
    finally:
        told.close()
        for server in (inside, outside):
            server.close()
        app.close()


def _furnish(google: Google, secrets: Mapping[str, str]) -> None:
    project, member = f"projects/{PROJECT}", f"serviceAccount:{JOB}"
    google.call("POST", "iam", f"v1/{project}/serviceAccounts", {"accountId": JOB.partition("@")[0]})
    bound = [{"role": "roles/cloudsql.admin", "members": [member]}]
    google.call("POST", "cloudresourcemanager", f"v1/{project}:setIamPolicy", {"policy": {"bindings": bound}})
    for version, value in sorted(secrets.items()):
        name = version.partition("/versions/")[0]
        if version.endswith("/1"):
            secret: dict[str, Any] = {"replication": {"automatic": {}}}
            google.call("POST", "secretmanager", f"v1/{project}/secrets?secretId={name.rpartition('/')[2]}", secret)
            google.allow(name)
        data = base64.b64encode(value.encode()).decode()
        google.call("POST", "secretmanager", f"v1/{name}:addVersion", {"payload": {"data": data}})
    for bucket, role in (("backups", "objectViewer"), ("closed", ""), ("results", "objectAdmin")):
        google.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": bucket})
        granted = [{"role": f"roles/storage.{role}", "members": [member]}] if role else []
        google.call("PUT", "storage", f"storage/v1/b/{bucket}/iam", {"bindings": granted})
    settings = {"tier": "db-g1-small", "ipConfiguration": {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}}}
    instance = {"name": INSTANCE, "region": REGION, "databaseVersion": "MYSQL_8_0", "settings": settings}
    google.cloud.wait(google.cloud.call("POST", "sqladmin", f"v1/{project}/instances", instance))
