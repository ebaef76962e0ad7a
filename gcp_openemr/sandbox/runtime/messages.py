"""HTTP/1.1 messages on asyncio streams: heads kept as they came, bodies streamed."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator, Collection

__all__ = [
    "AFFINITY_COOKIE",
    "BadMessage",
    "Body",
    "Head",
    "Tally",
    "TooLarge",
    "cookie_of",
    "dress",
    "read_head",
    "tag_of",
    "write_body",
]

AFFINITY_COOKIE = "GAESA"
_TAG_HEADER = "x-cloud-run-tag"

_LARGEST_HEAD = 64 << 10
_PIECE = 64 << 10


class BadMessage(Exception):
    """This is not HTTP."""


class TooLarge(Exception):
    """A body longer than its limit."""


@dataclasses.dataclass(kw_only=True)
class Tally:
    """Whether an answer to the request in hand has begun."""

    answered: bool = False


class Head:
    """A request's or response's first line and headers, in their order."""

    def __init__(self, first: tuple[str, str, str], headers: list[tuple[str, str]]) -> None:
        self.first = first
        self.headers = headers

    @property
    def method(self) -> str:
        return self.first[0]

    @property
    def version(self) -> str:
        return self.first[0] if self.first[0].startswith("HTTP/") else self.first[2]

    @property
    def status(self) -> int:
        return int(self.first[1])

    @property
    def keeps_open(self) -> bool:
        connection = self.get("connection").lower()
        return "keep-alive" in connection if self.version == "HTTP/1.0" else "close" not in connection

    def get(self, name: str) -> str:
        """The first value of a header (its name in lower case), "" when it is not there."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def set(self, name: str, value: str) -> None:
        """Replace all of a name by one."""
        self.remove({name})
        self.headers.append((name, value))

    def remove(self, names: Collection[str]) -> None:
        """Take headers out."""
        self.headers = [(key, value) for key, value in self.headers if key.lower() not in names]

    def encode(self) -> bytes:
        """As sent: requests always as HTTP/1.1, answers too."""
        first = ("HTTP/1.1", *self.first[1:]) if self.first[0].startswith("HTTP/") else (*self.first[:2], "HTTP/1.1")
        lines = [" ".join(first), *(f"{key}: {value}" for key, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


async def read_head(reader: asyncio.StreamReader, *, response: bool = False) -> Head | None:
    """The next head, None when the other side has closed before one began.

    Raises:
        BadMessage: it is none, or too long.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BadMessage("the head ended early") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadMessage("the head is too long") from error
    if len(raw) > _LARGEST_HEAD:
        raise BadMessage("the head is too long")
    line, *lines = raw.decode("latin-1").lstrip("\r\n").rstrip("\r\n").split("\r\n")
    first = line.split(" ", 2)
    if response and len(first) == 2:
        first.append("")
    version = first[0] if response else first[-1]
    if len(first) != 3 or version not in ("HTTP/1.0", "HTTP/1.1") or (response and not first[1].isdigit()):
        raise BadMessage("the first line cannot be read")
    headers: list[tuple[str, str]] = []
    for text in lines:
        name, colon, value = text.partition(":")
        if not colon or not name or name != name.strip():
            raise BadMessage("a header cannot be read")
        headers.append((name, value.strip()))
    return Head((first[0], first[1], first[2]), headers)


class Body:
    """The body that follows a head. Iterating gives its data, without chunk frames, once."""

    def __init__(
        self, reader: asyncio.StreamReader, head: Head, *, response_to: str = "", limit: int | None = None
    ) -> None:
        self._reader = reader
        self._limit = limit
        length, coding = head.get("content-length"), head.get("transfer-encoding").lower()
        bodiless = bool(response_to) and (response_to == "HEAD" or head.status in (204, 304) or head.status < 200)
        self.chunked = coding == "chunked" and not bodiless
        if coding and coding != "chunked":
            raise BadMessage(f"unknown transfer coding {coding}")
        if coding and length:
            raise BadMessage("both a length and a transfer coding")
        if length and not length.isdigit():
            raise BadMessage("the length is no number")
        self._left = int(length) if length and not bodiless else 0
        self.until_close = bool(response_to) and not bodiless and not length and not self.chunked
        self.empty = not self.chunked and not self.until_close and self._left == 0
        self.ended = self.empty
        if limit is not None and self._left > limit:
            raise TooLarge

    def prepare_for(self, head: Head, version: str) -> bool:
        """Make an answer's head fit a client of this HTTP version; returns whether to send chunks."""
        chunks = (self.chunked or self.until_close) and version == "HTTP/1.1"
        if self.chunked or self.until_close:
            head.remove({"transfer-encoding"})
            if chunks:
                head.set("transfer-encoding", "chunked")
        if self.chunked and not chunks:
            self.until_close = True
        return chunks

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises TooLarge when more than the limit comes, IncompleteReadError when less than announced."""
        total = 0
        while not self.ended:
            piece = await self._piece()
            total += len(piece)
            if self._limit is not None and total > self._limit:
                raise TooLarge
            if piece:
                yield piece

    async def _piece(self) -> bytes:
        if self.chunked and self._left == 0:
            await self._next_chunk()
            if self.ended:
                return b""
        piece = await self._reader.read(_PIECE if self.until_close and not self.chunked else min(_PIECE, self._left))
        if not piece:
            self.ended = True
            if self.until_close and not self.chunked:
                return b""
            raise asyncio.IncompleteReadError(b"", self._left)
        if self.chunked or not self.until_close:
            self._left -= len(piece)
            if self._left == 0:
                if self.chunked:
                    await self._reader.readexactly(2)
                else:
                    self.ended = True
        return piece

    async def _next_chunk(self) -> None:
        try:
            self._left = int((await self._reader.readuntil(b"\n")).split(b";")[0].strip(), 16)
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise BadMessage("a chunk without its size") from error
        if self._left == 0:
            while (await self._reader.readuntil(b"\n")).strip():
                pass
            self.ended = True


async def write_body(body: Body, writer: asyncio.StreamWriter, *, chunked: bool) -> None:
    """Send a body on, piece by piece as it comes."""
    async for piece in body.pieces():
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


def tag_of(head: Head) -> str:
    """The revision's tag, from the header or from a host name like `TAG---service.example`."""
    host = head.get("host")
    return head.get(_TAG_HEADER) or (host.split("---")[0] if "---" in host else "")


def cookie_of(head: Head) -> str:
    """What the client says of the instance it had last."""
    cookies = dict(part.strip().partition("=")[::2] for part in head.get("cookie").split(";"))
    return cookies.get(AFFINITY_COOKIE, "")


def dress(head: Head, client: str) -> None:
    """Add what Google's front end adds. The protocol is the true one: there is no TLS before this door."""
    before = head.get("x-forwarded-for")
    head.set("x-forwarded-for", f"{before}, {client}" if before else client)
    head.set("x-forwarded-proto", "http")
    head.set("forwarded", f'for="{client}";proto=http')
    if not head.get("x-cloud-trace-context"):
        trace, span = secrets.token_hex(16), secrets.token_hex(8)
        head.set("x-cloud-trace-context", f"{trace}/{int(span, 16)};o=0")
        head.set("traceparent", f"00-{trace}-{span}-00")
