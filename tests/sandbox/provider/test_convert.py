from __future__ import annotations

from typing import Any

import pytest

from gcp_openemr.sandbox.provider import convert
from gcp_openemr.sandbox.provider.coverage import given_but_unserved, unserved
from gcp_openemr.sandbox.provider.protocol import UNKNOWN, conform
from gcp_openemr.sandbox.provider.schema import resource_schema
from gcp_openemr.sandbox.provider.types import row, served

SERVICE = "google_cloud_run_v2_service"

TEMPLATE = {
    "timeout": "300s",
    "max_instance_request_concurrency": 40,
    "containers": [
        {
            "image": "i",
            "ports": [{"container_port": 8080}],
            "env": [
                {"name": "A", "value": ""},
                {
                    "name": "B",
                    "value_source": [{"secret_key_ref": [{"secret": "s", "version": "3"}]}],
                },
            ],
            "resources": [{"limits": {"cpu": "2"}, "cpu_idle": False}],
        }
    ],
    "volumes": [{"name": "share", "nfs": [{"server": "10.0.0.5", "path": "/share", "read_only": False}]}],
}


def _state(terraform_type: str, said: dict[str, Any]) -> dict[str, Any]:
    return conform(resource_schema(terraform_type).block, said)


def test_service_becomes_googles_json() -> None:
    state = _state(SERVICE, {"name": "web", "uri": UNKNOWN, "ingress": UNKNOWN, "template": [TEMPLATE]})
    body = convert.to_api(row(SERVICE), resource_schema(SERVICE).block, state)
    assert body == {
        "template": {
            "timeout": "300s",
            "maxInstanceRequestConcurrency": 40,
            "containers": [
                {
                    "image": "i",
                    "ports": [{"containerPort": 8080}],
                    "env": [
                        {"name": "A"},
                        {"name": "B", "valueSource": {"secretKeyRef": {"secret": "s", "version": "3"}}},
                    ],
                    "resources": {"limits": {"cpu": "2"}, "cpuIdle": False},
                }
            ],
            "volumes": [{"name": "share", "nfs": {"server": "10.0.0.5", "path": "/share", "readOnly": False}}],
        }
    }


def test_answer_becomes_state_and_keeps_what_google_leaves_out() -> None:
    block = resource_schema(SERVICE).block
    before = _state(SERVICE, {"name": "web", "template": [TEMPLATE], "deletion_protection": False})
    body = convert.to_api(row(SERVICE), block, before)
    del body["template"]["containers"][0]["resources"]["cpuIdle"]
    del body["template"]["volumes"][0]["nfs"]["readOnly"]
    state = convert.from_api(row(SERVICE), block, {**body, "generation": "2", "uri": "https://x"}, before)
    assert state["template"] == [
        {
            **before["template"][0],
            # Computed here, and not in the answer.
            **{name: state["template"][0][name] for name in ("service_account", "scaling")},
            "containers": state["template"][0]["containers"],
        }
    ]
    container = state["template"][0]["containers"][0]
    assert container["resources"][0]["cpu_idle"] is False
    assert [one["name"] for one in container["env"]] == ["A", "B"]
    assert container["env"][0]["value"] == ""
    assert state["template"][0]["volumes"][0]["nfs"][0]["read_only"] is False
    assert (state["generation"], state["uri"], state["deletion_protection"]) == ("2", "https://x", False)


def test_numbers_of_64_bits_are_strings_there() -> None:
    disk = "google_compute_disk"
    block = resource_schema(disk).block
    body = convert.to_api(row(disk), block, _state(disk, {"name": "d", "size": 20}))
    assert body["sizeGb"] == "20"
    state = convert.from_api(row(disk), block, {"sizeGb": "30", "id": "7"}, {})
    assert (state["size"], state["disk_id"]) == (30, "7")


def test_drift_in_an_absent_block_shows() -> None:
    block = resource_schema("google_compute_subnetwork").block
    kind = row("google_compute_subnetwork")
    before = _state("google_compute_subnetwork", {"name": "s"})
    body = {"logConfig": {"enable": True, "metadata": "INCLUDE_ALL_METADATA"}}
    assert convert.from_api(kind, block, body, before)["log_config"][0]["metadata"] == "INCLUDE_ALL_METADATA"
    assert convert.from_api(kind, block, {"logConfig": {}}, before)["log_config"] == []


@pytest.mark.parametrize("terraform_type", served())
def test_every_row_fits_its_schema(terraform_type: str) -> None:
    """Paths in a row that the schema does not have would do nothing, unseen."""
    kind, schema = row(terraform_type), resource_schema(terraform_type)
    known = set(_paths(schema.block, ""))
    places = {"project", "location", "region", "zone", "deletion_policy"}  # rows share them
    said = {*kind.names, *kind.sameness, *kind.input_only, *kind.maps, *kind.by_hand, *kind.local}
    stepped = {name for step in kind.steps for name in step.changes} - {"labels", "terraform_labels"}
    for path in {*said, *kind.forced, *kind.unserved, *stepped} - places:
        assert path in known, path
    assert kind.properties or kind.fetch is not None


def _paths(block: Any, prefix: str) -> Any:
    yield from (prefix + name for name in block.attributes)
    for name, nested in block.blocks.items():
        yield prefix + name
        yield from _paths(nested.block, f"{prefix}{name}.")


@pytest.mark.parametrize(
    "terraform_type",
    ["google_secret_manager_secret", "google_compute_network", "google_compute_subnetwork", "google_compute_address"],
)
def test_types_the_stack_rests_on_are_served_whole(terraform_type: str) -> None:
    assert unserved(terraform_type) == frozenset()


def test_argument_that_would_be_dropped_is_found() -> None:
    config = _state("google_sql_database_instance", {"clone": [{"source_instance_name": "x"}]})
    assert given_but_unserved("google_sql_database_instance", config) == ["clone"]
    assert given_but_unserved("google_sql_database_instance", {**config, "clone": []}) == []
