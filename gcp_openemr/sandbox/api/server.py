"""A threaded HTTP/1.1 server on sockets that are already open: keep-alive, chunked bodies both ways, TLS."""

from __future__ import annotations

import contextlib
import http.server
import io
import re
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Protocol

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.messages import Request, Response, json_response

__all__ = ["Application", "Server", "serve"]

_CHUNK = 1024 * 1024
_HANDSHAKE_SECONDS = 10.0
_IDLE_SECONDS = 300.0
_DRAIN_LIMIT = 16 * 1024 * 1024


class Application(Protocol):
    """What answers."""

    def handle(self, request: Request) -> Response: ...


class Server:
    """A running server; `close()` ends its connections and threads."""

    def __init__(self, listener: socket.socket, app: Application, tls_context: ssl.SSLContext | None) -> None:
        self._listener = listener
        self._app = app
        self._tls = tls_context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = False
        self.port = int(listener.getsockname()[1])
        self._listener.settimeout(None)
        self._listener.listen(128)
        self._thread = threading.Thread(target=self._accept, name="http-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting and end every connection."""
        with self._lock:
            self._closing = True
            connections = list(self._open)
        for endpoint in (self._listener, *connections):
            with contextlib.suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closing or self._listener.fileno() < 0:
                    return
                continue
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="http", daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection.settimeout(_HANDSHAKE_SECONDS)
                connection = self._tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            connection.settimeout(_IDLE_SECONDS)
            _Connection(connection, self._app, "http" if self._tls is None else "https")
        except OSError:
            pass  # the other side went away: there is nobody left to tell
        finally:
            with self._lock:
                self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()


def serve(listener: socket.socket, app: Application, *, tls_context: ssl.SSLContext | None = None) -> Server:
    """Answer on an already bound socket until `close()`. Several sockets may serve one application."""
    return Server(listener, app, tls_context)


class _Connection(http.server.BaseHTTPRequestHandler):
    """One connection. The base class parses request lines and headers."""

    protocol_version = "HTTP/1.1"
    server_version = "gcp-openemr-sandbox"
    sys_version = ""
    _headers_buffer: list[bytes]

    def __init__(self, connection: socket.socket, app: Application, scheme: str) -> None:
        self._app = app
        self._scheme = scheme
        self._ends = ("{}:{}".format(*connection.getpeername()), "{}:{}".format(*connection.getsockname()))
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]

    def address_string(self) -> str:
        return ""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Nothing: the application keeps its own record."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class looks for do_GET, do_POST, …: all of them are one method here.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        try:
            body = _body(self.rfile, headers)
        except ApiError as error:
            self.close_connection = True
            self._send(json_response(error.body(), status=error.code))
            return
        request = Request(
            method=self.command,
            target=self.path,
            headers=headers,
            body=body,
            scheme=self._scheme,
            connection=self._ends,
        )
        try:
            response = self._app.handle(request)
        except ConnectionAbortedError:
            self.close_connection = True
            return
        except Exception:
            traceback.print_exc()
            defect = ApiError(500, "Internal error encountered.", reason="backendError")
            response = json_response(defect.body(), status=500)
        if not body.drain(_DRAIN_LIMIT):
            self.close_connection = True
        self._send(response)

    def _send(self, response: Response) -> None:
        length = len(response.body) if isinstance(response.body, bytes) else response.length
        self.send_response(response.status)
        for key, value in response.headers.items():
            self.send_header(key, value)
        bodiless = response.status in {204, 304}
        chunked = length is None and not bodiless
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif not bodiless:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        if isinstance(response.body, bytes):
            # Head and body in one packet: a second small write would wait for the other side's acknowledgement.
            head = b"".join(self._headers_buffer) + b"\r\n"
            self._headers_buffer = []
            silent = bodiless or self.command == "HEAD"
            self.wfile.write(head if silent else head + response.body)
            return
        self.end_headers()
        self._send_chunks(response, chunked=chunked, silent=bodiless or self.command == "HEAD")

    def _send_chunks(self, response: Response, *, chunked: bool, silent: bool) -> None:
        try:
            for chunk in () if silent else response.body:
                if not chunk:
                    continue
                assert isinstance(chunk, bytes)  # noqa: S101 -- tells the checker which branch this is
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if chunked and not silent:
                self.wfile.write(b"0\r\n\r\n")
        finally:
            close = getattr(response.body, "close", None)
            if close is not None:
                close()


class _Body(io.RawIOBase):
    """A request body that ends where HTTP says it ends."""

    def __init__(self, source: io.BufferedIOBase, length: int | None) -> None:
        super().__init__()
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._ended = length == 0

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = -1 if size is None else size
        parts: list[bytes] = []
        while wanted != 0 and not self._ended:
            part = self._part(_CHUNK if wanted < 0 else min(wanted, _CHUNK))
            parts.append(part)
            if wanted > 0:
                wanted -= len(part)
        return b"".join(parts)

    def drain(self, limit: int) -> bool:
        """Read what the application left, so that the next request starts where it should."""
        while limit > 0 and not self._ended:
            limit -= len(self._part(min(limit, _CHUNK)))
        return self._ended

    def _part(self, size: int) -> bytes:
        if self._left == 0:
            self._next_chunk()
            if self._ended:
                return b""
        data = self._source.read(min(size, self._left))
        if not data:
            self._ended = True
            raise ConnectionAbortedError("the request body ended early")
        self._left -= len(data)
        if self._left == 0:
            if self._chunked:
                self._source.readline(4)
            else:
                self._ended = True
        return data

    def _next_chunk(self) -> None:
        try:
            self._left = int(self._source.readline(1024).split(b";")[0], 16)
            if self._left < 0:
                raise ValueError
        except ValueError as error:
            self._ended = True
            raise ConnectionAbortedError("a chunk without its size") from error
        if self._left == 0:
            while self._source.readline(8192) not in {b"\r\n", b"\n", b""}:
                pass
            self._ended = True


def _body(source: io.BufferedIOBase, headers: Mapping[str, str]) -> _Body:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _Body(source, None)
    given = headers.get("content-length", "0").strip()
    if not re.fullmatch(r"[0-9]{1,18}", given):
        raise ApiError(400, "Your client has issued a malformed or illegal request.")
    return _Body(source, int(given))
