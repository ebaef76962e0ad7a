"""JSON objects of the backup bucket: manifests of sets and records of runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from requests.exceptions import RequestException

from jobs.errors import BackupForbidden, BackupInvalid, BackupMissing, CloudRefused, Refused, Unreachable

__all__ = ["change", "create", "names", "read", "remove"]

_JSON = "application/json"
_SUM = "crc32c"  # Cloud Storage takes nothing that is not of it


def read(bucket: str, name: str) -> dict[str, Any]:
    """Raises BackupInvalid for what is no JSON object, and the failures of `_told`."""
    place = f"gs://{bucket}/{name}"
    with _told(place):
        content = Client().bucket(bucket).blob(name).download_as_bytes(timeout=60)
    return _object(place, content)


def create(bucket: str, name: str, content: dict[str, Any]) -> None:
    """Write an object that is not there yet: it is there whole or not at all, whenever this run dies.

    Raises:
        Refused: there is another of this name.
    """
    place, text = f"gs://{bucket}/{name}", _text(content)
    with _told(place):
        holder = Client().bucket(bucket)
        try:
            holder.blob(name).upload_from_string(text, _JSON, if_generation_match=0, checksum=_SUM, timeout=60)
        except exceptions.PreconditionFailed as error:
            # after its answer was lost, a write meets itself
            if holder.blob(name).download_as_bytes(timeout=60) != text:
                raise Refused(f"{place} is there already, and another one.") from error


def change(bucket: str, name: str, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace an object by what `changed` makes of it, whatever others make of it meanwhile; one that is gone stays so.

    Raises:
        BackupInvalid: it is no JSON object.
    """
    place = f"gs://{bucket}/{name}"
    with _told(place):
        while (blob := Client().bucket(bucket).get_blob(name, timeout=60)) is not None:
            unchanged = {"if_generation_match": blob.generation, "timeout": 60}
            with contextlib.suppress(exceptions.PreconditionFailed, exceptions.NotFound):
                content = changed(_object(place, blob.download_as_bytes(**unchanged)))
                blob.upload_from_string(_text(content), _JSON, checksum=_SUM, **unchanged)
                return


def names(bucket: str, prefix: str) -> list[str]:
    """The names of the objects that start so, in order."""
    with _told(f"gs://{bucket}/{prefix}"):
        return sorted(blob.name for blob in Client().list_blobs(bucket, prefix=prefix, timeout=60))


def remove(bucket: str, name: str) -> None:
    with _told(f"gs://{bucket}/{name}"), contextlib.suppress(exceptions.NotFound):
        Client().bucket(bucket).blob(name).delete(timeout=60)


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _object(place: str, content: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise BackupInvalid(f"{place} is no JSON object.") from error
    return found


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Raises BackupMissing, BackupForbidden, CloudRefused or Unreachable for Google's reasons."""
    try:
        yield
    except exceptions.NotFound as error:
        raise BackupMissing(f"{place} does not exist.", do="See the sets: gcp-openemr backup list") from error
    except exceptions.Forbidden as error:
        raise BackupForbidden(
            f"The job's service account may not do this in {place}: {error.message}",
            do="Run gcp-openemr deploy, which grants it.",
        ) from error
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise CloudRefused(f"Cloud Storage refused {place}: {error}") from error
    except (exceptions.RetryError, RequestException) as error:
        raise Unreachable(f"Cloud Storage does not answer: {error}", do="Run the same command again later.") from error
