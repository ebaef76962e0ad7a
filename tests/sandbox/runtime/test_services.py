"""Cloud Run services, with a small application in a real container."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests

from gcp_openemr.sandbox.interfaces import Refused, TrafficTarget
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import (
    ACCOUNT,
    LOCATION,
    NETWORK,
    PROJECT,
    World,
    get,
    machine,
    mounted,
    revision,
    serve,
    until,
)

PASSWORD = {"name": "PASSWORD", "valueSource": {"secretKeyRef": {"secret": "password", "version": "3"}}}


def test_an_instance_sees_what_cloud_run_shows_it(world: World, image: str) -> None:
    world.run(inside.put_secret, f"{PROJECT}/secrets/password", "3", "s3cret", f"serviceAccount:{ACCOUNT}")
    container = {"env": [{"name": "COLOUR", "value": "red"}, PASSWORD], "resources": {"limits": {"cpu": "1"}}}
    seen = get(serve(world, revision("web", 1, image, container=container)))
    expected = {"PORT": "8080", "K_SERVICE": "web", "K_REVISION": "web-00001-abc", "K_CONFIGURATION": "web"}
    expected |= {"COLOUR": "red", "PASSWORD": "s3cret", "GREETING": "hello there", "HOME": "/"}
    environment = seen["environment"]
    assert {name: environment[name] for name in expected} == expected
    assert set(environment) - set(expected) <= {"PATH", "LC_CTYPE", "PWD", "SHLVL"}
    assert (seen["uid"], seen["gid"], seen["pid"], seen["cwd"], seen["cpus"]) == (1000, 1000, 1, "/app", 1)
    assert seen["limits"] == [str(512 << 20), "100000 100000"]
    assert "data" in seen["root"]


def test_the_front_end_adds_its_headers(world: World, image: str) -> None:
    uri = serve(world, revision("headers", 1, image))
    headers = get(uri, headers={"X-Forwarded-For": "10.1.1.1", "X-Serverless-Authorization": "Bearer x"})["headers"]
    assert headers["x-forwarded-for"] == "10.1.1.1, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-cloud-trace-context"]
    assert headers["host"] == uri.removeprefix("http://")
    assert "x-serverless-authorization" not in headers


def test_a_secret_that_may_not_be_read_stops_the_revision(world: World, image: str) -> None:
    made = revision("secretive", 1, image, container={"env": [PASSWORD]}, serviceAccount="other@clinic")
    with pytest.raises(Refused) as refused:
        serve(world, made)
    assert refused.value.message.startswith(
        "Revision 'secretive-00001-abc' is not ready and cannot serve traffic. "
        f"Permission denied on secret: {PROJECT}/secrets/password/versions/3"
    )
    assert refused.value.code == 7


def test_a_container_that_ends_stops_the_revision_and_its_output_is_kept(world: World, image: str) -> None:
    with pytest.raises(Refused, match="failed the configured startup probe checks"):
        serve(world, revision("broken", 1, image, container={"args": ["exit", "7"]}))
    lines = [line.split(" ", 2)[2] for line in world.log("broken")]
    assert {"going", "complaint", "Container called exit(7)."} <= set(lines)
    assert ("broken-00001-abc", 0) not in [(name, 0) for name, _ in world.run(inside.containers)]


def test_a_port_that_never_opens_is_told_in_cloud_runs_words(world: World, image: str) -> None:
    with pytest.raises(Refused, match="failed to start and listen on the port defined provided by the PORT=8080"):
        serve(world, revision("deaf", 1, image, container={"args": ["exit", "0"], "startupProbe": None}))


def test_an_unknown_image_is_not_found(world: World) -> None:
    with pytest.raises(Refused, match=r"Image 'europe-west1-docker\.pkg\.dev/clinic/oe/app:none' not found"):
        serve(world, revision("nothing", 1, "europe-west1-docker.pkg.dev/clinic/oe/app:none"))


def test_a_switch_of_traffic_loses_no_request(world: World, image: str) -> None:
    uri = serve(world, revision("moving", 1, image))
    answers: list[str] = []
    failures: list[object] = []
    ending = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not ending.is_set():
                try:
                    answer = session.get(f"{uri}/slow?0.02", timeout=10)
                    answers.append(answer.json()["environment"]["K_REVISION"])
                except (requests.RequestException, ValueError, KeyError) as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    slow = world.begin(inside.call_runtime, "service_uri", f"{LOCATION}/services/moving")
    until(lambda: len(answers) > 10)
    serve(world, revision("moving", 2, image))
    moved = len(answers)
    until(lambda: len(answers) > moved + 20)
    ending.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {"moving-00001-abc", "moving-00002-abc"}
    assert set(answers[moved + 8 :]) == {"moving-00002-abc"}
    assert slow.result() == uri
    until(lambda: "moving-00001-abc" not in dict(world.run(inside.containers)))
    assert any("got SIGTERM" in line for line in world.log("moving"))


def test_a_request_in_hand_is_finished_by_the_old_revision(world: World, image: str) -> None:
    uri = serve(world, revision("patient", 1, image))
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(get(uri, "/slow?1.5")["environment"]["K_REVISION"]))
    asking.start()
    time.sleep(0.3)
    serve(world, revision("patient", 2, image))
    assert get(uri)["environment"]["K_REVISION"] == "patient-00002-abc"
    asking.join()
    assert found == ["patient-00001-abc"]


def test_a_tagged_revision_answers_without_traffic(world: World, image: str) -> None:
    first, second = revision("tagged", 1, image), revision("tagged", 2, image)
    uri = serve(world, first)
    service = f"{LOCATION}/services/tagged"
    world.call("start_revision", service, second)
    targets = [
        TrafficTarget(revision="tagged-00001-abc", percent=100),
        TrafficTarget(revision="tagged-00002-abc", percent=0, tag="next"),
    ]
    world.call("set_traffic", service, targets)
    assert {get(uri)["environment"]["K_REVISION"] for _ in range(5)} == {"tagged-00001-abc"}
    tagged = [{"X-Cloud-Run-Tag": "next"}, {"Host": "next---tagged.localhost"}]
    assert [get(uri, headers=one)["environment"]["K_REVISION"] for one in tagged] == ["tagged-00002-abc"] * 2
    assert requests.get(uri, headers={"X-Cloud-Run-Tag": "none"}, timeout=5).status_code == 503


def test_traffic_is_split_by_percent(world: World, image: str) -> None:
    uri = serve(world, revision("split", 1, image))
    world.call("start_revision", f"{LOCATION}/services/split", revision("split", 2, image))
    targets = [TrafficTarget(revision=f"split-0000{n}-abc", percent=50) for n in (1, 2)]
    world.call("set_traffic", f"{LOCATION}/services/split", targets)
    seen = [get(uri)["environment"]["K_REVISION"] for _ in range(40)]
    assert 5 < seen.count("split-00001-abc") < 35


def test_an_instance_that_ends_is_started_again(world: World, image: str) -> None:
    uri = serve(world, revision("crash", 1, image))
    before = get(uri)["started"]
    requests.get(f"{uri}/exit?3", timeout=5)
    until(lambda: requests.get(uri, timeout=5).status_code == 200)
    assert get(uri)["started"] > before
    assert any(line.endswith("Container called exit(3).") for line in world.log("crash"))


def test_a_failing_liveness_probe_restarts_the_instance(world: World, image: str) -> None:
    probe = {"httpGet": {"path": "/live"}, "periodSeconds": 0.2, "timeoutSeconds": 1, "failureThreshold": 2}
    uri = serve(world, revision("sickly", 1, image, container={"livenessProbe": probe}))
    before = get(uri)["started"]
    get(uri, "/sick")
    until(lambda: "LIVENESS" in "".join(world.log("sickly")))
    until(lambda: requests.get(uri, timeout=5).status_code == 200)
    assert get(uri)["started"] > before


def test_an_nfs_volume_is_the_directory_of_the_machine(world: World, image: str) -> None:
    world.call("start_machine", machine())
    made = mounted(world, "mounted", image)
    with pytest.raises(Refused, match=r"mounting 10\.8\.0\.9:/share/clinics/main failed, reason given by server"):
        serve(world, made)
    world.run(inside.make_share, "clinics/main")
    uri = serve(world, made)
    get(uri, "/write?/sites/note")
    assert world.run(inside.read_share, "clinics/main/note") == "written"
    elsewhere = mounted(world, "mounted", image, 2)
    elsewhere["volumes"][0]["nfs"]["server"] = "10.8.0.77"
    with pytest.raises(Refused, match=r"10\.8\.0\.77:/share/clinics/main: Connection timed out"):
        serve(world, elsewhere)


def test_names_are_those_of_the_network(world: World, image: str) -> None:
    zone = f"dns.googleapis.com/{PROJECT}/managedZones/sql"
    network = {"networkUrl": f"https://www.googleapis.com/compute/v1/{NETWORK}"}
    world.run(
        inside.put,
        {
            zone: {"dnsName": "db.sql.goog.", "privateVisibilityConfig": {"networks": [network]}},
            f"{zone}/rrsets/db/A": {"name": "db.sql.goog.", "type": "A", "rrdatas": ["10.8.0.5"]},
        },
    )
    with_network = serve(world, revision("named", 1, image))
    without = serve(world, revision("lonely", 1, image, vpcAccess=None))
    assert get(with_network, "/resolve?db.sql.goog") == {"addresses": ["10.8.0.5"]}
    assert "error" in get(without, "/resolve?db.sql.goog")
    for uri in (with_network, without):
        assert get(uri, "/resolve?storage.googleapis.com") == {"addresses": ["199.36.153.8"]}
        assert get(uri, "/resolve?metadata.google.internal") == {"addresses": ["169.254.169.254"]}
        assert "error" in get(uri, "/resolve?example.com")


def test_a_full_subnetwork_refuses_an_instance(world: World, image: str) -> None:
    sub = {"network": f"{PROJECT}/global/networks/tiny", "ipCidrRange": "10.9.0.0/29"}
    world.run(inside.put, {f"compute.googleapis.com/{PROJECT}/regions/europe-west1/subnetworks/tiny": sub})
    network = {"vpcAccess": {"networkInterfaces": [{"network": "tiny", "subnetwork": "tiny"}]}}
    made = revision("crowded", 1, image, scaling={"minInstanceCount": 5}, **network)
    with pytest.raises(Refused, match="insufficient free IP addresses in the subnetwork"):
        serve(world, made)
    until(lambda: "crowded-00001-abc" not in dict(world.run(inside.containers)))
    serve(world, revision("crowded", 2, image, scaling={"minInstanceCount": 2}, **network))
    assert [name for name, _ in world.run(inside.containers)].count("crowded-00002-abc") == 2


def test_a_deleted_service_answers_no_more(world: World, image: str) -> None:
    uri = serve(world, revision("gone", 1, image))
    world.call("delete_service", f"{LOCATION}/services/gone")
    with pytest.raises(requests.ConnectionError):
        requests.get(uri, timeout=5)
    assert "gone-00001-abc" not in dict(world.run(inside.containers))


def test_a_new_instance_comes_when_all_are_full_and_clients_keep_theirs(world: World, image: str) -> None:
    more: dict[str, Any] = {
        "maxInstanceRequestConcurrency": 1,
        "scaling": {"maxInstanceCount": 2},
        "sessionAffinity": True,
    }
    uri = serve(world, revision("busy", 1, image, **more))
    sessions = [requests.Session() for _ in range(3)]
    seen: dict[int, float] = {}

    def ask(number: int) -> None:
        seen[number] = sessions[number].get(f"{uri}/slow?1.5", timeout=20).json()["started"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen.values())) == 2
    again = {number: session.get(uri, timeout=20).json()["started"] for number, session in enumerate(sessions)}
    assert again == seen
    assert sessions[0].cookies["GAESA"]


def test_an_idle_revision_scales_to_zero_and_starts_cold(world: World, image: str) -> None:
    uri = serve(world, revision("sleepy", 1, image))
    before = get(uri)["started"]
    world.run(inside.put_setting, "idle", 0.0005)
    try:
        until(lambda: "sleepy-00001-abc" not in dict(world.run(inside.containers)))
    finally:
        world.run(inside.put_setting, "idle", 0)
    assert get(uri)["started"] > before
    assert any("got SIGTERM" in line for line in world.log("sleepy"))
