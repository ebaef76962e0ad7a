"""IAM service accounts, custom roles, and workload identity pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gcp_openemr.sandbox.provider.protocol import UNKNOWN
from gcp_openemr.sandbox.provider.rest import ApiError, is_not_found
from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json, Settings, expand

__all__ = ["HOOKS"]

_HOST = "iam.googleapis.com"
_ACCOUNT = "/v1/projects/{project}/serviceAccounts/{email}"
_ROLE = "/v1/projects/{project}/roles/{role_id}"


def _email(state: Mapping[str, Any]) -> str:
    # A project of an old domain (`example.com:name`) turns around in its accounts' addresses.
    domain, _, name = str(state["project"]).rpartition(":")
    return f"{state['account_id']}@{name}{'.' + domain if domain else ''}.iam.gserviceaccount.com"


def _plan_account(
    state: dict[str, Any], _prior: Mapping[str, Any] | None, _config: Mapping[str, Any], _settings: Settings
) -> Sequence[str]:
    if UNKNOWN not in (state["account_id"], state["project"]):
        state["email"] = _email(state)
        state["member"] = f"serviceAccount:{state['email']}"
    return ()


def _name_account(state: dict[str, Any], _change: Change) -> None:
    state["email"] = _email(state)


def _encode_account(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    account = {name: body[name] for name in ("displayName", "description") if name in body}
    return {"accountId": state["account_id"], "serviceAccount": account}


def _switch_account(state: Mapping[str, Any], change: Change) -> None:
    if state.get("disabled"):
        change.settings.client.call("POST", _HOST, expand(_ACCOUNT, state) + ":disable", {})


def _update_account(state: Mapping[str, Any], change: Change) -> None:
    prior = change.prior or {}
    client, host, path = change.settings.client, _HOST, expand(_ACCOUNT, state)
    fields = {"display_name": "displayName", "description": "description"}
    changed = [name for name in fields if (state.get(name) or "") != (prior.get(name) or "")]
    if changed:
        account = {fields[name]: state.get(name) or "" for name in changed}
        mask = ",".join(fields[name] for name in changed)
        client.call("PATCH", host, path, {"serviceAccount": account, "updateMask": mask})
    if bool(state.get("disabled")) != bool(prior.get("disabled")):
        client.call("POST", host, path + (":disable" if state.get("disabled") else ":enable"), {})


def _settle_account(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    state["member"] = f"serviceAccount:{body['email']}"
    state["account_id"] = body["email"].partition("@")[0]


def _import_account(given: str, settings: Settings) -> dict[str, Any] | None:
    email = given.rsplit("/", 1)[-1]
    parts = given.split("/")
    return {"email": email, "project": parts[1] if len(parts) == 4 else settings.project}


def _create_role(state: Mapping[str, Any], change: Change) -> None:
    """A custom role lingers deleted for a week; creating it again brings it back with the new contents."""
    client, host, path = change.settings.client, _HOST, expand(_ROLE, state)
    role = _role(state)
    try:
        existing = client.call("GET", host, path)
    except ApiError as error:
        if not is_not_found(error):
            raise
        collection = expand("/v1/projects/{project}/roles", state)
        client.call("POST", host, collection, {"roleId": state["role_id"], "role": role})
        return
    if not existing.get("deleted"):
        name = f"projects/{state['project']}/roles/{state['role_id']}"
        raise ApiError(409, {"error": {"message": f"Custom project role {name} already exists and must be imported"}})
    client.call("POST", host, path + ":undelete", {})
    client.call("PATCH", host, path, role)


def _role(state: Mapping[str, Any]) -> Json:
    role = {"title": state["title"], "includedPermissions": sorted(state["permissions"]), "stage": state["stage"]}
    return {**role, "description": state.get("description") or ""}


def _update_role(state: Mapping[str, Any], change: Change) -> None:
    path = expand(_ROLE, state)
    mask = {"updateMask": "description,includedPermissions,stage,title"}
    change.settings.client.call("PATCH", _HOST, path, _role(state), mask)


HOOKS = {
    "google_service_account": Hooks(
        on_plan=_plan_account,
        before_create=_name_account,
        encode=_encode_account,
        after_create=_switch_account,
        updating=_update_account,
        settle=_settle_account,
        importing=_import_account,
    ),
    "google_project_iam_custom_role": Hooks(create=_create_role, updating=_update_role),
}
