"""Connections to MySQL as the jobs hold them for hours."""

from __future__ import annotations

import socket

from jobs import database
from jobs.redacted import Redacted
from tests.jobs.world import DATABASE_PASSWORD, World


def test_a_silent_connection_is_kept_alive(world: World) -> None:
    with database.connect(world.wanted.server, world.wanted.user, Redacted(DATABASE_PASSWORD)) as connection:
        held: socket.socket = connection._sock  # type: ignore[attr-defined]
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        wanted = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 8}
        assert {name: held.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in wanted} == wanted
