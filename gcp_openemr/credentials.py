"""Whose credentials are used: found once, for Google's clients and for Terraform alike.

Left to themselves the two look in different places: Terraform takes an access token and a key from variables of its own
that the clients do not know, and would act as somebody else. Here is one order for both:

1. an access token in GOOGLE_OAUTH_ACCESS_TOKEN;
2. the application default credentials: the file that GOOGLE_APPLICATION_CREDENTIALS names (of a federation, a login
   or a key), the login of `gcloud auth application-default login`, the metadata server;
3. on top of either, the service account that is impersonated.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_openemr.errors import NotPermitted

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = [
    "NOT_TERRAFORM_S",
    "SCOPE",
    "TOKEN",
    "Found",
    "acting_as",
    "find",
    "impersonated",
    "kind_of",
    "name_of",
    "of_federation",
]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_QUOTA = "GOOGLE_CLOUD_QUOTA_PROJECT"
# Where Terraform's provider and its backend look before, or beside, the places above.
NOT_TERRAFORM_S = dict.fromkeys(
    (
        "GCLOUD_KEYFILE_JSON", "GOOGLE_BACKEND_CREDENTIALS", "GOOGLE_BACKEND_IMPERSONATE_SERVICE_ACCOUNT",
        "GOOGLE_CLOUD_KEYFILE_JSON", "GOOGLE_CREDENTIALS", "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
    ),
    "",
)  # fmt: skip
"""Variables emptied, which is unset for Terraform: nothing of its own gets in between."""
# Module of google-auth's class → what people call it.
_KINDS: Mapping[str, str] = {
    "google.auth.aws": "workload identity federation (AWS)",
    "google.auth.compute_engine.credentials": "the metadata server of this machine",
    "google.auth.external_account_authorized_user": "a user of a workforce pool",
    "google.auth.identity_pool": "workload identity federation",
    "google.auth.impersonated_credentials": "an impersonated service account",
    "google.auth.pluggable": "workload identity federation (a program)",
    "google.oauth2.service_account": "a service account's key file",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Credentials for the clients, and the variables with which Terraform finds the same."""

    credentials: Credentials
    terraform_environment: Mapping[str, str] = dataclasses.field(repr=False)


def find(environ: Mapping[str, str], *, impersonate: str = "") -> Found:
    """The credentials of this process, or those of `impersonate` (a service account's address) by them.

    Raises:
        NotPermitted: there are none, or their file cannot be read.
    """
    source = _token(environ) or _default(environ)
    # Of a login it pays for that person's calls; for an account it is named in words.
    pays = environ.get(_QUOTA, "")
    credentials = acting_as(source, impersonate, pays=pays) if impersonate else source
    variables = {**NOT_TERRAFORM_S, "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": impersonate}
    quota = getattr(credentials, "quota_project_id", None)
    if quota:
        variables |= {"GOOGLE_BILLING_PROJECT": str(quota), "USER_PROJECT_OVERRIDE": "true"}
    return Found(credentials=credentials, terraform_environment=variables)


def of_federation(environ: Mapping[str, str], base: str) -> Credentials | None:
    """Those of the file of a federation whose tokens the cloud at `base` exchanges; None without such a file.

    Raises:
        NotPermitted: the file cannot be read, or is for another cloud that is not Google's.
    """
    from google.auth import identity_pool

    name = environ.get(_FILE, "")
    held = _held(name) if name else {}
    url = str(held.get("token_url", ""))
    if held.get("type") != "external_account" or url.startswith("https://sts.googleapis.com/"):
        return None
    if not url.startswith(f"{base}/"):
        raise NotPermitted(
            f"{_FILE} names {name}, which is for {url}, not for {base}.", do="Write it anew, or unset it."
        )
    found: Credentials = identity_pool.Credentials.from_info(held, scopes=[SCOPE])
    return found


def impersonated(credentials: Any) -> Any:
    """What of these credentials acts as a service account that it is not, or None."""
    from google.auth import impersonated_credentials

    if isinstance(credentials, impersonated_credentials.Credentials):
        return credentials
    return getattr(credentials, "_impersonated_credentials", None)  # a federation's, once it has a token


def kind_of(given: Any) -> str:
    """The kind of credentials in people's words."""
    if type(given).__module__ == "google.oauth2.credentials":
        return "a user's login" if given.refresh_token else "an access token"
    return _KINDS.get(type(given).__module__, type(given).__name__)


def name_of(given: Any) -> str:
    """The address that credentials know to be theirs; '' where only Google knows."""
    told = getattr(given, "service_account_email", "") or getattr(given, "account", "")
    return str(told) if told and told != "default" else ""


def _token(environ: Mapping[str, str]) -> Credentials | None:
    from google.oauth2.credentials import Credentials

    token = environ.get(TOKEN)
    quota = environ.get(_QUOTA)
    return Credentials(token=token, quota_project_id=quota) if token else None


def _default(environ: Mapping[str, str]) -> Credentials:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    if environ.get(_FILE):
        _held(environ[_FILE])  # google-auth's own sentences about this file are about its inside
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise NotPermitted(
            "No Google credentials were found on this machine.",
            do="Run: gcloud auth application-default login. In a pipeline, let its step for Google Cloud run before. "
            "To rehearse without an account, add --sandbox.",
        ) from error
    found: Credentials = credentials
    return found


def _held(name: str) -> dict[str, Any]:
    """What a credentials' file holds."""
    try:
        held = json.loads(Path(name).read_text(encoding="utf-8"))
        if isinstance(held, dict) and "type" in held:
            return held
    except FileNotFoundError as error:
        raise NotPermitted(
            f"{_FILE} names {name}, which does not exist.",
            do="In a pipeline, the step that signs in to Google Cloud must run before, in the same job; else unset it.",
        ) from error
    except (OSError, ValueError):
        pass
    raise NotPermitted(
        f"{_FILE} names {name}, which holds no credentials.", do="Write it again, or unset the variable."
    )


def acting_as(source: Credentials, account: str, *, base: str = "", pays: str = "") -> Credentials:
    """Those of a service account, taken by others; `base` is the address of another cloud than Google's.

    `pays` is the project whose quota is used, where it is not the account's own.
    """
    from google.auth import impersonated_credentials

    endpoint = f"{base}/iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    made: Credentials = impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=account,
        target_scopes=[SCOPE],
        quota_project_id=pays or None,
        iam_endpoint_override=endpoint if base else None,
    )
    return made
