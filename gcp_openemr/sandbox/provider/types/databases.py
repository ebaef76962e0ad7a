"""Cloud SQL: instances, databases, users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import (
    Change,
    Json,
    ResourceType,
    Settings,
    Timeouts,
    expand,
    network_link,
)

__all__ = ["ROWS"]

_INSTANCE = "/v1/projects/{project}/instances/{name}"


def _encode_instance(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    settings: Json = body.setdefault("settings", {})
    configuration = settings.get("ipConfiguration", {})
    if configuration.get("privateNetwork"):
        configuration["privateNetwork"] = network_link(configuration["privateNetwork"], change.settings)
    if change.prior is not None:
        # Optimistic lock of the API: an update names the version of the settings that it has seen.
        current = change.settings.client.call("GET", change.row.host, expand(_INSTANCE, state))
        settings["settingsVersion"] = current.get("settings", {}).get("settingsVersion", "1")
    if isinstance(body.get("rootPassword"), str) and not body["rootPassword"]:
        del body["rootPassword"]
    return body


def _settle_instance(state: dict[str, Any], body: Json, _settings: Settings) -> None:
    addresses = [
        {
            "ip_address": one.get("ipAddress", ""),
            "type": one.get("type", ""),
            "time_to_retire": one.get("timeToRetire", ""),
        }
        for one in body.get("ipAddresses", [])
    ]
    for tuning in state.get("settings") or []:
        tuning["effective_availability_type"] = tuning.get("availability_type")
    state["ip_address"] = addresses
    state["first_ip_address"] = addresses[0]["ip_address"] if addresses else ""
    by_type = {one["type"]: one["ip_address"] for one in addresses}
    state["public_ip_address"] = by_type.get("PRIMARY", "")
    state["private_ip_address"] = by_type.get("PRIVATE", "")


def _encode_user(body: Json, state: Mapping[str, Any], _change: Change) -> Json:
    body["name"] = state["name"]
    password = state.get("password_wo") or state.get("password")
    if password:
        body["password"] = password
    return body


_USERS = "/v1/projects/{project}/instances/{instance}/users"


def _user_query(state: Mapping[str, Any]) -> dict[str, str]:
    return {"name": str(state["name"]), "host": str(state.get("host") or "")}


def _update_user(state: Mapping[str, Any], change: Change) -> None:
    body = _encode_user({"host": state.get("host") or ""}, state, change)
    client, row = change.settings.client, change.row
    operation = client.call("PUT", row.host, expand(_USERS, state), body, _user_query(state))
    client.wait("sqladmin", row.host, row.version, operation, row.timeouts.update)


def _delete_user(state: Mapping[str, Any], change: Change) -> None:
    client, row = change.settings.client, change.row
    operation = client.call("DELETE", row.host, expand(_USERS, state), query=_user_query(state))
    client.wait("sqladmin", row.host, row.version, operation, row.timeouts.delete)


def _read_user(state: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    users = settings.client.call("GET", "sqladmin.googleapis.com", expand(_USERS, state)).get("items", [])
    host = state.get("host") or ""
    found = [one for one in users if one.get("name") == state["name"] and (not host or one.get("host", "") == host)]
    if not found:
        return None
    read = {name: value for name, value in state.items() if name != "password_wo"}
    user = {"host": found[0].get("host", ""), "iam_email": found[0].get("iamEmail", ""), "sql_server_user_details": []}
    identity = f"{state['name']}/{found[0].get('host', '')}/{state['instance']}"
    return {**read, **user, "password_wo": None, "id": identity}


def _import_user(given: str, _settings: Settings) -> dict[str, Any] | None:
    """`PROJECT/INSTANCE/HOST/NAME` or `PROJECT/INSTANCE/NAME`."""
    parts = given.split("/")
    if len(parts) == 4:
        return {"project": parts[0], "instance": parts[1], "host": parts[2], "name": parts[3]}
    return {"project": parts[0], "instance": parts[1], "name": parts[2]} if len(parts) == 3 else None


ROWS = (
    ResourceType(
        type="google_sql_database_instance",
        title="DatabaseInstance",
        api=("sqladmin", "v1"),
        schema="DatabaseInstance",
        collection="/v1/projects/{project}/instances",
        item=_INSTANCE,
        id="projects/{project}/instances/{name}",
        wait="sqladmin",
        update="PUT",
        names={
            "settings.version": "settingsVersion",
            "settings.disk_size": "dataDiskSizeGb",
            "settings.disk_type": "dataDiskType",
            "settings.disk_autoresize": "storageAutoResize",
            "settings.disk_autoresize_limit": "storageAutoResizeLimit",
            "settings.user_labels": "userLabels",
            "settings.deletion_protection_enabled": "deletionProtectionEnabled",
            "settings.ip_configuration.psc_config.psc_auto_connections.consumer_service_project_id": "consumerProject",
            "settings.deny_maintenance_period": "denyMaintenancePeriods",
            "encryption_key_name": "diskEncryptionConfiguration.kmsKeyName",
        },
        input_only=frozenset({"root_password", "root_password_wo", "root_password_wo_version", "clone"}),
        sameness={"settings.ip_configuration.private_network": "link", "settings.tier": "case"},
        local=frozenset({"deletion_protection"}),
        timeouts=Timeouts(create=2400, update=5400, delete=5400),
        encode=_encode_instance,
        settle=_settle_instance,
        protected=(
            "Error, failed to delete instance because deletion_protection is set to true. "
            "Set it to false to proceed with instance deletion"
        ),
    ),
    ResourceType(
        type="google_sql_database",
        title="Database",
        api=("sqladmin", "v1"),
        schema="Database",
        collection="/v1/projects/{project}/instances/{instance}/databases",
        item="/v1/projects/{project}/instances/{instance}/databases/{name}",
        id="projects/{project}/instances/{instance}/databases/{name}",
        wait="sqladmin",
        update="PUT",
    ),
    ResourceType(
        type="google_sql_user",
        title="User",
        api=("sqladmin", "v1"),
        schema="User",
        collection=_USERS,
        item="",
        id="{name}/{host}/{instance}",
        wait="sqladmin",
        forced=frozenset({"name", "instance", "host", "project", "type"}),
        encode=_encode_user,
        unserved=frozenset({"database_roles", "password_policy"}),
        updating=_update_user,
        delete=_delete_user,
        reading=_read_user,
        importing=_import_user,
    ),
)
