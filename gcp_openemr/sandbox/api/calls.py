"""One call of an API: who, what, on which resource, with which body."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import Caller
from gcp_openemr.sandbox.api.messages import Request
from gcp_openemr.sandbox.api.names import project_of, snake
from gcp_openemr.sandbox.api.refusals import denied, refuse
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.api.validation import accept, camel
from gcp_openemr.sandbox.discovery import Discovery, Method
from gcp_openemr.sandbox.interfaces import Json

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["Call", "unauthenticated"]

_FALSE = {"", "0", "false"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """`parameters` are those of the path, decoded; `name` is the full name that the path speaks of."""

    app: App
    caller: Caller
    api: str
    discovery: Discovery
    method: Method
    parameters: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    request: Request
    name: str

    @property
    def store(self) -> Store:
        return self.app.store

    @property
    def verb(self) -> str:
        return self.method.id.rsplit(".", 1)[1]

    @property
    def collection(self) -> str:
        """The method's id without its verb: `run.projects.locations.services`."""
        return self.method.id.rsplit(".", 1)[0]

    @property
    def project(self) -> str:
        return project_of(self.name)

    @functools.cached_property
    def body(self) -> Json:
        """The JSON body, checked against the method's schema."""
        return accept(self.discovery, self.method.request, self.request.json()) if self.method.request else {}

    @functools.cached_property
    def merge_body(self) -> Json:
        """As `body`, with the nulls that take a field away in a JSON merge patch."""
        schema = self.method.request
        return accept(self.discovery, schema, self.request.json(), keep_null=True) if schema else {}

    def one(self, parameter: str, default: str = "") -> str:
        """A query parameter's (last) value."""
        values = self.query.get(parameter) or self.query.get(snake(parameter))
        return values[-1] if values else default

    def flag(self, parameter: str) -> bool:
        return self.one(parameter).lower() not in _FALSE

    def number(self, parameter: str) -> int | None:
        given = self.one(parameter)
        return int(given) if given else None

    def mask(self) -> list[str]:
        """`updateMask` as paths in camelCase."""
        return [camel(part.strip()) for part in self.one("updateMask").split(",") if part.strip()]

    def allowed(self, permission: str, name: str = "", modified: frozenset[str] | None = None) -> bool:
        return self.app.iam.allows(self.caller, permission, name or self.name, modified=modified)

    def authorize(self, permission: str, name: str = "", modified: frozenset[str] | None = None) -> None:
        """Raise 401 or 403 unless the caller has the permission on `name` (default: the call's resource).

        `modified`: see Iam.allows.
        """
        if self.allowed(permission, name, modified):
            return
        if not self.caller.member:
            raise unauthenticated()
        raise denied(self.api, name or self.name, permission)


def unauthenticated() -> ApiError:
    """401 as one-platform APIs give it."""
    error = refuse("google.unauthenticated")
    error.headers["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/"'
    return error
