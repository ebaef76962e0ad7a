"""The clinic's sessions in Redis: ending those of one user, through the clinic's own Redis account."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from jobs.errors import Unreachable
from jobs.redacted import Redacted
from jobs.settings import RedisServer

__all__ = ["end", "opens"]

_KEYS = "PHPREDIS_SESSION:"
_PAUSES = (0.25, 1.0, 4.0)  # seconds


def opens(server: RedisServer, account: str, password: Redacted) -> bool:
    """Whether Redis takes the password. Raises Unreachable where it does not answer.

    The library's own patience is not for this: to it a refusal is a connection that failed, and worth ten more tries.
    """
    pauses = iter(_PAUSES)
    with _connected(server, account, password) as client:
        client.set_retry(Retry(NoBackoff(), 0))
        while True:
            try:
                client.ping()
            except AuthenticationError:
                return False
            except RedisError:
                if (pause := next(pauses, None)) is None:
                    raise
                time.sleep(pause)
            else:
                return True


def end(server: RedisServer, account: str, password: Redacted, *, prefix: str, user: str) -> int:
    """End every session of an OpenEMR user, and return how many there were.

    OpenEMR ends them by itself, since a session remembers the hash it began with; so they end now, and can be counted.

    Raises:
        Unreachable: Redis does not answer or refuses.
    """
    mark = f'authUser|s:{len(user.encode())}:"{user}";'.encode()
    with _connected(server, account, password) as client:
        keys = list(client.scan_iter(match=f"{prefix}{_KEYS}*", count=1000))
        return sum(int(client.unlink(key)) for key in keys if mark in (client.get(key) or b""))


@contextlib.contextmanager
def _connected(server: RedisServer, account: str, password: Redacted) -> Iterator[redis.Redis]:
    client = redis.Redis(
        host=server.host,
        port=server.port,
        username=account,
        password=password.reveal(),
        socket_timeout=20,
        socket_connect_timeout=20,
    )
    try:
        yield client
    except RedisError as error:
        raise Unreachable(f"Redis at {server.host}:{server.port}: {error}") from error
    finally:
        client.close()
