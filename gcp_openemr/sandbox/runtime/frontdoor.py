"""Google's front end for one Cloud Run service: a streaming HTTP/1.1 proxy on a port of this machine.

Limits and words are Cloud Run's: 32 MiB for a request and for a response that is not streamed, the service's timeout,
429 when no instance has a free place, 503 while none is ready (https://cloud.google.com/run/quotas).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Protocol

from gcp_openemr.sandbox.runtime.messages import (
    AFFINITY_COOKIE,
    BadMessage,
    Body,
    Head,
    Tally,
    TooLarge,
    cookie_of,
    dress,
    read_head,
    tag_of,
    write_body,
)

__all__ = ["Backend", "FrontDoor", "Route"]

LARGEST_MESSAGE = 32 << 20
# For callers whose `Authorization` is the application's own; never handed on.
_CALLER_HEADER = "x-serverless-authorization"
_AFFINITY_SECONDS = 30 * 86400  # https://cloud.google.com/run/docs/configuring/session-affinity
_CONNECT_SECONDS = 5.0
_QUEUE_SECONDS = 10.0
_IDLE_SECONDS = 620.0
_IDLE_CONNECTIONS = 16
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade"}

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Backend(Protocol):
    """An instance that can take a request. `timeout` in seconds for the whole of it.

    A client that shows an instance's `cookie` comes to it again, if it has one.
    """

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def timeout(self) -> float: ...

    @property
    def cookie(self) -> str: ...

    def enter(self) -> bool:
        """Take one of its places; False when all are taken or it is going."""

    def leave(self) -> None:
        """Give the place back."""


class Route(Protocol):
    """Where requests of a service go."""

    def choose(self, tag: str, cookie: str) -> Backend | None:
        """The client's instance, one by the shares of traffic, or of a tagged revision; None while none is ready."""

    def allows(self, authorization: str) -> tuple[int, str] | None:
        """None when this caller may invoke the service, else the status and page to refuse with."""


class _Refuse(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class FrontDoor:
    """Every service's listener, on one event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._idle: dict[tuple[str, int], list[Stream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front-door", daemon=True)
        self._thread.start()

    def open(self, name: str, listener: socket.socket, route: Route) -> None:
        """Send what comes to a listening socket along `route`; a service may have several."""

        async def start() -> None:
            listener.setblocking(False)
            server = await asyncio.start_server(
                lambda reader, writer: self._accept(reader, writer, route), sock=listener
            )
            self._servers.setdefault(name, []).append(server)

        asyncio.run_coroutine_threadsafe(start(), self._loop).result()

    def close(self, name: str) -> None:
        """Stop listening; requests in hand go on."""
        for server in self._servers.pop(name, []):
            self._loop.call_soon_threadsafe(server.close)

    def forget(self, address: tuple[str, int]) -> None:
        """Let go of idle connections to an instance that ends, so that it need not wait for them."""

        def close() -> None:
            for _, writer in self._idle.pop(address, []):
                writer.close()

        self._loop.call_soon_threadsafe(close)

    def stop(self) -> None:
        """End everything."""
        for name in list(self._servers):
            self.close(name)

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for streams in self._idle.values():
                for _, writer in streams:
                    writer.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        # asyncio does so only for sockets it made itself; without, every small answer waits 40 ms.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while await self._one(reader, writer, route):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of the two sides went away
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route) -> bool:
        """One request; returns whether the connection stays open."""
        tally = Tally()
        try:
            head = await _next_head(reader)
            if head is None:
                return False
            return await self._forward(head, reader, writer, route, tally)
        except TimeoutError:
            refuse = _Refuse(504, "upstream request timeout")
        except TooLarge:
            refuse = _Refuse(413, "Error: Request Entity Too Large. Your client issued a request that was too large.")
        except BadMessage as error:
            refuse = _Refuse(400, f"Bad Request: {error}")
        except _Refuse as error:
            refuse = error
        if not tally.answered:
            await _say(writer, refuse)
        return False

    async def _forward(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route, tally: Tally
    ) -> bool:
        refused = route.allows(head.get(_CALLER_HEADER) or head.get("authorization"))
        if refused:
            raise _Refuse(*refused)
        head.remove({_CALLER_HEADER})
        body = Body(reader, head, limit=LARGEST_MESSAGE)
        cookie = cookie_of(head)
        backend = await _place(route, tag_of(head), cookie)
        try:
            async with asyncio.timeout(backend.timeout):
                dress(head, str((writer.get_extra_info("peername") or ("127.0.0.1",))[0]))
                if head.get("upgrade") and "upgrade" in head.get("connection").lower():
                    await self._tunnel(head, backend, reader, writer, tally)
                    return False
                return await self._exchange(head, body, backend, writer, tally, known=cookie == backend.cookie)
        finally:
            backend.leave()

    async def _exchange(
        self, head: Head, body: Body, backend: Backend, writer: asyncio.StreamWriter, tally: Tally, *, known: bool
    ) -> bool:
        stay = head.keeps_open
        head.remove(_HOP_BY_HOP)
        upstream, answer, sending = await self._ask(head, body, backend, writer)
        finished = False
        try:
            length = answer.get("content-length")
            if head.method != "HEAD" and length.isdigit() and int(length) > LARGEST_MESSAGE:
                raise _Refuse(500, "Response size was too large. Please consider reducing response size.")
            reply = Body(upstream[0], answer, response_to=head.method)
            reusable = answer.keeps_open and not reply.until_close
            stay = stay and not (reply.until_close and head.version == "HTTP/1.0")
            answer.remove(_HOP_BY_HOP)
            chunked = reply.prepare_for(answer, head.version)
            stay = stay and (chunked or not reply.until_close)
            answer.set("connection", "keep-alive" if stay else "close")
            if backend.cookie and not known:
                value = f"{AFFINITY_COOKIE}={backend.cookie}; Max-Age={_AFFINITY_SECONDS}; Path=/; HttpOnly"
                answer.headers.append(("set-cookie", value))
            tally.answered = True
            writer.write(answer.encode())
            await write_body(reply, writer, chunked=chunked)
            finished = reusable and body.ended
            # An instance may answer without wanting the rest of the request.
            return stay and body.ended
        finally:
            if sending:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError, TooLarge, BadMessage):
                    await sending
            self._give_back(backend, upstream, finished)

    async def _ask(
        self, head: Head, body: Body, backend: Backend, writer: asyncio.StreamWriter
    ) -> tuple[Stream, Head, asyncio.Task[None] | None]:
        """Send the request and read the answer's head; the body may still be on its way in the returned task."""
        while True:
            upstream, used = await self._connect(backend)
            sending: asyncio.Task[None] | None = None
            try:
                upstream[1].write(head.encode())
                if body.empty:
                    await upstream[1].drain()
                else:
                    if head.get("expect").lower() == "100-continue":
                        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    sending = asyncio.create_task(write_body(body, upstream[1], chunked=body.chunked))
                answer = await _answer_head(upstream[0], sending)
                if answer is not None:
                    return upstream, answer, sending
            except ConnectionError:
                answer = None
            except BaseException:
                if sending:
                    sending.cancel()
                upstream[1].close()
                raise
            upstream[1].close()
            if used and body.empty:
                continue  # the instance had closed a connection that was kept: that was no answer to this request
            raise _Refuse(503, "upstream connect error or disconnect/reset before headers.")

    async def _connect(self, backend: Backend) -> tuple[Stream, bool]:
        idle = self._idle.get(backend.address, [])
        while idle:
            stream = idle.pop()
            if not stream[0].at_eof() and not stream[1].is_closing():
                return stream, True
            stream[1].close()
        try:
            return await asyncio.wait_for(asyncio.open_connection(*backend.address), _CONNECT_SECONDS), False
        except (OSError, TimeoutError) as error:
            raise _Refuse(503, "upstream connect error or disconnect/reset before headers.") from error

    def _give_back(self, backend: Backend, upstream: Stream, keep: bool) -> None:
        idle = self._idle.setdefault(backend.address, [])
        if keep and len(idle) < _IDLE_CONNECTIONS:
            idle.append(upstream)
        else:
            upstream[1].close()

    async def _tunnel(
        self, head: Head, backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally
    ) -> None:
        """WebSockets: after the heads, bytes both ways until either side ends."""
        upstream, _ = await self._connect(backend)
        tally.answered = True
        upstream[1].write(head.encode())
        pumps = [
            asyncio.create_task(_pump(reader, upstream[1])),
            asyncio.create_task(_pump(upstream[0], writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            upstream[1].close()


async def _next_head(reader: asyncio.StreamReader) -> Head | None:
    """The client's next request; None when it has closed or has been silent for too long."""
    try:
        return await asyncio.wait_for(read_head(reader), _IDLE_SECONDS)
    except TimeoutError:
        return None


async def _answer_head(reader: asyncio.StreamReader, sending: asyncio.Task[None] | None) -> Head | None:
    """The final answer's head. A request that turns out too large ends the wait at once."""
    while True:
        waiting = asyncio.create_task(read_head(reader, response=True))
        if sending:
            await asyncio.wait({waiting, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(sending.exception(), TooLarge | BadMessage | asyncio.IncompleteReadError):
                waiting.cancel()
                await sending
        answer = await waiting
        if answer is None or answer.status >= 200 or answer.status == 101:
            return answer


async def _place(route: Route, tag: str, cookie: str) -> Backend:
    """A free place at an instance, waiting a little for one."""
    deadline = asyncio.get_running_loop().time() + _QUEUE_SECONDS
    while True:
        backend = route.choose(tag, cookie)
        if backend is None:
            raise _Refuse(503, "The service is not ready: no instance is available.")
        if backend.enter():
            return backend
        if asyncio.get_running_loop().time() > deadline:
            raise _Refuse(429, "Rate exceeded.")
        await asyncio.sleep(0.01)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


async def _say(writer: asyncio.StreamWriter, refuse: _Refuse) -> None:
    text = refuse.text.encode() + b"\n"
    head = f"HTTP/1.1 {refuse.status} Refused\r\ncontent-type: text/plain; charset=utf-8\r\n"
    with contextlib.suppress(OSError):
        writer.write(head.encode() + f"content-length: {len(text)}\r\nconnection: close\r\n\r\n".encode() + text)
        await writer.drain()
