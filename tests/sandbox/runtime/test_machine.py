"""The machine: Redis with its users, and the exported directory."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import (
    ACCOUNT,
    LOCATION,
    MACHINE,
    MACHINE_ACCOUNT,
    PROJECT,
    REPOSITORY,
    SECRET,
    World,
    machine,
)

NAME = MACHINE
FIRST = "first"

CLIENT = """
import json, os, redis
from redis.backoff import NoBackoff
from redis.retry import Retry
try:
    client = redis.Redis(host="10.8.0.9", username=os.environ["RUSER"], password=os.environ["RPASS"],
                         decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0))
    print(json.dumps([client.execute_command(*command) for command in json.loads(os.environ["COMMANDS"])]))
except Exception as error:
    print(json.dumps(str(error)))
"""


class Client:
    def __init__(self, world: World) -> None:
        self.world = world
        files = {
            "Dockerfile": 'FROM alpine:3.20\nCOPY c.py /c.py\nUSER 1000\nCMD ["python3", "/c.py"]\n',
            "c.py": CLIENT,
        }
        self.image = f"{REPOSITORY}/redis@{world.build(files, name='redis')['images'][0]['digest']}"

    def __call__(self, *commands: tuple[object, ...], user: str = "admin", password: str = FIRST) -> Any:
        name = f"redis-{time.monotonic_ns()}"
        values = {"RUSER": user, "RPASS": password, "COMMANDS": json.dumps(commands)}
        template = {
            "containers": [{"image": self.image, "env": [{"name": k, "value": v} for k, v in values.items()]}],
            "serviceAccount": ACCOUNT,
            "vpcAccess": {"networkInterfaces": [{"network": "net", "subnetwork": "sub"}]},
        }
        self.world.run(inside.execute, {"name": f"{LOCATION}/jobs/r/executions/{name}", "template": template})
        return json.loads(self.world.log(name)[-1].split(" ", 2)[2])


@pytest.fixture(scope="module")
def client(world: World) -> Client:
    return Client(world)


def running(world: World) -> int | None:
    return dict(world.run(inside.containers)).get("startup-script")


def healthy(world: World) -> bool:
    return bool(world.call("machine_healthy", f"compute.googleapis.com/{NAME}"))


def test_the_start_up_script_runs_and_waits_for_the_administrators_password(world: World, client: Client) -> None:
    world.call("start_machine", machine())
    lines = [line.split(" ", 2)[2] for line in world.log("files")]
    assert any("making a filesystem on the empty disk" in line for line in lines)
    assert any("waiting for the password" in line for line in lines)
    assert not healthy(world)
    world.run(inside.put_secret, SECRET, "latest", FIRST, f"serviceAccount:{MACHINE_ACCOUNT}")
    end = time.monotonic() + 20
    while not healthy(world):
        assert time.monotonic() < end, world.log("files")
        time.sleep(0.1)
    assert client(("PING",)) == [True]


def test_only_users_with_a_password_come_in(client: Client) -> None:
    assert "invalid username-password pair" in client(("PING",), password="wrong")
    assert "invalid username-password pair" in client(("PING",), user="default", password="")


def test_users_and_data_outlive_a_restart_and_a_new_administrators_password(world: World, client: Client) -> None:
    made = client(
        ("ACL", "SETUSER", "oe_main", "on", ">clinic", "~oe_main:*", "+@all", "-@admin"),
        ("ACL", "SAVE"),
        ("SET", "oe_main:x", "kept"),
    )
    assert [str(answer) for answer in made] in (["OK", "OK", "True"], ["True", "True", "True"])
    assert "no permissions to access one of the keys" in client(("GET", "other:x"), user="oe_main", password="clinic")
    world.run(inside.put_secret, SECRET, "latest", "second", f"serviceAccount:{MACHINE_ACCOUNT}")
    before = running(world)
    world.call("start_machine", machine(labels={"changed": "yes"}))
    assert running(world) == before
    world.call("delete_machine", f"compute.googleapis.com/{NAME}")
    world.call("start_machine", machine())
    assert client(("PING",), password="second") == [True]
    assert "invalid username-password pair" in client(("PING",), password=FIRST)
    assert client(("GET", "oe_main:x"), user="oe_main", password="clinic") == ["kept"]


def test_no_password_stands_in_a_file_of_the_disk(world: World) -> None:
    contents = dict(world.run(inside.read_disk))
    assert b"user admin on" in contents["redis/users.acl"]
    assert not any(word in content for content in contents.values() for word in (b"second", b">clinic"))


def test_a_deleted_disk_is_gone(world: World) -> None:
    world.call("delete_machine", NAME)
    world.call("delete_disk", f"compute.googleapis.com/{PROJECT}/zones/europe-west1-b/disks/data")
    assert not (world.directory / "disks/clinic/data.img").exists()
