"""A clinic's Redis user: its own keys, no others, and no command that looks beyond them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from jobs.errors import Unreachable
from jobs.redacted import Redacted
from jobs.settings import RedisServer

__all__ = ["administrator", "end_connections", "ensure_user", "remove_user", "set_passwords"]

# sessions are strings with a lifetime; their locks are released by a script
_COMMANDS = ("-@all", "+@read", "+@write", "+@connection", "+@scripting", "+@transaction", "-@dangerous", "-@admin")


@contextlib.contextmanager
def administrator(server: RedisServer, user: str, password: Redacted) -> Iterator[redis.Redis]:
    """A connection as the administrator.

    Raises:
        Unreachable: nothing answers, or the password is wrong.
    """
    client = redis.Redis(
        host=server.host,
        port=server.port,
        username=user,
        password=password.reveal(),
        socket_timeout=20,
        socket_connect_timeout=20,
    )
    try:
        client.ping()
        yield client
    except AuthenticationError as error:
        raise Unreachable(f"Redis at {server.host} refused its administrator.") from error
    except RedisError as error:
        raise Unreachable(f"Redis at {server.host}:{server.port}: {error}") from error
    finally:
        client.close()


def ensure_user(client: redis.Redis, name: str, password: Redacted, *, prefix: str) -> None:
    """Make the user, or bring its rules up to date. The password is added to those the user has.

    An earlier password stays valid, since running revisions may still use it; a rotation ends it when they are gone.
    """
    client.execute_command("ACL", "SETUSER", name, "on", *_rules(prefix), f">{password.reveal()}")
    _save(client)


def set_passwords(client: redis.Redis, name: str, passwords: Sequence[Redacted], *, prefix: str) -> None:
    """As `ensure_user`, and every other password ends, all in one command."""
    given = (f">{password.reveal()}" for password in passwords)
    client.execute_command("ACL", "SETUSER", name, "on", *_rules(prefix), "resetpass", *given)
    _save(client)


def end_connections(client: redis.Redis, name: str) -> None:
    """End the connections of a user, which outlive its passwords."""
    client.execute_command("CLIENT", "KILL", "USER", name)


def remove_user(client: redis.Redis, name: str, *, prefix: str) -> None:
    """Remove the user and its keys."""
    client.execute_command("ACL", "DELUSER", name)
    for key in client.scan_iter(match=f"{prefix}*", count=1000):
        client.unlink(key)
    _save(client)


def _rules(prefix: str) -> tuple[str, ...]:
    return ("resetkeys", f"~{prefix}*", "resetchannels", f"&{prefix}*", *_COMMANDS)


def _save(client: redis.Redis) -> None:
    """Write the users to the server's ACL file, so that they survive its restart."""
    try:
        client.execute_command("ACL", "SAVE")
    except ResponseError as error:
        raise Unreachable(f"Redis has no ACL file to keep its users in: {error}") from error
