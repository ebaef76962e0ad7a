"""getIamPolicy, setIamPolicy and testIamPermissions of every resource that has a policy.

Identity-Aware Proxy has policies for what is none of its own: who may open a tunnel to which machine.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

from gcp_openemr.sandbox.api.conditions import ConditionInvalid, evaluate
from gcp_openemr.sandbox.api.iam import predefined_roles
from gcp_openemr.sandbox.api.names import segment
from gcp_openemr.sandbox.api.rules import ApiError, Call, Json, handles, refuse, refuse_if

__all__ = ["answer", "get_policy", "set_policy", "test_permissions"]

_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(deleted:)?(user|serviceAccount|group|domain|principal|principalSet|projectOwner|"
    r"projectEditor|projectViewer):\S+"
)
_FIRST_ETAG = "ACAB"  # what Google gives for a policy nobody has set yet


def answer(call: Call, collection: str, exists: Callable[[], object] = lambda: None) -> Json:
    """Do what the method says; `collection` is IAM's word for it, `exists` refuses what is not there."""
    if call.verb == "testIamPermissions":
        return test_permissions(call, call.name, list(call.body.get("permissions", [])))
    with call.store.transaction():  # the policy that is compared with is the one that is replaced
        call.authorize(f"{collection}.{call.verb}", modified=_modified(call))
        exists()
        if call.verb == "getIamPolicy":
            return get_policy(call, call.name)
        return set_policy(call, call.name, call.body.get("policy", {}))


@handles("iap.getIamPolicy", "iap.setIamPolicy", "iap.testIamPermissions")
def tunnels(call: Call) -> Json:
    narrowest = next((word for word in ("instances", "zones") if segment(call.name, word)), "")
    return answer(call, f"iap.tunnel{narrowest.title()}")


def _modified(call: Call) -> frozenset[str] | None:
    """The roles of bindings that get other members or another condition; only Resource Manager tells them here.

    https://cloud.google.com/iam/docs/conditions-attribute-reference#api-attributes-iam
    """
    if call.api != "cloudresourcemanager" or call.verb != "setIamPolicy":
        return None
    before, after = _grants(get_policy(call, call.name)), _grants(call.body.get("policy", {}))
    return frozenset(role for role, _, _ in before ^ after)


def _grants(policy: Json) -> set[tuple[str, str, str]]:
    return {
        (binding.get("role", ""), member, json.dumps(binding.get("condition"), sort_keys=True))
        for binding in policy.get("bindings", ())
        for member in binding.get("members", ())
    }


def get_policy(call: Call, name: str) -> Json:
    """The policy; an unset one is just its etag."""
    return call.store.policy(name) or {"etag": _FIRST_ETAG}


def set_policy(call: Call, name: str, given: Json) -> Json:
    """Replace a policy, unless its etag says that another change came between.

    Raises:
        ApiError: 400 for unknown roles, members or conditions; 409 (412 for buckets) for a stale etag.
    """
    with call.store.transaction():
        current = get_policy(call, name)
        if given.get("etag") and given["etag"] != current["etag"]:
            raise _stale(call)
        bindings = [_binding(call, binding) for binding in given.get("bindings", ()) if binding.get("members")]
        version = 3 if any("condition" in binding for binding in bindings) else 1
        number = call.store.next_number("policy")
        policy = {
            **({"auditConfigs": given["auditConfigs"]} if given.get("auditConfigs") else {}),
            "version": version,
            "bindings": _joined(bindings),
            "etag": base64.b64encode(b"\x07\x06" + number.to_bytes(6, "big")).decode(),
        }
        call.app.iam.change_policy(name, policy)
    return policy


def test_permissions(call: Call, name: str, permissions: list[str]) -> Json:
    """The part of `permissions` that the caller has."""
    refuse_if(any("*" in permission for permission in permissions), "iam.wildcard")
    allows = call.app.iam.allows
    held = [permission for permission in permissions if allows(call.caller, permission, name, asks=True)]
    return {"permissions": held} if held else {}


def _stale(call: Call) -> ApiError:
    if call.api == "storage":
        return refuse("storage.precondition", location=("header", "If-Match"))
    return refuse("iam.policy-etag")


def _binding(call: Call, given: Json) -> Json:
    role = given.get("role", "")
    members = list(dict.fromkeys(given.get("members", ())))
    if role not in predefined_roles():
        custom = call.store.get(f"iam.googleapis.com/{role}")
        refuse_if(custom is None or custom.body.get("deleted"), "iam.role", role=role)
    for member in members:
        _check_member(call, member)
    condition = given.get("condition")
    if condition:
        _check_condition(condition)
    return {"role": role, "members": members, **({"condition": condition} if condition else {})}


def _check_member(call: Call, member: str) -> None:
    refuse_if(not _MEMBER.fullmatch(member), "iam.member", member=member)
    kind, _, email = member.partition(":")
    if kind == "serviceAccount" and not call.app.service_account_exists(email):
        raise refuse("iam.member-missing", email=email)


def _check_condition(condition: Json) -> None:
    refuse_if(not condition.get("title"), "iam.condition-title")
    try:
        evaluate(str(condition.get("expression", "")), {})
    except ConditionInvalid as error:
        raise refuse("iam.condition", error=error) from error


def _joined(bindings: list[Json]) -> list[Json]:
    """One binding per role and condition, members joined, in the order given."""
    result: list[Json] = []
    for binding in bindings:
        same = (
            kept
            for kept in result
            if kept["role"] == binding["role"] and kept.get("condition") == binding.get("condition")
        )
        found = next(same, None)
        if found is None:
            result.append(binding)
        else:
            found["members"] = list(dict.fromkeys([*found["members"], *binding["members"]]))
    return result
