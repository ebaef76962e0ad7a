"""Between the cloud and its runtime: what the runtime may ask (`interfaces.Access`), and the guard before it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, cast

from gcp_openemr.sandbox.api.errors import CODES
from gcp_openemr.sandbox.api.iam import Caller, Iam, Tokens
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.rules import Json, Refused, Store
from gcp_openemr.sandbox.api.run.services import secret_problem
from gcp_openemr.sandbox.api.secretmanager import read_version
from gcp_openemr.sandbox.api.settings import read_settings
from gcp_openemr.sandbox.api.storage.objects import Objects
from gcp_openemr.sandbox.interfaces import Runtime

__all__ = ["CloudAccess", "guarded"]


class CloudAccess:
    """Reads the store; secrets and objects only with the right to."""

    def __init__(self, store: Store, objects: Objects, iam: Iam, tokens: Tokens) -> None:
        self._store = store
        self._objects = objects
        self._iam = iam
        self._tokens = tokens

    def get(self, name: str) -> Json | None:
        record = self._store.get(name)
        return record.body if record else None

    def list(self, prefix: str) -> Sequence[tuple[str, Json]]:
        return [(record.name, record.body) for record in self._store.list(prefix)]

    def secret(self, name: str, version: str, *, member: str) -> str:
        """Payload of `projects/p/secrets/s` at a version. Raises Refused in Cloud Run's words."""
        problem = secret_problem(self._store, self._iam, name, version, Caller(member=member).email)
        if problem is not None:
            raise Refused(problem.message, code=problem.rpc_code)
        project, _, secret = name.removeprefix("projects/").partition("/")
        full = f"secretmanager.googleapis.com/projects/{project_by_number(self._store, project)}/{secret}"
        return read_version(self._store, full, version)[1].decode()

    def object(self, bucket: str, name: str, *, member: str) -> bytes:
        """Content of an object. Raises Refused."""
        caller = Caller(member=member)
        full = f"{bucket_name(bucket)}/objects/{name}"
        if not self._iam.allows(caller, "storage.objects.get", full):
            message = f"{caller.email} does not have storage.objects.get access to the Google Cloud Storage object."
            raise Refused(message, code=7)
        found = self._objects.live(bucket, name)
        if found is None:
            raise Refused(f"No such object: {bucket}/{name}", code=5)
        return self._objects.path(found).read_bytes()

    def setting(self, name: str) -> float:
        return float(getattr(read_settings(self._store), name))

    def mint_token(self, email: str, scopes: Sequence[str]) -> str:
        return self._tokens.mint(email, scopes)

    def mint_identity(self, email: str, audience: str) -> str:
        return self._tokens.mint_identity(email, audience)


class _Guard:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._runtime, name)

        @functools.wraps(method)
        def call(*values: Any) -> Any:
            try:
                return method(*values)
            except Refused:
                raise
            except Exception as error:
                traceback.print_exc()
                raise Refused("Internal error encountered.", code=CODES["INTERNAL"]) from error

        return call


def guarded(runtime: Runtime) -> Runtime:
    """The same runtime, of whose calls only `Refused` comes out."""
    return cast("Runtime", _Guard(runtime))
