"""A real plan for every protected type: deleted, replaced in either order or only forgotten, the guard stops it.

Terraform has them from a provider that knows nothing of them but an id and a name, which cannot be changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import guard
from gcp_openemr.errors import DataLossRefused
from gcp_openemr.sandbox.provider.protocol import attribute_path, decode, encode, schema_message
from gcp_openemr.sandbox.provider.schema import Attribute, Block, TypeSchema
from gcp_openemr.sandbox.provider.servicer import Fields, Servicer
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform
from tests.attached import attached_provider

HARMLESS = "google_compute_firewall"
TYPES = [*guard.HOLDS, HARMLESS]
HEAD = (
    'terraform {\n  required_providers {\n    google = { source = "hashicorp/google" }\n  }\n}\nprovider "google" {}\n'
)
# What becomes of each type's instance of that name → Terraform's action, its reason, and the configuration.
ENDS = {
    "gone": ("delete", "delete because no resource config", ""),
    "renamed": ("replace", "cannot update, name", 'resource "TYPE" "renamed" {\n  name = "new"\n}\n'),
    "renewed": (
        "replace",
        "cannot update, name",
        'resource "TYPE" "renewed" {\n  name = "new"\n  lifecycle {\n    create_before_destroy = true\n  }\n}\n',
    ),
    "forgotten": (
        "remove",
        "delete because no resource config",
        "removed {\n  from = TYPE.forgotten\n  lifecycle {\n    destroy = false\n  }\n}\n",
    ),
}


class Plain(Servicer):
    """Knows of each type what `_schema` says."""

    def get_metadata(self, request: Any) -> Fields:
        return {**super().get_metadata(request), "resources": [{"type_name": name} for name in TYPES]}

    def get_provider_schema(self, request: Any) -> Fields:
        return {**super().get_provider_schema(request), "resource_schemas": {name: _schema(name) for name in TYPES}}

    def validate_resource_config(self, _request: Any) -> Fields:
        return {}

    def read_resource(self, request: Any) -> Fields:
        return {"new_state": request.current_state}

    def upgrade_resource_state(self, request: Any) -> Fields:
        return {"upgraded_state": encode(json.loads(request.raw_state.json))}

    def plan_resource_change(self, request: Any) -> Fields:
        prior, proposed = decode(request.prior_state), decode(request.proposed_new_state)
        renamed = prior and proposed and prior["name"] != proposed["name"]
        replaces = [attribute_path(("name",))] if renamed else []
        return {"planned_state": encode(proposed), "requires_replace": replaces, "legacy_type_system": True}


def _schema(type_: str) -> Any:
    attributes = {
        "id": Attribute(name="id", type="string", computed=True),
        "name": Attribute(name="name", type="string", optional=True),
    }
    return schema_message(TypeSchema(type=type_, version=0, block=Block(attributes=attributes, blocks={})))


def state() -> str:
    """One of every type for each end."""
    resources = [
        {
            "mode": "managed",
            "type": type_,
            "name": end,
            "provider": 'provider["registry.terraform.io/hashicorp/google"]',
            "instances": [{"schema_version": 0, "attributes": {"id": "old", "name": "old"}}],
        }
        for type_ in TYPES
        for end in ENDS
    ]
    head = {"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "a", "outputs": {}}
    return json.dumps({**head, "resources": resources})


@pytest.fixture
def terraform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terraform]:
    monkeypatch.setenv("GCP_OPENEMR_SANDBOX_URL", "http://127.0.0.1:9")  # nothing is asked of it
    blocks = "".join(block.replace("TYPE", type_) for _, _, block in ENDS.values() for type_ in TYPES)
    (tmp_path / "main.tf").write_text(HEAD + blocks)
    (tmp_path / "terraform.tfstate").write_text(state())
    with attached_provider(Plain()) as attached:
        yield Terraform(tmp_path, binary=locate_terraform().path, environment=attached, unlock=print)


def test_a_real_plan_that_takes_any_protected_type_away_is_refused(terraform: Terraform) -> None:
    terraform.init()
    planned = terraform.plan()
    assert {change.address: change.action for change in planned.changes} == {
        f"{type_}.{end}": action for type_ in TYPES for end, (action, _, _) in ENDS.items()
    }
    held = [f"{type_}.{end}" for type_ in guard.HOLDS for end in ENDS]
    assert sorted(change.address for change in guard.losses(planned)) == sorted(held)
    with pytest.raises(DataLossRefused) as caught:
        guard.check(planned, root="platform")
    for type_, what in guard.HOLDS.items():
        for end, (action, reason, _) in ENDS.items():
            assert f"  {action} platform:{type_}.{end}: {what} (because {reason})" in caught.value.what.splitlines()
    guard.check(planned, allowed=held)
