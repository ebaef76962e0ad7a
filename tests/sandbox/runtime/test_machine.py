"""The machine: Redis with its users, and the exported directory."""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any

import pytest

from gcp_openemr.sandbox.interfaces import Json
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import ACCOUNT, LOCATION, NETWORK, PROJECT, REPOSITORY, World

NAME = f"{PROJECT}/zones/europe-west1-b/instances/files"
MACHINE_ACCOUNT = "files@clinic.iam.gserviceaccount.com"
FIRST = "first"
SECRET = f"{PROJECT}/secrets/redisroot"

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


def machine(**more: Any) -> Json:
    return {
        "name": "files",
        "selfLink": f"https://www.googleapis.com/compute/v1/{NAME}",
        "networkInterfaces": [{"network": f"https://www.googleapis.com/compute/v1/{NETWORK}", "networkIP": "10.8.0.9"}],
        "disks": [{"boot": True, "source": "boot"}, {"source": f"{PROJECT}/zones/europe-west1-b/disks/data"}],
        "serviceAccounts": [{"email": MACHINE_ACCOUNT}],
        "metadata": {"items": [{"key": "redis-admin-secret", "value": SECRET}]},
        **more,
    }


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


def runs(world: World) -> bool:
    return "redis" in dict(world.run(inside.containers))


def test_redis_waits_for_its_administrators_password(world: World, client: Client) -> None:
    world.call("start_machine", machine())
    assert not runs(world)
    assert "Redis waits for its administrator's password: Permission denied" in world.log("files")[0]
    world.run(inside.put_secret, SECRET, "latest", FIRST, f"serviceAccount:{MACHINE_ACCOUNT}")
    end = time.monotonic() + 10
    while not runs(world):
        assert time.monotonic() < end
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
    before = dict(world.run(inside.containers))["redis"]
    world.call("start_machine", machine(labels={"changed": "yes"}))
    assert dict(world.run(inside.containers))["redis"] == before
    world.call("delete_machine", f"compute.googleapis.com/{NAME}")
    world.call("start_machine", machine())
    assert client(("PING",), password="second") == [True]
    assert "invalid username-password pair" in client(("PING",), password=FIRST)
    assert client(("GET", "oe_main:x"), user="oe_main", password="clinic") == ["kept"]


def test_no_password_stands_in_a_file_of_the_disk(world: World) -> None:
    disk = world.directory / "disks/clinic/data/redis"
    assert stat.S_IMODE(disk.stat().st_mode) == 0o700
    contents = [path.read_bytes() for path in disk.rglob("*") if path.is_file()]
    assert any(b"user admin on" in content for content in contents)
    assert not any(word in content for content in contents for word in (b"second", b">clinic"))


def test_the_share_belongs_to_the_clinics_user(world: World) -> None:
    status = os.stat(world.directory / "disks/clinic/data/share")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1000, 0o755)


def test_a_deleted_disk_is_gone(world: World) -> None:
    world.call("delete_machine", NAME)
    world.call("delete_disk", f"compute.googleapis.com/{PROJECT}/zones/europe-west1-b/disks/data")
    assert not (world.directory / "disks/clinic/data").exists()
