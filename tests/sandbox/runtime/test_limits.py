"""What a container may use and reach: memory, volumes, the VPC and Google."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from gcp_openemr.sandbox.interfaces import Json, Refused
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import (
    MACHINE_ACCOUNT,
    NETWORK,
    PROJECT,
    SECRET,
    World,
    get,
    machine,
    mounted,
    revision,
    serve,
    until,
)
from tests.sandbox.runtime.test_jobs import completed, execution

CLIENTS = f"compute.googleapis.com/{PROJECT}/global/firewalls/clients"
SUBNETWORKS = f"compute.googleapis.com/{PROJECT}/regions/europe-west1/subnetworks"


@pytest.fixture(scope="module")
def files(world: World) -> World:
    """A world whose files machine is ready."""
    world.run(inside.put_secret, SECRET, "latest", "first", f"serviceAccount:{MACHINE_ACCOUNT}")
    world.call("start_machine", machine())
    world.run(inside.make_share, "clinics/main")
    return world


def limited(memory: str = "64Mi", **more: Any) -> Json:
    return {"resources": {"limits": {"memory": memory, "cpu": "0.5"}}, **more}


def started(uri: str) -> float:
    answer = requests.get(uri, timeout=20)
    return float(answer.json()["started"]) if answer.ok else 0.0


def has_words(world: World, name: str) -> bool:
    return any("Memory limit of 64 MiB exceeded with 64 MiB used." in line for line in world.log(name))


def test_an_instance_above_its_memory_is_ended_and_comes_again(world: World, image: str) -> None:
    uri = serve(world, revision("greedy", 1, image, container=limited()))
    first = get(uri)
    assert first["limits"] == [str(64 << 20), "50000 100000"]
    requests.get(f"{uri}/memory?100", timeout=20)
    until(lambda: has_words(world, "greedy"))
    until(lambda: started(uri) > first["started"], seconds=20)
    assert any(line.endswith("Container terminated on signal 9.") for line in world.log("greedy"))


def test_files_in_memory_count_as_memory(world: World, image: str) -> None:
    wanted = execution("hoarder", image, container=limited(command=["dd"], args=["if=/dev/zero", "of=/tmp/x", "bs=1M"]))
    final, _ = world.run(inside.execute, wanted)
    told = completed(final)[1]
    assert "No space left" in "".join(world.log("hoarder")) or "The configured memory limit was reached." in told


def test_a_task_above_its_memory_fails(world: World, image: str) -> None:
    script = ["python3", "-c", "x = bytearray(100 << 20)"]
    final, _ = world.run(inside.execute, execution("glutton", image, container=limited(command=script)))
    assert completed(final)[1] == "Task glutton-task0 failed with message: The configured memory limit was reached."
    assert has_words(world, "glutton")


def test_an_empty_directory_is_in_memory(world: World, image: str) -> None:
    container = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    volume = {"name": "scratch", "emptyDir": {"medium": "MEMORY", "sizeLimit": "16Mi"}}
    uri = serve(world, revision("scratchy", 1, image, container=container, volumes=[volume]))
    assert "seconds" in get(uri, "/write?/scratch/x")
    assert get(uri, "/write?/scratch/y&3000000") == {"errno": 28}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"containers": [{"image": "a"}, {"image": "b"}]}, "no sidecars"),
        ({"containers": [{"image": "a", "livenessProbe": {"grpc": {"port": 1}}}]}, "no gRPC probes"),
    ],
)
def test_what_the_sandbox_has_not_is_refused(world: World, image: str, more: Json, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        serve(world, {**revision("fancy", 1, image), **more})
    assert refused.value.code == 12


def test_a_bucket_as_a_volume_is_refused(world: World, image: str) -> None:
    container = {"volumeMounts": [{"name": "bucket", "mountPath": "/bucket"}]}
    with pytest.raises(Refused, match=r"nothing that stands in for volume bucket \(gcs\)"):
        serve(
            world, revision("gcs", 1, image, container=container, volumes=[{"name": "bucket", "gcs": {"bucket": "x"}}])
        )


def test_firewall_rules_decide_who_reaches_the_machine(files: World, image: str) -> None:
    inside_vpc = serve(files, revision("near", 1, image))
    outside = serve(files, revision("far", 1, image, vpcAccess=None))
    assert get(inside_vpc, "/connect?10.8.0.9&6379") == {"connected": True}
    assert get(inside_vpc, "/connect?10.8.0.9&2050") == {"connected": False}
    assert get(outside, "/connect?10.8.0.9&6379") == {"connected": False}
    before = files.run(inside.get, CLIENTS)
    closed = {**before, "allowed": [{"IPProtocol": "tcp", "ports": ["2049"]}]}
    files.run(inside.put, {CLIENTS: closed})
    try:
        serve(files, mounted(files, "near", image, 2))
        until(lambda: get(inside_vpc, "/connect?10.8.0.9&6379") == {"connected": False})
        files.run(inside.put, {CLIENTS: {**before, "sourceRanges": ["10.99.0.0/16"]}})
        with pytest.raises(Refused, match="Connection timed out"):
            serve(files, mounted(files, "near", image, 3))
    finally:
        files.run(inside.put, {CLIENTS: before})


def test_an_address_outside_the_exports_range_may_not_mount(files: World, image: str) -> None:
    other = {"network": NETWORK, "ipCidrRange": "10.7.0.0/26"}
    rule = files.run(inside.get, CLIENTS)
    files.run(
        inside.put,
        {f"{SUBNETWORKS}/other": other, CLIENTS: {**rule, "sourceRanges": ["10.0.0.0/8"]}},
    )
    made = mounted(files, "stranger", image)
    made["vpcAccess"] = {"networkInterfaces": [{"network": "net", "subnetwork": "other"}]}
    with pytest.raises(Refused, match=r"access denied by server while mounting 10\.8\.0\.9:/share/clinics/main"):
        serve(files, made)


def test_all_traffic_through_the_vpc_needs_a_way_to_google(world: World, image: str) -> None:
    lonely = {"network": f"{PROJECT}/global/networks/lonely", "ipCidrRange": "10.5.0.0/26"}
    world.run(inside.put, {f"{SUBNETWORKS}/lonely": lonely})

    def reached(number: int, egress: str) -> bool:
        network = {"networkInterfaces": [{"network": "lonely", "subnetwork": "lonely"}], "egress": egress}
        uri = serve(world, revision("way", number, image, vpcAccess=network))
        return bool(get(uri, "/connect?storage.googleapis.com&443")["connected"])

    assert reached(1, "PRIVATE_RANGES_ONLY")
    assert not reached(2, "ALL_TRAFFIC")
    world.run(inside.put, {f"{SUBNETWORKS}/lonely": {**lonely, "privateIpGoogleAccess": True}})
    assert reached(3, "ALL_TRAFFIC")
