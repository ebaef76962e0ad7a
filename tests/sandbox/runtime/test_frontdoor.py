"""The front door against small servers that do what applications do, well and badly."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gcp_openemr.sandbox.runtime import frontdoor
from gcp_openemr.sandbox.runtime.frontdoor import FrontDoor

MEBI = 1 << 20


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def _read(self) -> int:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        total = 0
        while size := int(self.rfile.readline(), 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return total

    def do_POST(self) -> None:
        self._say(str(self._read()).encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], None]] = {
            "/": lambda: self._say(b"hello"),
            "/slow": self._slow,
            "/chunks": self._chunks,
            "/until-close": self._until_close,
            "/huge": self._huge,
            "/cut": self._cut,
            "/nothing": self._nothing,
            "/peer": lambda: self._say(str(self.client_address[1]).encode()),
        }
        answers[self.path]()

    def _slow(self) -> None:
        time.sleep(0.6)
        self._say(b"late")

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.end_headers()
        self.wfile.write(body)

    def _chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"one ", b"two ", b"three"):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _until_close(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        self.close_connection = True

    def _huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(33 * MEBI))
        self.end_headers()
        self.close_connection = True

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"only this")
        self.close_connection = True

    def _nothing(self) -> None:
        self.close_connection = True


class Instance:
    def __init__(self, port: int, *, timeout: float = 5, places: int = 80) -> None:
        self.address = ("127.0.0.1", port)
        self.timeout = timeout
        self.places = places
        self.cookie = ""

    def enter(self) -> bool:
        if self.places == 0:
            return False
        self.places -= 1
        return True

    def leave(self) -> None:
        self.places += 1


class Route:
    def __init__(self) -> None:
        self.backend: Instance | None = None
        self.tags: list[str] = []
        self.cookies: list[str] = []
        self.callers: list[str] = []
        self.refusal: tuple[int, str] | None = None

    def choose(self, tag: str, cookie: str) -> Instance | None:
        self.tags.append(tag)
        self.cookies.append(cookie)
        return self.backend

    def allows(self, authorization: str) -> tuple[int, str] | None:
        self.callers.append(authorization)
        return self.refusal


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def route(application: int) -> Route:
    made = Route()
    made.backend = Instance(application)
    return made


@pytest.fixture
def port(route: Route) -> Iterator[int]:
    door = FrontDoor()
    listener = socket.create_server(("127.0.0.1", 0))
    door.open("service", listener, route)
    yield int(listener.getsockname()[1])
    door.stop()


@pytest.fixture
def ask(port: int) -> Iterator[Callable[..., tuple[int, bytes]]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def request(method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield request
    connection.close()


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


Ask = Callable[..., tuple[int, bytes]]


def test_one_connection_carries_many_requests(ask: Ask) -> None:
    assert [ask("GET", "/"), ask("POST", "/", b"x" * 100_000), ask("HEAD", "/"), ask("GET", "/")] == [
        (200, b"hello"),
        (200, b"100000"),
        (200, b""),
        (200, b"hello"),
    ]


def test_chunks_pass_both_ways(ask: Ask) -> None:
    pieces = iter([b"a" * 10, b"b" * 20])
    assert ask("POST", "/", pieces, **{"Transfer-Encoding": "chunked"}) == (200, b"30")
    assert ask("GET", "/chunks") == (200, b"one two three")


def test_an_answer_without_a_length_ends_with_the_connection_behind(ask: Ask) -> None:
    assert ask("GET", "/until-close") == (200, b"all of it")
    assert ask("GET", "/") == (200, b"hello")


def test_an_old_client_gets_no_chunks(port: int) -> None:
    answer = raw(port, b"GET /chunks HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"one two three"
    assert b"chunked" not in head.lower()


def test_connections_to_the_instance_are_kept(ask: Ask) -> None:
    assert len({ask("GET", "/peer") for _ in range(5)}) == 1


def test_headers_that_repeat_stay(port: int) -> None:
    answer = raw(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.lower().count(b"set-cookie:") == 2


def test_a_request_above_the_limit_is_refused(ask: Ask, route: Route) -> None:
    assert ask("POST", "/", b"x" * (frontdoor.LARGEST_MESSAGE))[0] == 200
    status, _ = ask("POST", "/", b"x", **{"Content-Length": str(frontdoor.LARGEST_MESSAGE + 1)})
    assert status == 413
    assert route.backend
    assert route.backend.places == 80


def test_an_endless_request_in_chunks_is_refused_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b"x" * MEBI + b"\r\n"
        try:
            for _ in range(40):
                connection.sendall(piece)
        except OSError:
            pass
        try:
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""
    assert answer == b"" or b" 413 " in answer.splitlines()[0]


def test_an_answer_above_the_limit_is_an_error(ask: Ask) -> None:
    status, text = ask("GET", "/huge")
    assert (status, text) == (500, b"Response size was too large. Please consider reducing response size.\n")


def test_a_request_that_takes_too_long_ends(ask: Ask, route: Route, application: int) -> None:
    route.backend = Instance(application, timeout=0.2)
    assert ask("GET", "/slow") == (504, b"upstream request timeout\n")


def test_an_answer_that_breaks_off_breaks_off_for_the_client(ask: Ask) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask("GET", "/cut")


def test_an_instance_that_says_nothing_is_an_error(ask: Ask) -> None:
    assert ask("GET", "/nothing")[0] == 503


def test_no_instance_means_503(ask: Ask, route: Route) -> None:
    route.backend = None
    assert ask("GET", "/")[0] == 503


def test_a_full_instance_means_429_after_a_wait(ask: Ask, route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontdoor, "_QUEUE_SECONDS", 0.2)
    assert route.backend
    route.backend.places = 0
    assert ask("GET", "/") == (429, b"Rate exceeded.\n")
    route.backend.places = 1
    assert ask("GET", "/")[0] == 200
    assert ask("GET", "/")[0] == 200  # the place is free again


def test_a_caller_without_the_right_is_refused(ask: Ask, route: Route) -> None:
    route.refusal = (403, "Forbidden")
    assert ask("GET", "/", Authorization="Bearer a", **{"X-Serverless-Authorization": "Bearer b"})[0] == 403
    assert route.callers == ["Bearer b"]


def test_a_client_is_told_its_instance_once(port: int, route: Route) -> None:
    assert route.backend
    route.backend.cookie = "abc"
    lines = [b"X: y", b"Cookie: a=1; GAESA=abc", b"Cookie: GAESA=gone"]
    told = [
        b"GAESA=abc;" in raw(port, b"GET / HTTP/1.1\r\nConnection: close\r\n" + line + b"\r\n\r\n") for line in lines
    ]
    assert (told, route.cookies) == ([True, False, True], ["", "abc", "gone"])


def test_tags_come_from_header_or_host(port: int, route: Route) -> None:
    for header in (b"X-Cloud-Run-Tag: blue", b"Host: green---x.localhost:1", b"Host: x"):
        raw(port, b"GET / HTTP/1.1\r\nConnection: close\r\n" + header + b"\r\n\r\n")
    assert route.tags == ["blue", "green", ""]


@pytest.mark.parametrize(
    "request_",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nbroken header\r\n\r\n",
        b"GET / HTTP/1.1\r\nSpace : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(port: int, request_: bytes) -> None:
    assert raw(port, request_).startswith(b"HTTP/1.1 400 ")


def test_a_websocket_passes(port: int, route: Route) -> None:
    behind = socket.create_server(("127.0.0.1", 0))
    route.backend = Instance(behind.getsockname()[1])

    def answer() -> None:
        connection, _ = behind.accept()
        with connection:
            while not connection.recv(65536).endswith(b"\r\n\r\n"):
                pass
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
            connection.sendall(connection.recv(100).upper())

    thread = threading.Thread(target=answer)
    thread.start()
    with behind, socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        client.sendall(b"ping")
        assert client.recv(100) == b"PING"
    thread.join()
