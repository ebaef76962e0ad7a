"""The project: is it there, is it paid for, which APIs it has, what its organisation forbids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound

from gcp_openemr.doctor.examine import is_disabled, said
from gcp_openemr.doctor.model import Finding, Subject, failed, ok, warning
from gcp_openemr.environment import Environment
from gcp_openemr.variables import services_of

__all__ = ["CONSTRAINTS", "apis", "billing", "organisation", "project"]

# Without these a first deploy cannot even enable the others.
_FIRST = ("serviceusage.googleapis.com", "storage.googleapis.com")


def project(subject: Subject) -> Iterator[Finding]:
    cloud = subject.cloud
    try:
        found = cloud.ask("cloudresourcemanager", f"v3/projects/{subject.project}")
    except (Forbidden, NotFound) as error:
        if isinstance(error, Forbidden) and is_disabled(error):
            raise
        yield failed(
            f"{subject.project} does not exist, or this identity may not see it: {said(error)}",
            do="Correct project in [environment], or ask its owner for roles/browser on it.",
        )
        return
    if found["state"] != "ACTIVE":
        yield failed(f"{subject.project} is {found['state']}", do=f"Run: gcloud projects undelete {subject.project}")
    else:
        yield ok(f"{subject.project} is ACTIVE, number {found['name'].rpartition('/')[2]}")


def billing(subject: Subject) -> Iterator[Finding]:
    found = subject.cloud.ask("cloudbilling", f"v1/projects/{subject.project}/billingInfo")
    if found.get("billingEnabled"):
        yield ok(f"paid from {found['billingAccountName']}")
    else:
        yield failed(
            f"{subject.project} has no open billing account",
            do=f"Run: gcloud billing projects link {subject.project} --billing-account=ACCOUNT",
        )


def apis(subject: Subject) -> Iterator[Finding]:
    """Those the stack calls. A deploy enables what is missing, once; afterwards a missing one is a fault."""
    name, services = f"projects/{subject.project}", services_of(subject.environment)
    try:
        answer = subject.cloud.ask(
            "serviceusage", f"v1/{name}/services:batchGet", names=[f"{name}/services/{service}" for service in services]
        )
    except Forbidden as error:
        if not is_disabled(error):
            raise
        yield _missing(subject, ["serviceusage.googleapis.com"], needed=True)
        return
    enabled = {found["config"]["name"] for found in answer["services"] if found["state"] == "ENABLED"}
    missing = [service for service in services if service not in enabled]
    if missing:
        yield _missing(subject, missing, needed=_is_deployed(subject) or bool(set(_FIRST) & set(missing)))
    else:
        yield ok(f"all {len(services)} that are called are enabled")


def _missing(subject: Subject, services: Sequence[str], *, needed: bool) -> Finding:
    command = f"gcloud services enable {' '.join(services)} --project={subject.project}"
    what = f"{len(services)} of {len(services_of(subject.environment))} APIs are not enabled"
    if needed:
        return failed(what, do=f"Run: {command}", items=services)
    return warning(what, do=f"The first deploy enables them. Where it may not: {command}", items=services)


def _is_deployed(subject: Subject) -> bool:
    """Whether a foundation was applied here. Raises nothing: it only makes a sentence sharper."""
    from gcp_openemr.commands import state

    try:
        context = subject.context
        return state.exists(context) and state.outputs(context, "foundation") is not None
    except Exception:
        return False


def organisation(subject: Subject) -> Iterator[Finding]:
    """The organisation's policies that would refuse a part of this stack, each by itself."""
    environment = subject.environment
    fine = []
    for constraint, judge in CONSTRAINTS.items():
        name = f"projects/{subject.project}/policies/{constraint}"
        rules = subject.cloud.ask("orgpolicy", f"v2/{name}:getEffectivePolicy").get("spec", {}).get("rules", [])
        complaint = judge(environment, rules)
        if complaint:
            look = f"gcloud org-policies describe {constraint} --project={subject.project} --effective"
            yield failed(f"{constraint}: {complaint}", do=f"{_INSTEAD[constraint]}, or ask the administrator: {look}")
        else:
            fine.append(constraint)
    if fine:
        yield ok(f"nothing here is against {', '.join(fine)}")


Rules = Sequence[Mapping[str, Any]]


def _allows(rules: Rules, value: str) -> bool:
    """Whether a list constraint lets a value through; groups (`in:eu-locations`) are taken at their word."""
    for rule in rules:
        values = rule.get("values", {})
        if rule.get("denyAll") or {value, f"is:{value}"} & {*values.get("deniedValues", ())}:
            return False
        allowed = [one.removeprefix("is:") for one in values.get("allowedValues", ())]
        if allowed and not any(value == one or one.startswith(("in:", "under:")) for one in allowed):
            return False
    return True


def _ingress(environment: Environment, rules: Rules) -> str:
    wrong = [c.name for c in environment.clinics.values() if not _allows(rules, c.service.ingress_settings)]
    return f"ingress_settings of {', '.join(wrong)} is not allowed" if wrong else ""


def _members(environment: Environment, rules: Rules) -> str:
    """Domains or members may be listed, but no list lets everybody in."""
    limited = _enforced(rules) or any(
        rule.get("denyAll") or rule.get("values", {}).get("allowedValues") for rule in rules
    )
    public = [c.name for c in environment.clinics.values() if c.service.public_access]
    return f"public_access of {', '.join(public)} (allUsers) is not allowed" if limited and public else ""


def _locations(environment: Environment, rules: Rules) -> str:
    return "" if _allows(rules, environment.region) else f"resources in {environment.region} are not allowed"


def _accounts(_environment: Environment, rules: Rules) -> str:
    return "service accounts cannot be made" if _enforced(rules) else ""


def _issuers(environment: Environment, rules: Rules) -> str:
    """Whose tokens a workload identity pool may take."""
    ci = environment.ci
    if ci is None or not ci.issuer_uri or _allows(rules, ci.issuer_uri):
        return ""
    return f"tokens of {ci.issuer_uri} are not allowed, and so no job of {ci.repository}"


def _enforced(rules: Rules) -> bool:
    return any(rule.get("enforce") for rule in rules)


def _harmless(_environment: Environment, _rules: Rules) -> str:
    """Enforced or not: nothing here makes a service account's key, or lets a service ask nobody who calls."""
    return ""


_CLOSED = "Write public_access = false in [service] (only Google identities get in then)"
_ELSEWHERE = "No clinic can do without accounts of its own: take another project"
_INSTEAD: Mapping[str, str] = {
    "gcp.resourceLocations": "Write another region in [environment]",
    "iam.allowedPolicyMemberDomains": _CLOSED,
    "iam.disableServiceAccountCreation": _ELSEWHERE,
    "iam.managed.allowedPolicyMembers": _CLOSED,
    "iam.managed.disableServiceAccountCreation": _ELSEWHERE,
    "iam.workloadIdentityPoolProviders": 'Write provider = "cloudbuild" in [ci], whose builds need no issuer',
    "run.allowedIngress": 'Write ingress_settings = "internal-and-cloud-load-balancing" in [service]',
}
CONSTRAINTS: Mapping[str, Callable[[Environment, Rules], str]] = {
    "gcp.resourceLocations": _locations,
    "iam.allowedPolicyMemberDomains": _members,
    "iam.disableServiceAccountCreation": _accounts,
    "iam.disableServiceAccountKeyCreation": _harmless,
    "iam.managed.allowedPolicyMembers": _members,
    "iam.managed.disableServiceAccountCreation": _accounts,
    "iam.managed.disableServiceAccountKeyCreation": _harmless,
    "iam.workloadIdentityPoolProviders": _issuers,
    "run.allowedIngress": _ingress,
    "run.managed.requireInvokerIam": _harmless,
}
"""Legacy constraints and the managed ones that take their place; organisations have either or both.

https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints
"""
