"""Answers the calls of Terraform's plugin protocol 6 (`tfplugin6.proto`).

Every answer that changes or plans says `legacy_type_system`, as hashicorp/google does: what the API reports may differ
from the plan in spelling and in what the server fills in.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from gcp_openemr.sandbox.provider import coverage, datasources, engine, labels, planning
from gcp_openemr.sandbox.provider import tfplugin6_pb2 as pb
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
from gcp_openemr.sandbox.provider.schema import (
    Block,
    data_schema,
    provider_block,
    resource_schema,
)
from gcp_openemr.sandbox.provider.types import row, served
from gcp_openemr.sandbox.provider.types.model import Settings
from gcp_openemr.sandbox.provider.validation import validate

__all__ = ["Servicer"]

URL_VARIABLE = "GCP_OPENEMR_SANDBOX_URL"

_CAPABILITIES = pb.ServerCapabilities(plan_destroy=True, get_provider_schema_optional=True)
_ENVIRONMENT = {
    "project": ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
    "zone": ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
    "access_token": ("GOOGLE_OAUTH_ACCESS_TOKEN",),
}


class Servicer:
    """One method per call; requests and responses are messages of `tfplugin6_pb2`."""

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

    def GetMetadata(self, _request: Any) -> pb.GetMetadata.Response:  # noqa: N802
        return pb.GetMetadata.Response(
            server_capabilities=_CAPABILITIES,
            resources=[pb.GetMetadata.TypeName(type_name=name) for name in served()],
            data_sources=[pb.GetMetadata.TypeName(type_name=name) for name in datasources.READERS],
        )

    def GetProviderSchema(self, _request: Any) -> pb.GetProviderSchema.Response:  # noqa: N802
        return _schemas()

    def ValidateProviderConfig(self, _request: Any) -> pb.ValidateProviderConfig.Response:  # noqa: N802
        return pb.ValidateProviderConfig.Response()

    def ConfigureProvider(self, request: pb.ConfigureProvider.Request) -> pb.ConfigureProvider.Response:  # noqa: N802
        url = os.environ.get(URL_VARIABLE, "")
        if not url:
            problem = error(
                "This hashicorp/google is the sandbox's and was told of no sandbox",
                f"Set {URL_VARIABLE} to the address of a running sandbox.",
            )
            return pb.ConfigureProvider.Response(diagnostics=[problem])
        self.close()
        self._settings = _settings(conform(provider_block(), decode(request.config) or {}), url)
        return pb.ConfigureProvider.Response()

    def ValidateResourceConfig(  # noqa: N802
        self, request: pb.ValidateResourceConfig.Request
    ) -> pb.ValidateResourceConfig.Response:
        config = decode(request.config)
        problems = validate(resource_schema(request.type_name), config)
        for path in coverage.given_but_unserved(request.type_name, config):
            sentence = "The real provider takes it; take it out to rehearse the rest."
            problems.append(error(f"The sandbox does not carry {request.type_name}.{path}", sentence))
        return pb.ValidateResourceConfig.Response(diagnostics=problems)

    def ValidateDataResourceConfig(  # noqa: N802
        self, request: pb.ValidateDataResourceConfig.Request
    ) -> pb.ValidateDataResourceConfig.Response:
        schema = data_schema(request.type_name)
        return pb.ValidateDataResourceConfig.Response(diagnostics=validate(schema, decode(request.config)))

    def UpgradeResourceState(  # noqa: N802
        self, request: pb.UpgradeResourceState.Request
    ) -> pb.UpgradeResourceState.Response:
        state = json.loads(request.raw_state.json or b"null")
        if isinstance(state, dict):
            state = conform(resource_schema(request.type_name).block, state)
        return pb.UpgradeResourceState.Response(upgraded_state=encode(state))

    def ReadResource(self, request: pb.ReadResource.Request) -> pb.ReadResource.Response:  # noqa: N802
        block = resource_schema(request.type_name).block
        try:
            state = engine.read(row(request.type_name), block, decode(request.current_state), self.settings)
        except engine.Refusal as refusal:
            return pb.ReadResource.Response(
                new_state=request.current_state, private=request.private, diagnostics=[error(str(refusal))]
            )
        return pb.ReadResource.Response(new_state=encode(state), private=request.private)

    def PlanResourceChange(  # noqa: N802
        self, request: pb.PlanResourceChange.Request
    ) -> pb.PlanResourceChange.Response:
        prior, proposed = decode(request.prior_state), decode(request.proposed_new_state)
        if proposed is None:
            return pb.PlanResourceChange.Response(planned_state=encode(None), legacy_type_system=True)
        try:
            planned, replaces = _plan(request.type_name, prior, decode(request.config), self.settings)
        except engine.Refusal as refusal:
            return pb.PlanResourceChange.Response(
                planned_state=request.proposed_new_state, diagnostics=[error(str(refusal))]
            )
        return pb.PlanResourceChange.Response(
            planned_state=encode(planned),
            planned_private=request.prior_private,
            requires_replace=[attribute_path(path) for path in replaces],
            legacy_type_system=True,
        )

    def ApplyResourceChange(  # noqa: N802
        self, request: pb.ApplyResourceChange.Request
    ) -> pb.ApplyResourceChange.Response:
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
        return pb.ApplyResourceChange.Response(
            new_state=encode(state), private=request.planned_private, diagnostics=problems, legacy_type_system=True
        )

    def ImportResourceState(  # noqa: N802
        self, request: pb.ImportResourceState.Request
    ) -> pb.ImportResourceState.Response:
        kind, block = row(request.type_name), resource_schema(request.type_name).block
        try:
            state = engine.import_state(kind, block, request.id, self.settings)
        except engine.Refusal as refusal:
            return pb.ImportResourceState.Response(diagnostics=[error(str(refusal))])
        imported = pb.ImportResourceState.ImportedResource(type_name=request.type_name, state=encode(state))
        return pb.ImportResourceState.Response(imported_resources=[imported])

    def MoveResourceState(self, request: pb.MoveResourceState.Request) -> pb.MoveResourceState.Response:  # noqa: N802
        problem = error(
            "Move Resource State Not Supported",
            f"{request.source_type_name} cannot become {request.target_type_name}.",
        )
        return pb.MoveResourceState.Response(diagnostics=[problem])

    def ReadDataSource(self, request: pb.ReadDataSource.Request) -> pb.ReadDataSource.Response:  # noqa: N802
        block = data_schema(request.type_name).block
        try:
            state = datasources.READERS[request.type_name](decode(request.config), self.settings)
        except engine.Refusal as refusal:
            return pb.ReadDataSource.Response(diagnostics=[error(str(refusal))])
        return pb.ReadDataSource.Response(state=encode(conform(block, state)))

    def ValidateEphemeralResourceConfig(self, request: Any) -> pb.ValidateEphemeralResourceConfig.Response:  # noqa: N802
        return pb.ValidateEphemeralResourceConfig.Response(diagnostics=[_no_ephemeral(request.type_name)])

    def OpenEphemeralResource(self, request: Any) -> pb.OpenEphemeralResource.Response:  # noqa: N802
        return pb.OpenEphemeralResource.Response(diagnostics=[_no_ephemeral(request.type_name)])

    def RenewEphemeralResource(self, request: Any) -> pb.RenewEphemeralResource.Response:  # noqa: N802
        return pb.RenewEphemeralResource.Response(diagnostics=[_no_ephemeral(request.type_name)])

    def CloseEphemeralResource(self, request: Any) -> pb.CloseEphemeralResource.Response:  # noqa: N802
        return pb.CloseEphemeralResource.Response(diagnostics=[_no_ephemeral(request.type_name)])

    def GetFunctions(self, _request: Any) -> pb.GetFunctions.Response:  # noqa: N802
        return pb.GetFunctions.Response()

    def CallFunction(self, request: pb.CallFunction.Request) -> pb.CallFunction.Response:  # noqa: N802
        return pb.CallFunction.Response(error=pb.FunctionError(text=f"there is no function {request.name}"))

    def StopProvider(self, _request: Any) -> pb.StopProvider.Response:  # noqa: N802
        if self._settings is not None:
            self._settings.client.stopping.set()
        return pb.StopProvider.Response()


@functools.cache
def _schemas() -> pb.GetProviderSchema.Response:
    return pb.GetProviderSchema.Response(
        provider=pb.Schema(block=block_message(provider_block())),
        resource_schemas={name: schema_message(resource_schema(name)) for name in served()},
        data_source_schemas={name: schema_message(data_schema(name)) for name in datasources.READERS},
        server_capabilities=_CAPABILITIES,
    )


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


def _no_ephemeral(name: str) -> pb.Diagnostic:
    return error("Ephemeral resources are not served", f"The sandbox's provider has no ephemeral {name}.")


def methods(servicer: Servicer) -> Mapping[str, Callable[[Any], Any]]:
    """The servicer's methods by the names of the protocol."""
    return {name: getattr(servicer, name) for name in pb.DESCRIPTOR.services_by_name["Provider"].methods_by_name}
