"""Cloud Storage: buckets and managed folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gcp_openemr.sandbox.provider.protocol import UNKNOWN
from gcp_openemr.sandbox.provider.rest import OperationFailed
from gcp_openemr.sandbox.provider.types.model import STORAGE, Change, Hooks, Json, Settings, expand

__all__ = ["HOOKS"]

_BUCKET = "/storage/v1/b/{name}"


def _plan_bucket(
    state: dict[str, Any], prior: Mapping[str, Any] | None, _config: Mapping[str, Any], settings: Settings
) -> Sequence[str]:
    """Locations are upper case in the state, whatever the configuration says."""
    if isinstance(state["location"], str) and prior is None:
        state["location"] = state["location"].upper()
    if prior is None and state["project"] is UNKNOWN and settings.project:
        state["project"] = settings.project
    return ()


def _encode_bucket(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    prior = change.prior or {}
    for rule, said in zip(body.get("lifecycle", {}).get("rule", []), state.get("lifecycle_rule") or [], strict=True):
        conditions = said.get("condition") or [{}]
        live = {"LIVE": True, "ARCHIVED": False}.get(conditions[0].get("with_state") or "")
        if live is not None:
            rule["condition"]["isLive"] = live
    if change.prior is not None:
        # PATCH keeps keys of a map that it does not name.
        gone = (prior.get("effective_labels") or {}).keys() - body.get("labels", {}).keys()
        body.setdefault("labels", {}).update(dict.fromkeys(gone))
        if prior.get("lifecycle_rule") and not state.get("lifecycle_rule"):
            body["lifecycle"] = {"rule": []}
    return body


def _settle_bucket(state: dict[str, Any], body: Json, settings: Settings) -> None:
    state["url"] = f"gs://{state['name']}"
    state["project"] = state.get("project") or settings.project
    for said, rule in zip(state["lifecycle_rule"], body.get("lifecycle", {}).get("rule", []), strict=True):
        live = rule.get("condition", {}).get("isLive")
        for condition in said["condition"]:
            condition["with_state"] = {True: "LIVE", False: "ARCHIVED"}.get(live, "ANY")
    number = body.get("projectNumber")
    state["project_number"] = int(number) if number is not None else state.get("project_number")


def _empty_bucket(state: Mapping[str, Any], change: Change) -> None:
    client, host, path = change.settings.client, STORAGE.host, expand(_BUCKET, state)
    objects = client.call("GET", host, f"{path}/o", query={"versions": "true"}).get("items", [])
    if objects and not state.get("force_destroy"):
        message = (
            f"Error trying to delete bucket {state['name']} containing objects without `force_destroy` set to true"
        )
        raise OperationFailed(message)
    while objects:
        for found in objects:
            query = {"generation": str(found["generation"])}
            client.call("DELETE", host, f"{path}/o/{quote(found['name'], safe='')}", query=query)
        objects = client.call("GET", host, f"{path}/o", query={"versions": "true"}).get("items", [])


def _import_bucket(given: str, _settings: Settings) -> dict[str, Any]:
    """`NAME` or `PROJECT/NAME`."""
    project, _, name = given.rpartition("/")
    return {"name": name, "project": project or None}


def _encode_folder(_body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    return {"name": state["name"]}


def _import_folder(given: str, _settings: Settings) -> dict[str, Any]:
    bucket, _, name = given.partition("/managedFolders/") if "/managedFolders/" in given else given.partition("/")
    return {"bucket": bucket, "name": name}


HOOKS = {
    "google_storage_bucket": Hooks(
        on_plan=_plan_bucket,
        encode=_encode_bucket,
        settle=_settle_bucket,
        before_delete=_empty_bucket,
        importing=_import_bucket,
    ),
    "google_storage_managed_folder": Hooks(encode=_encode_folder, importing=_import_folder),
}
