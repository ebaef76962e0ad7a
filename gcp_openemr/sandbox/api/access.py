"""What the runtime may ask of the cloud (`interfaces.Access`)."""

from __future__ import annotations

from collections.abc import Sequence

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import Caller, Iam, Tokens
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.secretmanager import read_version
from gcp_openemr.sandbox.api.storage.objects import Objects
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json, Refused

__all__ = ["CloudAccess"]


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
        parts = name.split("/")
        parts[1] = project_by_number(self._store, parts[1])
        full = f"secretmanager.googleapis.com/{'/'.join(parts)}"
        caller = Caller(member=member)
        if not self._iam.allows(caller, "secretmanager.versions.access", f"{full}/versions/{version}"):
            raise Refused(
                f"Permission denied on secret: {name}/versions/{version} for Revision service account {caller.email}. "
                "The service account used must be granted the 'Secret Manager Secret Accessor' role "
                "(roles/secretmanager.secretAccessor) at the secret, project or higher level.",
                code=7,
            )
        try:
            return read_version(self._store, full, version)[1].decode()
        except ApiError as error:
            raise Refused(error.message, code=error.rpc_code) from error

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

    def mint_token(self, email: str) -> str:
        return self._tokens.mint(email)
