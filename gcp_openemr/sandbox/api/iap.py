"""Identity-Aware Proxy v1: who may open a tunnel to which machine."""

from __future__ import annotations

from gcp_openemr.sandbox.api import policies
from gcp_openemr.sandbox.api.names import segment
from gcp_openemr.sandbox.api.rules import Call, Json, handles


def _authorize(call: Call) -> None:
    narrowest = next((word for word in ("instances", "zones") if segment(call.name, word)), "")
    call.authorize(f"iap.tunnel{narrowest.title()}.{call.verb}")


@handles("iap.getIamPolicy")
def get_policy(call: Call) -> Json:
    _authorize(call)
    return policies.get_policy(call, call.name)


@handles("iap.setIamPolicy")
def set_policy(call: Call) -> Json:
    _authorize(call)
    return policies.set_policy(call, call.name, call.body.get("policy", {}))


@handles("iap.testIamPermissions")
def test_permissions(call: Call) -> Json:
    return policies.test_permissions(call, call.name, list(call.body.get("permissions", [])))
