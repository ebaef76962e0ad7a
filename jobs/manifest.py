"""The manifest of a backup set: a JSON object beside it in the backup bucket, as far as other jobs rely on it."""

from __future__ import annotations

import json

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client

from jobs.errors import CloudRefused, Refused

__all__ = ["require_verified"]


def require_verified(uri: str, clinic: str) -> None:
    """Make sure that `gs://bucket/object` is the manifest of a verified set of this clinic.

    Raises:
        Refused: it is another clinic's, not verified, or no manifest.
        CloudRefused: it cannot be read.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    try:
        found = json.loads(Client().bucket(bucket).blob(name).download_as_bytes(timeout=60))
        facts = {"clinic": found.get("clinic"), "state": found.get("state")}
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise CloudRefused(f"The manifest {uri} cannot be read: {error}") from error
    except (ValueError, AttributeError) as error:
        raise Refused(f"{uri} is no manifest of a backup set.") from error
    if facts != {"clinic": clinic, "state": "verified"}:
        raise Refused(
            f"{uri} is no verified backup set of the clinic {clinic}, but {facts}.",
            do="Make a backup set and verify it first: gcp-openemr backup create, gcp-openemr backup verify",
        )
