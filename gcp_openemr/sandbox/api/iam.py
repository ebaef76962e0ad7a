"""Who calls, and what they may do.

Predefined roles resolve to permissions by `roles.json` (source inside); custom roles by the store. A permission is
granted by a binding on the resource, on anything above it, or on its project; conditions are evaluated.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from gcp_openemr.sandbox.api.conditions import MODIFIED_ROLES, ConditionInvalid, evaluate
from gcp_openemr.sandbox.api.names import host_of, numbered, path_of, project_name, project_of
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json

__all__ = [
    "ANONYMOUS", "CLOUD_PLATFORM", "OPERATOR", "PROPAGATION_SECONDS", "Caller", "Iam", "Tokens", "predefined_roles",
    "service_account",
]  # fmt: skip

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_SECONDS = 3600
_ISSUER = "https://accounts.google.com"
# "Typically … 2 minutes" (https://cloud.google.com/iam/docs/access-change-propagation).
PROPAGATION_SECONDS = 120.0
_PROPAGATING = "propagating/"
# The pairs of members that stand for a project's basic roles in a bucket's policy.
_CONVENIENCE = {"projectOwner": "roles/owner", "projectEditor": "roles/editor", "projectViewer": "roles/viewer"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """An identity as IAM writes it (`user:…`, `serviceAccount:…`, `principal://…`), "" for nobody.

    A federated one belongs to `sets` too (`principalSet://…`). `scopes` are those of its token, none when the token is
    good for everything.
    """

    member: str
    sets: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    @property
    def email(self) -> str:
        return self.member.partition(":")[2]


ANONYMOUS = Caller(member="")
OPERATOR = Caller(member="user:operator@sandbox.local")


def service_account(email: str, scopes: Iterable[str] = ()) -> Caller:
    """With a token of these scopes; without any, of the one that Cloud Run gives unasked."""
    return Caller(member=f"serviceAccount:{email}", scopes=tuple(scopes) or (CLOUD_PLATFORM,))


class Tokens:
    """Bearer tokens: the operator's, kept in a file, and signed ones that end by themselves after an hour."""

    def __init__(self, store: Store, operator_file: Path) -> None:
        with store.transaction():
            key = store.fact("token-key")
            if key is None:
                key = secrets.token_hex(32)
                store.put_fact("token-key", key)
        self._key = bytes.fromhex(key)
        self.operator = _operator_token(operator_file)

    def mint(self, email: str, scopes: Iterable[str] = ()) -> str:
        return self.mint_for(service_account(email, scopes))

    def mint_for(self, caller: Caller) -> str:
        told = json.dumps([int(time.time()) + TOKEN_SECONDS, caller.member, caller.sets, caller.scopes])
        payload = base64.urlsafe_b64encode(told.encode()).decode()
        return f"ya29.{payload}.{self._sign(payload)}"

    def mint_identity(self, email: str, audience: str) -> str:
        """An identity token: it says who calls `audience`, and no API takes it."""
        now = int(time.time())
        claims = {"aud": audience, "iss": _ISSUER, "iat": now, "exp": now + TOKEN_SECONDS}
        claims |= {"azp": email, "sub": email, "email": email, "email_verified": True}
        parts = ({"alg": "HS256", "kid": "sandbox", "typ": "JWT"}, claims)
        signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return f"{signed}.{self._sign(signed)}"

    def identity(self, authorization: str, audience: str) -> Caller | None:
        """Whose identity token for `audience` a header carries, if it is one and is valid."""
        signed, _, signature = authorization.partition(" ")[2].rpartition(".")
        if not hmac.compare_digest(self._sign(signed).encode(), signature.encode()):
            return None
        claims = json.loads(base64.urlsafe_b64decode(signed.rpartition(".")[2] + "=="))
        fits = isinstance(claims, dict) and claims["aud"] == audience and claims["exp"] > time.time()
        return service_account(claims["email"]) if fits else None

    def caller(self, authorization: str) -> Caller | None:
        """Whose token an `Authorization` header carries; ANONYMOUS without one, None when it is not valid."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        if hmac.compare_digest(token.encode(), self.operator.encode()):
            return OPERATOR
        parts = token.split(".")
        if len(parts) != 3 or not hmac.compare_digest(self._sign(parts[1]).encode(), parts[2].encode()):
            return None
        try:
            ends, member, sets, scopes = json.loads(base64.urlsafe_b64decode(parts[1]))
        except (binascii.Error, ValueError):
            return None
        return Caller(member=member, sets=tuple(sets), scopes=tuple(scopes)) if ends > time.time() else None

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()


def _operator_token(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"ya29.{secrets.token_urlsafe(32)}", encoding="ascii")
    return path.read_text(encoding="ascii")


@functools.cache
def predefined_roles() -> dict[str, Json]:
    """Role name to `{"title", "permissions": frozenset}`."""
    document = json.loads(Path(__file__).with_name("roles.json").read_text(encoding="utf-8"))
    return {
        name: {
            "title": role["title"],
            "permissions": frozenset(
                f"{collection}.{verb}" for collection, verbs in role["permissions"].items() for verb in verbs.split()
            ),
        }
        for name, role in document["roles"].items()
    }


class Iam:
    """Evaluates policies of the store. `propagation` is the factor on the time that a change takes to be seen."""

    def __init__(self, store: Store, propagation: Callable[[], float]) -> None:
        self._store = store
        self._propagation = propagation
        self.relied_on: set[tuple[str, str, str, str]] = set()
        """Policy, role, member and permission of every grant without which a call would have been refused."""

    def policy_in_force(self, name: str) -> Json:
        """The policy by which Google decides now: the former one while a change still propagates."""
        policy = self._store.policy(name) or {}
        late = self._store.policy(f"{_PROPAGATING}{name}") if self._propagation() else None
        if late and late["etag"] == policy.get("etag") and time.time() < late["until"]:
            former: Json = late["former"]
            return former
        return policy

    def change_policy(self, name: str, policy: Json) -> None:
        """Write a policy that is in force at once, or after the time it propagates."""
        if self._propagation():
            until = time.time() + PROPAGATION_SECONDS * self._propagation()
            late = {"former": self.policy_in_force(name), "etag": policy["etag"], "until": until}
            self._store.put_policy(f"{_PROPAGATING}{name}", late)
        self._store.put_policy(name, policy)

    def allows(
        self,
        caller: Caller,
        permission: str,
        resource: str,
        *,
        asks: bool = False,
        modified: frozenset[str] | None = None,
    ) -> bool:
        """Whether `caller` has `permission` on a resource by full name; `asks` when nothing hangs on the answer.

        `modified` are the roles that a change of the resource's policy touches, where its service tells them.
        """
        if caller == OPERATOR:
            return True
        identities = self._identities(caller)
        roles = modified if permission.endswith(".setIamPolicy") and not asks else frozenset[str]()
        grants = {
            (policy, str(binding["role"]), caller.member, permission)
            for policy in self._policies_above(resource)
            for binding in self.policy_in_force(policy).get("bindings", ())
            if self._binds(binding, identities, permission, resource, roles)
        }
        if len(grants) == 1 and not asks:
            self.relied_on |= grants
        return bool(grants)

    def permissions(self, role: str) -> frozenset[str]:
        """What a role contains; nothing for an unknown or deleted one."""
        found = predefined_roles().get(role)
        if found is not None:
            return frozenset(found["permissions"])
        record = self._store.get(f"iam.googleapis.com/{role}")
        if record is None or record.body.get("deleted"):
            return frozenset()
        return frozenset(record.body.get("includedPermissions", ()))

    def owner_project(self, resource: str) -> str:
        """The project a resource belongs to; a bucket knows its own."""
        project = project_of(resource)
        if project != "_":
            return project
        bucket = "/".join(resource.split("/")[:5])
        record = self._store.get(bucket)
        return str(record.hidden.get("project", "")) if record else ""

    def _identities(self, caller: Caller) -> set[str]:
        if not caller.member:
            return {"allUsers"}
        if caller.sets:  # "allAuthenticatedUsers" leaves out who comes from another identity provider
            return {caller.member, *caller.sets, "allUsers"}
        return {caller.member, "allUsers", "allAuthenticatedUsers"}

    def _binds(
        self, binding: Json, identities: set[str], permission: str, resource: str, modified: frozenset[str] | None
    ) -> bool:
        members = set(binding.get("members", ()))
        if not members & identities and not self._by_basic_role(members, identities):
            return False
        role = binding.get("role", "")
        if role != "roles/owner" and permission not in self.permissions(role):
            return False
        condition = binding.get("condition")
        return condition is None or self._holds(condition.get("expression", ""), resource, modified)

    def _by_basic_role(self, members: Iterable[str], identities: set[str]) -> bool:
        for member in members:
            kind, _, project = member.partition(":")
            role = _CONVENIENCE.get(kind)
            if role is None:
                continue
            for binding in self.policy_in_force(project_name(project)).get("bindings", ()):
                if binding["role"] == role and identities & set(binding.get("members", ())):
                    return True
        return False

    def _holds(self, expression: str, resource: str, modified: frozenset[str] | None) -> bool:
        by_number = host_of(resource) == "secretmanager.googleapis.com"
        name = numbered(resource) if by_number else path_of(resource)
        try:
            return evaluate(
                expression,
                {
                    "resource.name": name,
                    "resource.type": _resource_type(resource),
                    "resource.service": host_of(resource),
                    "request.time": datetime.now(tz=UTC),
                    MODIFIED_ROLES: modified,
                },
            )
        except ConditionInvalid:
            return False

    def _policies_above(self, resource: str) -> Iterator[str]:
        parts = resource.split("/")
        # Below host/projects/p: the resource itself and everything it lies in.
        for count in range(len(parts), 3, -1):
            yield "/".join(parts[:count])
        bucket, _, name = resource.partition("/objects/")
        if name:
            folders = f"{bucket}/managedFolders/"
            yield from (
                full for full, _ in self._store.policies(folders) if name.startswith(full.removeprefix(folders))
            )
        project = self.owner_project(resource)
        if project:
            yield project_name(project)


def _resource_type(resource: str) -> str:
    """`resource.type` of the kinds that conditions of this product name."""
    host = host_of(resource)
    if host == "storage.googleapis.com":
        return f"{host}/Object" if "/objects/" in resource else f"{host}/Bucket"
    if host == "secretmanager.googleapis.com":
        return f"{host}/SecretVersion" if "/versions/" in resource else f"{host}/Secret"
    return f"{host}/{resource.split('/')[-2].rstrip('s').title()}"
