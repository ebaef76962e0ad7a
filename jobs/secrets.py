"""Secret Manager, read under the job's own identity, one pinned version at a time."""

from __future__ import annotations

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager_v1

from jobs.errors import SecretUnavailable
from jobs.redacted import Redacted
from jobs.settings import SecretVersion

__all__ = ["access"]


def access(version: SecretVersion) -> Redacted:
    """The payload of a version as text.

    Raises:
        SecretUnavailable: it is absent, disabled, not ours to read, or damaged on the way.
    """
    try:
        client = secretmanager_v1.SecretManagerServiceClient(transport="rest")
        payload = client.access_secret_version(name=version.name, timeout=60).payload
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
    return Redacted(payload.data.decode("utf-8"))
