"""HTTP as clients speak it, well and badly."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from pathlib import Path

import pytest

from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.server import serve
from tests.sandbox.api.support import PROJECT, Cloud


def address(cloud: Cloud) -> tuple[str, int]:
    host, _, port = cloud.url.removeprefix("http://").partition(":")
    return host, int(port)


@pytest.fixture
def headers(cloud: Cloud) -> dict[str, str]:
    cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": "a-bucket"})
    return {"Authorization": f"Bearer {cloud.app.operator_token}"}


def test_many_requests_share_a_connection_whatever_their_answers(cloud: Cloud, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(*address(cloud), timeout=10)
    path = "/upload/storage/v1/b/{}/o?uploadType=media&name=x"
    statuses = []
    for bucket in ("a-bucket", "no-bucket", "a-bucket"):
        connection.request("POST", path.format(bucket), body=b"x" * 100_000, headers=headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [200, 404, 200]


def test_chunked_and_gzipped_bodies_are_understood(cloud: Cloud, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(*address(cloud), timeout=10)
    path = "/upload/storage/v1/b/a-bucket/o?uploadType=media&name=x"
    connection.request("POST", path, body=iter([b"one", b"two"]), headers=headers, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["size"] == "6"
    body = gzip.compress(json.dumps({"labels": {"a": "b"}}).encode())
    connection.request("PATCH", "/storage/v1/b/a-bucket", body=body, headers={**headers, "Content-Encoding": "gzip"})
    assert json.loads(connection.getresponse().read())["labels"] == {"a": "b"}
    broken = {**headers, "Content-Encoding": "gzip"}
    connection.request("PATCH", "/storage/v1/b/a-bucket", body=b"no gzip", headers=broken)
    answer = connection.getresponse()
    assert (answer.status, "gzip" in json.loads(answer.read())["error"]["message"]) == (400, True)
    connection.close()


def test_the_api_is_chosen_by_host_name_too(cloud: Cloud, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(*address(cloud), timeout=10)
    for host, path in (
        ("secretmanager.googleapis.com", f"/v1/projects/{PROJECT}/secrets"),
        ("storage.googleapis.com", "/storage/v1/b/a-bucket"),
        ("www.googleapis.com", f"/compute/v1/projects/{PROJECT}/global/networks"),
        ("cloudresourcemanager.googleapis.com:443", f"/v1/projects/{PROJECT}"),
        ("sqladmin.googleapis.com", f"/sql/v1beta4/projects/{PROJECT}/instances"),
    ):
        connection.request("GET", path, headers={**headers, "Host": host})
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{"), host
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/run.googleapis.com/v2/nothing/here", b"", 404),
        ("GET", "/run.googleapis.com/v1/namespaces/x/services", b"", 404),
        ("GET", "/nosuch.googleapis.com/v1/x", b"", 501),
        ("POST", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?secretId=x", b"{", 400),
        ("POST", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?secretId=x", b"[]", 400),
        ("POST", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?secretId=x", b'{"a": NaN}', 400),
        (
            "POST",
            f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets",
            b'{"replication": {"automatic": {}}}',
            400,
        ),
        ("GET", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?pageSize=x", b"", 400),
        ("GET", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?pageToken=!", b"", 400),
        ("GET", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?nosuch=1", b"", 400),
        ("GET", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets?filter=((", b"", 400),
        ("POST", f"/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/x:enableManagedRotation", b"{}", 501),
        ("POST", "/batch/storage/v1", b"no batch", 400),
        ("POST", "/upload/storage/v1/b/a-bucket/o?uploadType=multipart&name=x", b"no parts", 400),
        ("PUT", "/a-bucket/x", b"x", 501),
        ("GET", "/", b"", 501),
    ],
)
def test_nonsense_gets_googles_error_and_never_500(
    cloud: Cloud, headers: dict[str, str], method: str, path: str, body: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection(*address(cloud), timeout=10)
    connection.request(method, path, body=body or None, headers={**headers, "Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.read()
    assert answer.status == status, found
    if not path.startswith(("/a-bucket", "/?")) and path != "/":
        error = json.loads(found)["error"]
        assert error["code"] == status
        assert error["message"]
    connection.close()


def test_a_body_that_breaks_off_changes_nothing(cloud: Cloud, headers: dict[str, str]) -> None:
    head = (
        "POST /upload/storage/v1/b/a-bucket/o?uploadType=media&name=half HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {headers['Authorization']}\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection(address(cloud)) as plain:
        plain.sendall(head.encode() + b"x" * 5000)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(65536):
            pass
    assert not list(cloud.app.objects.uploads.parent.glob("*.part"))
    assert cloud.call("GET", "storage", "storage/v1/b/a-bucket/o/half").status == 404


def test_closing_ends_open_connections(tmp_path: Path) -> None:
    app = App(tmp_path)
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        plain.sendall(b"GET /storage/v1/b/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(12) == b"HTTP/1.1 404"
        server.close()
        while plain.recv(65536):
            pass
    app.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
