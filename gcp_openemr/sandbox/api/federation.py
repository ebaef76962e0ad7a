"""Security Token Service and Service Account Credentials: how a job of another provider becomes a service account.

A token that the provider's issuer signed is exchanged for one of a federated identity, with which that of a service
account is asked for. Google fetches the issuer's keys; nothing leads out of the sandbox, so they come from the provider
itself (`jwksJson`) or from the file `issuers.json` of the sandbox's state: issuer → JSON Web Key Set.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gcp_openemr.sandbox.api import names
from gcp_openemr.sandbox.api.conditions import ConditionInvalid, mapped
from gcp_openemr.sandbox.api.iam import TOKEN_SECONDS, Caller
from gcp_openemr.sandbox.api.projects import find_service_account
from gcp_openemr.sandbox.api.rules import ApiError, App, Call, Json, beyond_if, handles, refuse, refuse_if
from gcp_openemr.sandbox.api.serviceusage import require_enabled

__all__ = ["ISSUERS", "PUBLIC"]

ISSUERS = "issuers.json"
PUBLIC = frozenset({"sts.token"})
"""Methods that ask for no credentials."""

_HOST = "//iam.googleapis.com/"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWTS = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_LONGEST_SUBJECT = 127  # bytes


class _OAuthError(ApiError):
    """The answer of RFC 6749, which Google's own shape of errors is not."""

    def body(self) -> Json:
        return {"error": self.status, "error_description": self.message}


@handles("sts.token")
def exchange(call: Call) -> Json:
    try:
        return _exchange(call)
    except ApiError as error:
        raise _OAuthError(error.code, error.message, status=error.status, refusal_id=error.refusal_id) from error


def _exchange(call: Call) -> Json:
    given = {name: values[-1] for name, values in parse_qs(call.request.content().decode(errors="replace")).items()}
    beyond_if(given.get("grant_type") != _EXCHANGE, "The sandbox exchanges tokens, and does nothing else of RFC 6749.")
    beyond_if(given.get("subject_token_type") not in _JWTS, "The sandbox takes JSON Web Tokens only.")
    audience = given.get("audience", "")
    provider = _provider(call, audience)
    claims = _claims(call.app, provider, given.get("subject_token", ""))
    _check_claims(claims, provider, audience)
    pool = audience.removeprefix(_HOST).rpartition("/providers/")[0]
    return {
        "access_token": call.app.mint_for(_federated(provider, claims, pool)),
        "issued_token_type": _ACCESS,
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
    }


def _provider(call: Call, audience: str) -> Json:
    """The provider that an audience names by its project's number, if it and its pool let somebody in."""
    path = audience.removeprefix(_HOST)
    refuse_if(path == audience or path.count("/") != 7, "sts.audience")
    full = f"iam.googleapis.com/{call.app.by_id(path)}"
    found = [call.store.get(name) for name in (full, full.rpartition("/providers/")[0])]
    for record in found:
        if record is None or record.body.get("disabled") or record.body.get("state") != "ACTIVE":
            raise refuse("sts.target")
    return found[0].body if found[0] else {}


def _claims(app: App, provider: Json, token: str) -> dict[str, Any]:
    """What a token says, after its signature was checked by the keys of the provider's issuer."""
    try:
        head, payload, signature = token.split(".")
        header, claims = (dict(json.loads(_decoded(part))) for part in (head, payload))
        signed = _decoded(signature)
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse("sts.token") from error
    beyond_if(not provider.get("oidc"), "The sandbox takes the tokens of OpenID Connect only.")
    issuer = provider["oidc"]["issuerUri"]
    refuse_if(claims.get("iss") != issuer, "sts.issuer", issuer=claims.get("iss"), expected=issuer)
    keys = _keys(app, provider)
    key = next((one for one in keys if one.get("kid") == header.get("kid")), None)
    if header.get("alg") != "RS256" or key is None:
        raise refuse("sts.signature")
    try:
        public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
        public.verify(signed, f"{head}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, KeyError, ValueError) as error:
        raise refuse("sts.signature") from error
    return claims


def _keys(app: App, provider: Json) -> list[Json]:
    oidc = provider["oidc"]
    if oidc.get("jwksJson"):
        keys: list[Json] = json.loads(oidc["jwksJson"])["keys"]
        return keys
    try:
        known = json.loads((app.state_dir / ISSUERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    refuse_if(oidc["issuerUri"] not in known, "sts.connect")
    found: list[Json] = known[oidc["issuerUri"]]["keys"]
    return found


def _check_claims(claims: Mapping[str, Any], provider: Json, audience: str) -> None:
    allowed = provider["oidc"].get("allowedAudiences") or [f"https:{audience}", audience]
    meant = claims.get("aud")
    audiences = meant if isinstance(meant, list) else [meant]
    refuse_if(not any(one in allowed for one in audiences), "sts.aud", audience=meant, expected=allowed[0])
    ends = claims.get("exp")
    fresh = isinstance(ends, int | float) and ends >= time.time()
    refuse_if(not fresh, "sts.stale", issued=claims.get("iat"))
    condition = provider.get("attributeCondition")
    try:
        refuse_if(condition and mapped(condition, claims) is not True, "sts.condition")
    except ConditionInvalid as error:
        raise refuse("sts.condition") from error


def _federated(provider: Json, claims: Mapping[str, Any], pool: str) -> Caller:
    values = {}
    for attribute, expression in provider["attributeMapping"].items():
        try:
            value = mapped(expression, claims)
        except ConditionInvalid as error:
            raise refuse("sts.mapping", attribute=attribute) from error
        refuse_if(not isinstance(value, str), "sts.mapping", attribute=attribute)
        values[attribute] = str(value)
    subject = values.pop("google.subject")
    refuse_if(len(subject.encode()) > _LONGEST_SUBJECT, "sts.subject", longest=_LONGEST_SUBJECT)
    sets = [f"principalSet:{_HOST}{pool}/{attribute}/{value}" for attribute, value in values.items()]
    return Caller(member=f"principal:{_HOST}{pool}/subject/{subject}", sets=(*sets, f"principalSet:{_HOST}{pool}/*"))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text), "big")


@handles("iamcredentials.projects.serviceAccounts.generateAccessToken")
def generate(call: Call) -> Json:
    """A token of the account, for whoever may have it; the API must be enabled where the account is."""
    email = names.id_of(call.name)
    account = find_service_account(call.store, email)
    name = account.name if account is not None else names.service_account_name(email)
    require_enabled(call, names.project_of(name))
    call.authorize("iam.serviceAccounts.getAccessToken", name)
    beyond_if(call.body.get("delegates"), "The sandbox does not stand in for chains of delegation.")
    ends = names.timestamp(time.time() + TOKEN_SECONDS).partition(".")[0]
    return {"accessToken": call.app.mint_token(email, call.body.get("scope") or ()), "expireTime": f"{ends}Z"}
