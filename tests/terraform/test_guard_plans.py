"""A real plan for every protected type: it is in a state, stands no more in the configuration, and the guard stops it.

Types that no root has are given to Terraform by a provider that knows nothing of them but their names: to plan a
deletion, Terraform asks for no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import guard
from gcp_openemr.errors import DataLossRefused
from gcp_openemr.sandbox.provider.protocol import encode, schema_message
from gcp_openemr.sandbox.provider.schema import Attribute, Block, TypeSchema
from gcp_openemr.sandbox.provider.servicer import Fields, Servicer
from gcp_openemr.sandbox.provider.types import served
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform
from tests.attached import attached_provider

STRANGERS = sorted({*guard.HOLDS} - {*served()})
HEAD = (
    'terraform {\n  required_providers {\n    google = { source = "hashicorp/google" }\n  }\n}\nprovider "google" {}\n'
)


class Wider(Servicer):
    """Knows the strangers, too."""

    def get_metadata(self, request: Any) -> Fields:
        told = super().get_metadata(request)
        return {**told, "resources": [*told["resources"], *({"type_name": name} for name in STRANGERS)]}

    def get_provider_schema(self, request: Any) -> Fields:
        told = super().get_provider_schema(request)
        return {**told, "resource_schemas": {**told["resource_schemas"], **{name: _schema(name) for name in STRANGERS}}}

    def read_resource(self, request: Any) -> Fields:
        return {"new_state": request.current_state}

    def upgrade_resource_state(self, request: Any) -> Fields:
        if request.type_name in STRANGERS:
            return {"upgraded_state": encode(json.loads(request.raw_state.json))}
        return super().upgrade_resource_state(request)


def _schema(type_: str) -> Any:
    known = Block(attributes={"id": Attribute(name="id", type="string", computed=True)}, blocks={})
    return schema_message(TypeSchema(type=type_, version=0, block=known))


def state_with(types: Mapping[str, str]) -> str:
    """A state with one resource of each type, by the type's name for its only instance."""
    provider = 'provider["registry.terraform.io/hashicorp/google"]'
    resources = [
        {
            "mode": "managed",
            "type": type_,
            "name": name,
            "provider": provider,
            "instances": [{"schema_version": 0, "attributes": {"id": name}}],
        }
        for type_, name in types.items()
    ]
    return json.dumps(
        {
            "version": 4,
            "terraform_version": "1.11.0",
            "serial": 1,
            "lineage": "a",
            "outputs": {},
            "resources": resources,
        }
    )


@pytest.fixture
def terraform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terraform]:
    """An empty configuration over a state that has one of everything that is protected, and one that is not."""
    monkeypatch.setenv("GCP_OPENEMR_SANDBOX_URL", "http://127.0.0.1:9")  # nothing is asked of it
    (tmp_path / "main.tf").write_text(HEAD)
    held = dict.fromkeys([*guard.HOLDS, "google_compute_firewall"], "kept")
    (tmp_path / "terraform.tfstate").write_text(state_with(held))
    with attached_provider(Wider()) as attached:
        yield Terraform(tmp_path, binary=locate_terraform().path, environment=attached, unlock=print)


def test_a_real_plan_that_deletes_any_protected_type_is_refused(terraform: Terraform) -> None:
    terraform.init()
    planned = terraform.plan()
    assert {change.action for change in planned.changes} == {"delete"}
    assert {change.type for change in guard.losses(planned)} == {*guard.HOLDS}
    with pytest.raises(DataLossRefused) as caught:
        guard.check(planned, root="platform")
    for type_, what in guard.HOLDS.items():
        sentence = f"delete platform:{type_}.kept: {what} (because delete because no resource config)"
        assert sentence in caught.value.what
    guard.check(planned, allowed=[f"{type_}.kept" for type_ in guard.HOLDS])
