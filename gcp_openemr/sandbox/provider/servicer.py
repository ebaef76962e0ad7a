"""Answers the calls of Terraform's plugin protocol 6 (`tfplugin6.proto`).

Every answer that changes or plans says `legacy_type_system`, as hashicorp/google does: what the API reports may differ
from the plan in spelling and in what the server fills in.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider import coverage, datasources, engine, labels, planning, wire
from gcp_openemr.sandbox.provider.protocol import (
    UNKNOWN,
    attribute_path,
    block_message,
    conform,
    decode,
    encode,
    error,
    schema_message,
)
from gcp_openemr.sandbox.provider.rest import Client
from gcp_openemr.sandbox.provider.schema import Block, data_schema, provider_block, resource_schema
from gcp_openemr.sandbox.provider.types import row, served
from gcp_openemr.sandbox.provider.types.model import Settings
from gcp_openemr.sandbox.provider.validation import validate

__all__ = ["Servicer", "preload"]

Fields = dict[str, Any]  # of a response; what is itself a message may be a dictionary

URL_VARIABLE = "GCP_OPENEMR_SANDBOX_URL"

_CAPABILITIES = {"plan_destroy": True, "get_provider_schema_optional": True}
# What a response to a refused call repeats of its request.
_STAYS = {
    "PlanResourceChange": {"planned_state": "proposed_new_state"},
    "ReadResource": {"new_state": "current_state", "private": "private"},
}
_ENVIRONMENT = {
    "project": ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
    "zone": ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
    "access_token": ("GOOGLE_OAUTH_ACCESS_TOKEN",),
}


class Servicer:
    """Answers a call by the method of its name: `ReadResource` by `read_resource`, with the fields of its response."""

    def __init__(self) -> None:
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            raise engine.Refusal("The provider was not configured.")
        return self._settings

    def close(self) -> None:
        """Close the connections to the sandbox."""
        if self._settings is not None:
            self._settings.client.close()

    def answer(self, name: str, request: Any) -> Any:
        """The response to a call; a refusal becomes a diagnostic beside what stays as it was."""
        method = getattr(self, re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower())
        try:
            fields = method(request)
        except engine.Refusal as refusal:
            kept = {field: getattr(request, asked) for field, asked in _STAYS.get(name, {}).items()}
            fields = {**kept, "diagnostics": [error(str(refusal))]}
        return getattr(wire, name).Response(**fields)

    def get_metadata(self, _request: Any) -> Fields:
        return {
            "server_capabilities": _CAPABILITIES,
            "resources": [{"type_name": name} for name in served()],
            "data_sources": [{"type_name": name} for name in datasources.READERS],
        }

    def get_provider_schema(self, _request: Any) -> Fields:
        return _schemas()

    def validate_provider_config(self, _request: Any) -> Fields:
        return {}

    def configure_provider(self, request: Any) -> Fields:
        url = os.environ.get(URL_VARIABLE, "")
        if not url:
            problem = error(
                "This hashicorp/google is the sandbox's and was told of no sandbox",
                f"Set {URL_VARIABLE} to the address of a running sandbox.",
            )
            return {"diagnostics": [problem]}
        self.close()
        self._settings = _settings(conform(provider_block(), decode(request.config) or {}), url)
        return {}

    def validate_resource_config(self, request: Any) -> Fields:
        config = decode(request.config)
        problems = validate(resource_schema(request.type_name), config)
        for path in coverage.given_but_unserved(request.type_name, config):
            sentence = "The real provider takes it; take it out to rehearse the rest."
            problems.append(error(f"The sandbox does not carry {request.type_name}.{path}", sentence))
        return {"diagnostics": problems}

    def validate_data_resource_config(self, request: Any) -> Fields:
        return {"diagnostics": validate(data_schema(request.type_name), decode(request.config))}

    def upgrade_resource_state(self, request: Any) -> Fields:
        state = json.loads(request.raw_state.json or b"null")
        if isinstance(state, dict):
            state = conform(resource_schema(request.type_name).block, state)
        return {"upgraded_state": encode(state)}

    def read_resource(self, request: Any) -> Fields:
        block = resource_schema(request.type_name).block
        state = engine.read(row(request.type_name), block, decode(request.current_state), self.settings)
        return {"new_state": encode(state), "private": request.private}

    def plan_resource_change(self, request: Any) -> Fields:
        prior, proposed = decode(request.prior_state), decode(request.proposed_new_state)
        if proposed is None:
            return {"planned_state": encode(None), "legacy_type_system": True}
        planned, replaces = _plan(request.type_name, prior, decode(request.config), self.settings)
        return {
            "planned_state": encode(planned),
            "planned_private": request.prior_private,
            "requires_replace": [attribute_path(path) for path in replaces],
            "legacy_type_system": True,
        }

    def apply_resource_change(self, request: Any) -> Fields:
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        kind, block = row(request.type_name), resource_schema(request.type_name).block
        state = prior
        problems = []
        try:
            if planned is None:
                engine.delete(kind, prior, self.settings)
                state = None
            else:
                secret = _write_only(block, decode(request.config))
                if prior is None:
                    state = engine.create(kind, block, {**planned, **secret}, self.settings)
                else:
                    state = engine.update(kind, block, prior, {**planned, **secret}, self.settings)
        except engine.Refusal as refusal:
            problems.append(error(str(refusal)))
            state = refusal.state if prior is None else prior
        return {
            "new_state": encode(state),
            "private": request.planned_private,
            "diagnostics": problems,
            "legacy_type_system": True,
        }

    def import_resource_state(self, request: Any) -> Fields:
        kind, block = row(request.type_name), resource_schema(request.type_name).block
        state = engine.import_state(kind, block, request.id, self.settings)
        return {"imported_resources": [{"type_name": request.type_name, "state": encode(state)}]}

    def move_resource_state(self, request: Any) -> Fields:
        problem = error(
            "Move Resource State Not Supported",
            f"{request.source_type_name} cannot become {request.target_type_name}.",
        )
        return {"diagnostics": [problem]}

    def read_data_source(self, request: Any) -> Fields:
        state = datasources.READERS[request.type_name](decode(request.config), self.settings)
        return {"state": encode(conform(data_schema(request.type_name).block, state))}

    def stop_provider(self, _request: Any) -> Fields:
        if self._settings is not None:
            self._settings.client.stopping.set()
        return {}


def preload() -> None:
    """Read what every provider is asked for first."""
    _schemas()


@functools.cache
def _schemas() -> Fields:
    return {
        "provider": {"block": block_message(provider_block())},
        "resource_schemas": {name: schema_message(resource_schema(name)) for name in served()},
        "data_source_schemas": {name: schema_message(data_schema(name)) for name in datasources.READERS},
        "server_capabilities": _CAPABILITIES,
    }


def _settings(config: Mapping[str, Any], url: str) -> Settings:
    known = {name: value for name, value in config.items() if value is not None and value is not UNKNOWN}

    def setting(name: str) -> str:
        found = (os.environ.get(variable, "") for variable in _ENVIRONMENT[name])
        return str(known.get(name) or next(filter(None, found), ""))

    return Settings(
        project=setting("project"),
        region=setting("region"),
        zone=setting("zone"),
        default_labels=known.get("default_labels", {}),
        attribution_label=known.get("add_terraform_attribution_label", True),
        attribution_strategy=known.get("terraform_attribution_label_addition_strategy", "CREATION_ONLY"),
        client=Client(url=url, token=setting("access_token")),
    )


def _plan(
    terraform_type: str, prior: dict[str, Any] | None, config: dict[str, Any], settings: Settings
) -> tuple[dict[str, Any], list[tuple[str | int, ...]]]:
    kind, block = row(terraform_type), resource_schema(terraform_type).block
    planned = planning.plan(block, prior, config, kind.sameness)
    state, replaces = planned.state, list(planned.replaces)
    for place in ("project", "region", "zone"):
        _place(block, place, state, prior, config, settings)
    labels.plan(block, state, prior, settings)
    if "deletion_policy" in block.attributes and state["deletion_policy"] is UNKNOWN:
        state["deletion_policy"] = "DELETE"
    forced = kind.on_plan(state, prior, config, settings) if kind.on_plan is not None else ()
    if prior is not None:
        replaces = planning.forced_paths(block, prior, state, kind.sameness)
        forced = (*forced, *kind.forced) if not kind.is_immutable else tuple(block.attributes) + tuple(block.blocks)
        changed = {*engine.changed(kind, block, prior, state)}
        replaces += [(name,) for name in forced if name in changed]
    return state, list(dict.fromkeys(replaces))


def _place(
    block: Block,
    place: str,
    state: dict[str, Any],
    prior: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    settings: Settings,
) -> None:
    """Project, region and zone come from the provider when the resource does not say them."""
    attribute = block.attributes.get(place)
    if attribute is None or not (attribute.optional and attribute.computed) or config.get(place) is not None:
        return
    value = getattr(settings, place)
    if value and (prior is None or place == "project"):
        state[place] = value
    elif not value and prior is None and state[place] is UNKNOWN:
        raise engine.Refusal(f"{place}: required field is not set")


def _write_only(block: Block, config: Mapping[str, Any] | None) -> dict[str, Any]:
    names = [name for name, attribute in block.attributes.items() if attribute.write_only]
    return {name: (config or {}).get(name) for name in names}
