"""Cloud SQL: instances. Databases and users are the provision job's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gcp_openemr.sandbox.provider.types.model import Change, Hooks, Json, Settings, expand, network_link

__all__ = ["HOOKS"]


def _encode_instance(body: Json, state: Mapping[str, Any], change: Change) -> Json:
    settings: Json = body.setdefault("settings", {})
    configuration = settings.get("ipConfiguration", {})
    if configuration.get("privateNetwork"):
        configuration["privateNetwork"] = network_link(configuration["privateNetwork"], change.settings)
    backups = settings.get("backupConfiguration", {})
    if not backups.get("transactionLogRetentionDays"):
        backups.pop("transactionLogRetentionDays", None)
    if change.prior is not None:
        # Optimistic lock of the API: an update names the version of the settings that it has seen.
        current = change.settings.client.call("GET", change.row.api.host, expand(change.row.item, state))
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


HOOKS = {"google_sql_database_instance": Hooks(encode=_encode_instance, settle=_settle_instance)}
