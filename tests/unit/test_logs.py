"""Cloud Logging's entries as people and programs read them."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pytest

from gcp_openemr import cloud_logging, interruption
from gcp_openemr.commands import logs
from gcp_openemr.errors import Interrupted, UsageError

START = datetime.datetime(2026, 11, 22, 2, tzinfo=datetime.UTC)


def entry(second: int, text: str, **fields: Any) -> dict[str, Any]:
    """A line of a service, as Google gives it out: with nanoseconds."""
    return {
        "insertId": text,
        "timestamp": f"2026-11-22T02:00:{second:02}.123456789Z",
        "severity": "INFO",
        "resource": {"labels": {"service_name": "web", "revision_name": "web-1"}},
        **({} if fields else {"textPayload": f"{text}\n"}),
        **fields,
    }


class Logging:
    """Gives out a list of entries for each question, in pages of two, and notes the filters."""

    project = "p"

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self._answers = [*answers]
        self.filters: list[str] = []

    def ask(self, _api: str, _path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        at = int(body.get("pageToken", 0))
        if at == 0:
            self.filters.append(body["filter"])
        entries = self._answers[0] if self._answers else []
        more = {"nextPageToken": str(at + 2)} if at + 2 < len(entries) else {}
        if not more and self._answers:
            self._answers.pop(0)
        return {"entries": entries[at : at + 2], **more}


def test_every_page_is_read_and_every_kind_of_line_has_a_text() -> None:
    request = {"requestMethod": "GET", "status": 200, "requestUrl": "https://main/", "latency": "0.1s"}
    system = {"status": {"message": "Ready"}}
    cloud: Any = Logging(
        [
            entry(1, "plain"),
            entry(2, "b", jsonPayload={"message": "set made", "bytes": 5}),
            entry(3, "c", httpRequest=request),
            entry(4, "d", protoPayload=system),
        ]
    )
    found = list(cloud_logging.read(cloud, "x", START))
    assert [one.text for one in found] == ["plain", "set made", "GET 200 https://main/ 0.1s", "Ready"]
    assert found[1].fields == {"bytes": 5}
    assert found[0].at == START.replace(second=1, microsecond=123456)
    assert 'timestamp>="2026-11-22T02:00:00.000000Z" AND x' in cloud.filters[0]


def test_following_shows_late_lines_too_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud: Any = Logging(
        [entry(10, "a"), entry(12, "c")], [entry(10, "a"), entry(11, "late"), entry(12, "c")], [entry(59, "d")]
    )
    pauses = iter([None, None, Interrupted("stop")])

    def pause(_seconds: float) -> None:
        if (ending := next(pauses)) is not None:
            raise ending

    monkeypatch.setattr(interruption, "pause", pause)
    shown: list[str] = []
    with contextlib.suppress(Interrupted):
        shown.extend(one.text for one in cloud_logging.follow(cloud, "x", START))
    assert shown == ["a", "c", "late", "d"]
    assert len(cloud.filters) == 3


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("2h", 2), ("3d", 72), ("60s", 1 / 60)])
def test_a_length_of_time_is_counted_back_from_now(text: str, hours: float) -> None:
    ago = datetime.datetime.now(datetime.UTC) - logs.moment(text)
    assert ago.total_seconds() == pytest.approx(hours * 3600, abs=30)


def test_a_moment_is_utc_unless_it_says_otherwise() -> None:
    assert logs.moment("2026-11-22T02:00") == START
    assert logs.moment("2026-11-22T03:00+01:00") == START
    with pytest.raises(UsageError, match="'yesterday' is no time"):
        logs.moment("yesterday")
