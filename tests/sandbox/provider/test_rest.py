"""The client against a server of a few lines that says what a test wants."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gcp_openemr.sandbox.provider.rest import ApiError, Client, OperationFailed

HOST = "x.googleapis.com"


class Scripted(http.server.ThreadingHTTPServer):
    """Gives its answers in order, the last one for ever; None drops the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Any] | None] = []
        self.seen: list[tuple[str, str, str]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A dropped connection is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, self.headers["Authorization"]))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer is None:
            self.close_connection = True
            return
        body = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *_arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield scripted
    scripted.shutdown()
    scripted.server_close()
    thread.join()


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    made = Client(url=f"http://127.0.0.1:{server.server_port}", token="t", patience=2)
    yield made
    made.close()


def test_call_names_host_query_and_token(server: Scripted, client: Client) -> None:
    server.answers = [(200, {"a": 1})]
    assert client.call("POST", HOST, "/v1/things", {"b": 2}, {"thingId": "t/1"}) == {"a": 1}
    assert server.seen == [("POST", "/x.googleapis.com/v1/things?thingId=t%2F1", "Bearer t")]


@pytest.mark.parametrize("passing", [(503, {}), (429, {}), None])
def test_refusals_of_the_moment_are_tried_again(server: Scripted, client: Client, passing: Any) -> None:
    server.answers = [passing, passing, (200, {"ok": True})]
    assert client.call("GET", HOST, "/v1/x") == {"ok": True}
    assert len(server.seen) == 3


def test_patience_ends(server: Scripted, client: Client) -> None:
    server.answers = [(503, {"error": {"code": 503, "message": "busy"}})]
    with pytest.raises(ApiError, match="Error 503: busy"):
        client.call("GET", HOST, "/v1/x")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"message": "no"}, "googleapi: Error 400: no"),
        (
            {"message": "no", "errors": [{"message": "no", "reason": "invalid"}]},
            "googleapi: Error 400: no, invalid",
        ),
        (
            {"message": "no", "details": [{"a": 1}]},
            'googleapi: Error 400: no\nDetails:\n[\n  {\n    "a": 1\n  }\n]\n',
        ),
    ],
)
def test_errors_read_like_googles_go_client(server: Scripted, client: Client, error: Any, sentence: str) -> None:
    server.answers = [(400, {"error": {"code": 400, **error}})]
    with pytest.raises(ApiError) as caught:
        client.call("GET", HOST, "/v1/x")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("started", "done", "asked"),
    [
        (
            {"name": "projects/p/operations/o"},
            {"name": "projects/p/operations/o", "done": True, "response": {"a": 1}},
            "/x.googleapis.com/v1/projects/p/operations/o",
        ),
        (
            {
                "kind": "compute#operation",
                "name": "o",
                "status": "RUNNING",
                "selfLink": "https://h/compute/v1/projects/p/zones/z/operations/o",
            },
            {"name": "o", "status": "DONE"},
            "/x.googleapis.com/compute/v1/projects/p/zones/z/operations/o",
        ),
        (
            {"kind": "sql#operation", "name": "o", "status": "PENDING", "targetProject": "p"},
            {"name": "o", "status": "DONE"},
            "/x.googleapis.com/v1/projects/p/operations/o",
        ),
    ],
)
def test_operations_are_polled_to_their_end(
    server: Scripted, client: Client, started: Any, done: Any, asked: str
) -> None:
    server.answers = [(200, started), (200, done)]
    result = client.wait(HOST, "v1", started, timeout=10)
    assert result == done.get("response", done)
    assert {path for _, path, _ in server.seen} == {asked}


def test_failed_operation_says_why(client: Client) -> None:
    failed = {"name": "operations/o", "done": True, "error": {"code": 9, "message": "not ready"}}
    with pytest.raises(OperationFailed, match="Error code 9, message: not ready"):
        client.wait(HOST, "v1", failed, timeout=1)
    errors = {"kind": "compute#operation", "status": "DONE", "error": {"errors": [{"message": "one"}, {"code": "TWO"}]}}
    with pytest.raises(OperationFailed, match="one\nTWO"):
        client.wait(HOST, "v1", errors, timeout=1)


def test_resource_instead_of_an_operation_is_taken(client: Client) -> None:
    assert client.wait(HOST, "v1", {"name": "projects/p/r/x"}, timeout=1) == {"name": "projects/p/r/x"}


def test_waiting_ends_in_time_and_when_told(server: Scripted, client: Client) -> None:
    running = {"name": "operations/o", "done": False}
    server.answers = [(200, running)]
    with pytest.raises(OperationFailed, match="timeout while waiting"):
        client.wait(HOST, "v1", running, timeout=0.1)
    client.stopping.set()
    with pytest.raises(OperationFailed, match="context canceled"):
        client.wait(HOST, "v1", running, timeout=60)


def test_an_instance_that_is_busy_is_waited_for(server: Scripted, client: Client) -> None:
    error = {"code": 409, "message": "busy", "errors": [{"message": "busy", "reason": "operationInProgress"}]}
    server.answers = [(409, {"error": error}), (409, {"error": error}), (200, {"a": 1})]
    assert client.call("POST", HOST, "/v1/projects/p/instances") == {"a": 1}
    taken = {"code": 409, "message": "taken", "errors": [{"message": "taken", "reason": "alreadyExists"}]}
    server.answers = [(409, {"error": taken})]
    with pytest.raises(ApiError, match="taken"):
        client.call("POST", HOST, "/v1/projects/p/instances")


def test_token_is_not_shown() -> None:
    assert "hidden" not in repr(Client(url="http://x", token="hidden"))


def test_nobody_there() -> None:
    with pytest.raises(OperationFailed, match="Connection refused"):
        Client(url="http://127.0.0.1:1", token="t").call("GET", HOST, "/")
