"""Addresses of a subnetwork that Cloud Run keeps after a service or a job with direct VPC egress is gone.

They are nobody's to delete and stand in no list; only the subnetwork's deletion meets them
(https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet: one to two hours).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.names import id_of, new_uid, project_of, segment
from gcp_openemr.sandbox.interfaces import Json

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["HELD", "HOLD_SECONDS", "hold_addresses"]

HELD = "run.googleapis.com/held/"
HOLD_SECONDS = 5400.0


def hold_addresses(app: App, name: str, template: Json) -> None:
    """Keep a subnetwork's addresses from now on, inside the caller's transaction.

    Writes `{HELD}{project}/{region}/{subnetwork}/{unique}` with `until` (seconds of the epoch) and Google's `id`.
    """
    if not app.settings.held_addresses:
        return
    for interface in (template.get("vpcAccess") or {}).get("networkInterfaces") or ():
        given = str(interface.get("subnetwork") or interface.get("network"))
        project, region = segment(given, "projects") or project_of(name), segment(name, "locations")
        unique = new_uid()
        body = {
            "id": f"projects/{project}/regions/{region}/addressReservations/serverless-ipv4-{unique[:18]}",
            "kind": "serverless.googleapis.com/addressReservations",
            "until": time.time() + HOLD_SECONDS * app.settings.held_addresses,
        }
        app.store.put(f"{HELD}{project}/{region}/{id_of(given)}/{unique}", body)
