"""JSON objects that several runs write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import bucket
from jobs.errors import Refused
from tests.unit import cloud as clouds


def test_what_two_runs_change_at_once_has_both_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with clouds.cloud(tmp_path) as cloud:
        monkeypatch.setattr(bucket, "Client", lambda: cloud.storage)
        holder = cloud.storage.create_bucket("unit-tests-1-changed").name
        bucket.create(holder, "set.json", {"checked": []})
        turns: list[int] = []

        def noted(body: dict[str, Any]) -> dict[str, Any]:
            if not turns:
                cloud.storage.bucket(holder).blob("set.json").upload_from_string('{"checked": ["other"]}')
            turns.append(1)
            return {"checked": [*body["checked"], "ours"]}

        bucket.change(holder, "set.json", noted)
        assert bucket.read(holder, "set.json") == {"checked": ["other", "ours"]}
        bucket.remove(holder, "set.json")
        bucket.change(holder, "set.json", noted)
        assert bucket.names(holder, "") == []


def test_what_is_there_is_not_replaced_and_a_write_whose_answer_was_lost_meets_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clouds.cloud(tmp_path) as cloud:
        monkeypatch.setattr(bucket, "Client", lambda: cloud.storage)
        holder = cloud.storage.create_bucket("unit-tests-1-created").name
        bucket.create(holder, "set.json", {"é": 1})
        bucket.create(holder, "set.json", {"é": 1})
        with pytest.raises(Refused, match=r"set\.json is there already"):
            bucket.create(holder, "set.json", {"é": 2})
        assert bucket.read(holder, "set.json") == {"é": 1}
