"""The record of a run that the orchestrator reads: a JSON object in a bucket."""

from __future__ import annotations

import json
from typing import Any

from google.cloud.storage import Client

from jobs import log

__all__ = ["write"]


def write(uri: str, record: dict[str, Any]) -> None:
    """Write the record to `gs://bucket/object`; without a uri it is only logged.

    A record that cannot be written is no reason for the run to fail: the exit status says how it went.
    """
    log.info("result", result=record)
    if not uri:
        return
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    try:
        blob = Client().bucket(bucket).blob(name)
        blob.upload_from_string(json.dumps(record, ensure_ascii=False), content_type="application/json", timeout=60)
    except Exception as error:
        log.warning(f"The result record could not be written to {uri}: {error}")
