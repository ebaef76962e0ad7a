"""Google's clients, for Google or for other endpoints: the one place that knows where the cloud is.

Importing this module is cheap; each client is imported when it is first asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gcp_openemr.errors import CloudRefused, GcpOpenemrError, NotPermitted, Unreachable

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud import run_v2, secretmanager_v1, storage

__all__ = ["Cloud", "google_cloud", "translate"]

T = TypeVar("T")
_ASK_SECONDS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cloud:
    """A project somewhere. `base` is the address of another cloud than Google's, or empty.

    `terraform_environment` is what Terraform's process needs to reach the same place as the same caller.
    """

    project: str
    credentials: Credentials
    base: str = ""
    terraform_environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @functools.cached_property
    def services(self) -> run_v2.ServicesClient:
        from google.cloud import run_v2

        return self._patient(run_v2.ServicesClient(**self._options("run")))

    @functools.cached_property
    def jobs(self) -> run_v2.JobsClient:
        from google.cloud import run_v2

        return self._patient(run_v2.JobsClient(**self._options("run")))

    @functools.cached_property
    def executions(self) -> run_v2.ExecutionsClient:
        from google.cloud import run_v2

        return self._patient(run_v2.ExecutionsClient(**self._options("run")))

    @functools.cached_property
    def secrets(self) -> secretmanager_v1.SecretManagerServiceClient:
        from google.cloud import secretmanager_v1

        return self._patient(secretmanager_v1.SecretManagerServiceClient(**self._options("secretmanager")))

    @functools.cached_property
    def storage(self) -> storage.Client:
        from google.cloud import storage

        from gcp_openemr.retrying import widen

        options = {"api_endpoint": self.base} if self.base else None
        client = storage.Client(project=self.project, credentials=self.credentials, client_options=options)
        # For traces that nobody takes here, it would ask for every bucket once more, on threads of its own.
        client._bucket_metadata_cache = None
        widen(client._http)
        return client

    def api(self, name: str, version: str) -> Any:
        """A client made from Google's discovery document, for APIs without a library of their own here."""
        from googleapiclient import discovery

        from gcp_openemr.discovery_transport import RequestsTransport

        options = {"api_endpoint": f"{self.base}/{name}.googleapis.com/"} if self.base else None
        return discovery.build(
            name,
            version,
            http=RequestsTransport(self.credentials),
            client_options=options,
            static_discovery=True,
            cache_discovery=False,
        )

    def ask(
        self, api: str, path: str, *, body: Mapping[str, Any] | None = None, method: str = "", **query: Any
    ) -> dict[str, Any]:
        """One REST call, for APIs of which a question or two is all that is asked: GET, POST of `body`, or `method`.

        It is tried again, so a POST must be one that may be done twice.
        `path` is below the API's host (`v3/projects/p`). Raises what google.api_core makes of the answer's status.
        """
        from google.api_core.exceptions import from_http_response

        host = f"{self.base}/{api}.googleapis.com" if self.base else f"https://{api}.googleapis.com"
        verb = method or ("GET" if body is None else "POST")
        answer = self._session.request(verb, f"{host}/{path}", params=query, json=body, timeout=_ASK_SECONDS)
        if not answer.ok:
            raise from_http_response(answer)
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def identity_token(self, audience: str) -> str:
        """A token that tells a Cloud Run service who calls, or '' when these credentials give none."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.impersonated_credentials import IDTokenCredentials
        from google.auth.transport.requests import Request
        from google.oauth2 import id_token

        from gcp_openemr.credentials import impersonated

        try:
            if acting := impersonated(self.credentials):
                told = IDTokenCredentials(acting, target_audience=audience, include_email=True)
                told.refresh(Request())
                return str(told.token)
            if not hasattr(self.credentials, "id_token"):
                return str(id_token.fetch_id_token(Request(), audience))
            if not self.credentials.valid:
                self.credentials.refresh(Request())
            return str(self.credentials.id_token or "")
        except GoogleAuthError:
            return ""

    @functools.cached_property
    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        from gcp_openemr.retrying import patient

        return patient(AuthorizedSession(self.credentials), posts=True)

    def _patient(self, client: T) -> T:
        """Let a client of google-cloud-*, and what polls its operations, try again."""
        from gcp_openemr.retrying import patient

        transport: Any = client.transport  # type: ignore[attr-defined]
        patient(transport._session)
        if hasattr(transport, "operations_client"):
            patient(transport.operations_client.transport._session)
        return client

    def _options(self, service: str) -> dict[str, Any]:
        options: dict[str, Any] = {"credentials": self.credentials, "transport": "rest"}
        if self.base:
            options["client_options"] = {"api_endpoint": f"{self.base}/{service}.googleapis.com"}
        return options


def google_cloud(project: str, *, impersonate: str = "") -> Cloud:
    """Google itself, as whoever the environment says, or as the service account that is to be impersonated.

    Raises:
        NotPermitted: no credentials are found on this machine, or Google does not take them.
    """
    from google.auth.exceptions import GoogleAuthError

    from gcp_openemr.credentials import find

    try:
        found = find(os.environ, impersonate=impersonate)
    except GoogleAuthError as error:  # a federation's are used at once, to find out whose project it is
        raise translate(error) or error from error
    return Cloud(project=project, credentials=found.credentials, terraform_environment=found.terraform_environment)


def translate(error: Exception) -> GcpOpenemrError | None:
    """Our error for one that Google's libraries raised, or None when it is not theirs."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from googleapiclient.errors import HttpError

    from gcp_openemr.refused import advice
    from gcp_openemr.retrying import is_passing

    found: GcpOpenemrError | None = None
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        permission = "Give the caller that permission, or use another identity."
        found = CloudRefused(f"Google refused: {error.message}", do=permission)
    elif isinstance(error, exceptions.GoogleAPICallError | exceptions.RetryError | HttpError) and is_passing(error):
        found = Unreachable(f"Google did not answer: {error}", do="Run the same command again: it continues.")
    elif isinstance(error, exceptions.GoogleAPICallError):
        found = CloudRefused(f"Google refused: {error.message}")
    elif isinstance(error, HttpError):
        found = CloudRefused(f"Google refused ({error.status_code}): {error.reason}")
    elif isinstance(error, auth.GoogleAuthError):
        found = NotPermitted(f"Google's credentials did not work: {error}", do=advice(str(error)))
    elif is_passing(error):
        again = "Check the network, then run the same command again."
        found = Unreachable("The cloud cannot be reached from here.", do=again)
    return found
