"""Servers on bad days: stopped, slow, full, and well again."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import MACHINE, MACHINE_ACCOUNT, SECRET, World, get, machine, mounted, serve, until


@pytest.fixture(scope="module")
def uri(world: World, image: str) -> str:
    world.run(inside.put_secret, SECRET, "latest", "first", f"serviceAccount:{MACHINE_ACCOUNT}")
    world.call("start_machine", machine())
    world.run(inside.make_share, "clinics/main")
    return serve(world, mounted(world, "clinic", image))


@pytest.fixture(autouse=True)
def well_afterwards(world: World) -> Iterator[None]:
    yield
    for kind in ("redis", "share"):
        world.call("disturb", kind, "files", "well")


def test_a_full_share_has_no_space_left_until_it_is_well(world: World, uri: str) -> None:
    world.call("disturb", "share", "files", "full")
    assert get(uri, "/write?/sites/x&100000") == {"errno": 28}
    world.call("disturb", "share", "files", "well")
    assert "seconds" in get(uri, "/write?/sites/x&100000")


def test_a_slow_share_lets_writers_wait(world: World, uri: str) -> None:
    world.call("disturb", "share", "files", "slow")
    slow = [get(uri, f"/write?/sites/slow{number}")["seconds"] for number in range(2)]
    world.call("disturb", "share", "files", "well")
    assert max(slow) > get(uri, "/write?/sites/quick")["seconds"]


def test_a_stopped_share_hangs_and_cannot_be_mounted(world: World, uri: str, image: str) -> None:
    world.call("disturb", "share", "files", "stopped")
    assert not world.call("machine_healthy", MACHINE)
    with pytest.raises(Refused, match="Connection timed out"):
        serve(world, mounted(world, "late", image))
    with pytest.raises(OSError, match="timed out"):
        get_soon(uri, "/write?/sites/y")
    world.call("disturb", "share", "files", "well")
    assert "seconds" in get(uri, "/write?/sites/y")


def get_soon(uri: str, path: str) -> None:
    host, _, port = uri.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=1) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(100)


def test_redis_stops_and_comes_back(world: World, uri: str) -> None:
    world.call("disturb", "redis", "files", "stopped")
    assert get(uri, "/connect?10.8.0.9&6379") == {"connected": False}
    assert not world.call("machine_healthy", MACHINE)
    world.call("delete_machine", MACHINE)
    world.call("start_machine", machine())
    assert get(uri, "/connect?10.8.0.9&6379") == {"connected": False}
    world.call("disturb", "redis", "files", "well")
    until(lambda: world.call("machine_healthy", MACHINE))


def test_a_lost_machine_comes_back_on_its_disk_and_clients_find_the_share_again(world: World, uri: str) -> None:
    get(uri, "/write?/sites/kept")
    world.call("delete_machine", MACHINE)
    with pytest.raises(OSError, match="timed out"):
        get_soon(uri, "/write?/sites/meanwhile")
    world.call("start_machine", machine())
    assert "seconds" in get(uri, "/write?/sites/after")
    assert world.run(inside.read_share, "clinics/main/kept") == "written"


def test_redis_is_full_or_slow(world: World, uri: str) -> None:
    world.call("disturb", "redis", "files", "full")
    assert world.run(inside.redis, "SET", "x", "1").startswith("OOM command not allowed")
    world.call("disturb", "redis", "files", "well")
    assert world.run(inside.redis, "SET", "x", "1") == "OK"
    world.call("disturb", "redis", "files", "slow")
    assert world.run(inside.redis, "GET", "x") == "1"


def test_only_a_machine_that_runs_can_be_disturbed(world: World) -> None:
    with pytest.raises(Refused, match="No machine other runs"):
        world.call("disturb", "redis", "other", "slow")
