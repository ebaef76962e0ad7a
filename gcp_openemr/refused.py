"""What Google's refusals of a caller mean: who it was, what it lacks, and what to do about it."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from gcp_openemr.errors import CloudRefused, GcpOpenemrError, NotPermitted, TerraformFailed

if TYPE_CHECKING:
    from gcp_openemr.clients import Cloud

__all__ = ["advice", "lacking", "told_of"]

# Each API's words (the sources stand with the sandbox's refusals).
_NAME = r"([a-z]+\.[A-Za-z]+\.[A-Za-z]+)"
_LACKING = re.compile(rf"[Pp]ermission:? ['\"]?{_NAME}['\"]? denied|not have {_NAME} access|'{_NAME}' permission")
# What Resource Manager says without naming it, also of a role that the caller may not grant.
_UNNAMED = {"Policy update access denied": "resourcemanager.projects.setIamPolicy"}
_LOGIN = "Run: gcloud auth application-default login. In a pipeline: let the step that signs in run again."
# Part of what Google says of credentials → what to do.
_ADVICE = (
    (
        "rejected by the attribute condition",
        "This job is not of the repository that [ci] names (a pull_request_target is refused always). "
        "Correct [ci], and let an administrator run: gcp-openemr bootstrap",
    ),
    (
        "iam.serviceAccounts.getAccessToken",
        "Every run of the repository takes the planner; the deployer is for the branch and the environment in [ci], "
        "the destroyer for that branch in its destroy_environment. A person needs "
        "roles/iam.serviceAccountTokenCreator on the account.",
    ),
    (
        "pool or provider is disabled or deleted",
        "Let an administrator run gcp-openemr bootstrap, and paste what it prints into the pipeline's settings.",
    ),
    ("does not match the expected audience", "Ask for the pipeline's token with the audience that bootstrap prints."),
    ("does not match the expected ones", "Correct issuer in [ci], and let an administrator run: gcp-openemr bootstrap"),
    ("connecting to the given credential's issuer", "Google must reach the issuer's keys: see issuer in [ci]."),
    (
        "is stale to sign-in",
        "The token of the pipeline's job is too old. On GitLab a job gets no other: run it again, and it continues. "
        "Elsewhere sign in anew, in the same job and shortly before.",
    ),
    (
        "do not contain the necessary fields",
        "An access token is good for an hour and cannot be renewed: get another.",
    ),
    ("quota project", "Run: gcloud auth application-default set-quota-project PROJECT"),
)


def advice(text: str) -> str:
    """What to do about credentials that Google did not take, by what it said."""
    return next((do for part, do in _ADVICE if part in text), _LOGIN)


def lacking(text: str) -> str:
    """The permission that a refusal names, or ''."""
    found = _LACKING.search(text)
    if found:
        return str(next(filter(None, found.groups())))
    return next((permission for said, permission in _UNNAMED.items() if said in text), "")


def told_of(error: GcpOpenemrError, cloud: Cloud | None) -> GcpOpenemrError:
    """The same failure, with the identity in use and what it lacks, where a refusal of permission is behind it."""
    permission = lacking(error.what)
    if cloud is None or not permission or not isinstance(error, CloudRefused | TerraformFailed):
        return error
    do = f"Give it a role that holds {permission}, or be somebody else: --impersonate ACCOUNT. "
    do += "gcp-openemr doctor compares what it may with what each command needs."
    told = type(error) if type(error) in (CloudRefused, NotPermitted) else TerraformFailed
    return told(f"{error.what}\nThe caller is {_who(cloud)}, which lacks {permission}.", do=do)


def _who(cloud: Cloud) -> str:
    from gcp_openemr.credentials import kind_of
    from gcp_openemr.doctor.identity import who

    name = ""
    with contextlib.suppress(Exception):  # it only makes a sentence sharper
        name = who(cloud)
    return f"{name} ({kind_of(cloud.credentials)})" if name else kind_of(cloud.credentials)
