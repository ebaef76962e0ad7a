"""Secret Manager, read under the job's own identity, one pinned version at a time."""

from __future__ import annotations

import google_crc32c
import requests
from google.api_core import exceptions, retry
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import secretmanager_v1

from jobs.errors import SecretUnavailable, Unreachable
from jobs.redacted import Redacted
from jobs.settings import SecretVersion

__all__ = ["access"]

# Cloud Run tells that the first packets of Direct VPC egress may take a minute or more, and this is a run's first call
_PATIENCE = retry.Retry(
    predicate=retry.if_exception_type(
        requests.ConnectionError,
        requests.Timeout,
        TransportError,
        exceptions.ServerError,
        exceptions.TooManyRequests,
    ),
    initial=0.5,
    maximum=10.0,
    timeout=120.0,
)


def access(version: SecretVersion) -> Redacted:
    """The payload of a version as text.

    Raises:
        SecretUnavailable: it is absent, disabled, not ours to read, or damaged on the way.
        Unreachable: Secret Manager does not answer for long.
    """
    try:
        client = secretmanager_v1.SecretManagerServiceClient(transport="rest")
        payload = client.access_secret_version(name=version.name, timeout=60, retry=_PATIENCE).payload
    except exceptions.NotFound as error:
        raise SecretUnavailable(
            f"{version.name} does not exist.", do="Run gcp-openemr deploy, which makes the versions."
        ) from error
    except exceptions.Forbidden as error:
        raise SecretUnavailable(
            f"The job's service account may not read {version.name}.", do="Run gcp-openemr deploy, which grants it."
        ) from error
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise SecretUnavailable(f"{version.name} cannot be read: {error}") from error
    except (exceptions.RetryError, requests.RequestException) as error:
        raise Unreachable(f"Secret Manager does not answer: {error}", do="Run the same command again later.") from error
    if payload.data_crc32c and google_crc32c.value(payload.data) != payload.data_crc32c:
        raise SecretUnavailable(f"{version.name} arrived damaged.", do="Run the same command again.")
    try:
        return Redacted(payload.data.decode("utf-8"))
    except UnicodeDecodeError:
        # the error itself would show the payload
        raise SecretUnavailable(f"{version.name} is no text in UTF-8.") from None
