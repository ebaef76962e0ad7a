"""What the restore command makes of the records of its jobs."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.commands import jobs, restore
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.errors import JobFailed
from gcp_openemr.variables import SecretVersions
from tests.unit import cloud as clouds
from tests.unit.test_backups import made, written

SET = made(20).set


@dataclasses.dataclass(kw_only=True)
class Clinic:
    """A clinic with sets, whose jobs answer as they are told here."""

    context: Context
    people: io.StringIO
    answers: dict[str, Any] = dataclasses.field(default_factory=dict)
    ran: list[tuple[str, Mapping[str, str]]] = dataclasses.field(default_factory=list)

    def run(self, _context: Context, _clinic: Any, job: str, variables: Mapping[str, str] | None = None) -> Any:
        self.ran.append((job, variables or {}))
        answer = self.answers[job]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def restore(self, wanted: str) -> None:
        restore.restore(self.context, clinic="main", wanted=wanted, drain=0, set_first=True)

    def undo(self) -> None:
        restore.undo(self.context, clinic="main", drain=0, set_first=True)


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    people = io.StringIO()
    with clouds.cloud(tmp_path) as cloud:
        context = clouds.context(cloud, tmp_path, yes=True, console=Console(people=people, results=io.StringIO()))
        names = context.environment.names
        cloud.storage.create_bucket(names.state_bucket)
        bucket = cloud.storage.create_bucket(names.backup_bucket)
        for day in (20, 21):
            name = f"clinics/main/backups/sets/{made(day).set}.json"
            bucket.blob(name).upload_from_string(json.dumps(written(made(day))))
        there = Clinic(context=context, people=people, answers={"backup": {"set": "the present"}})
        monkeypatch.setattr(jobs, "run", there.run)
        versions = SecretVersions(database_password=1, redis_password=1, admin_password=1)
        monkeypatch.setattr(jobs, "versions", lambda *_: versions)
        yield there


@pytest.mark.parametrize("source", ["gs://b/other.zip", f"{SET} with the database of gs://b/dump.sql", "kept since t"])
def test_what_an_earlier_restore_had_begun_is_not_told_as_what_was_asked_for(clinic: Clinic, source: str) -> None:
    clinic.answers["nfs-init"] = {"decision": "finish-swap", "source": source}
    with pytest.raises(JobFailed, match=f"which put {source} in place; nothing else was done") as told:
        clinic.restore(SET)
    assert told.value.do.startswith("Run the same command again")


def test_a_set_that_an_earlier_restore_put_in_place_is_not_told_as_the_way_back(clinic: Clinic) -> None:
    clinic.answers["nfs-init"] = {"decision": "finish-swap", "source": SET}
    with pytest.raises(JobFailed, match="nothing else was done"):
        clinic.undo()


def test_the_rest_of_what_was_asked_for_is_enough(clinic: Clinic) -> None:
    clinic.answers["nfs-init"] = {"decision": "finish-swap", "source": SET}
    clinic.restore(SET)
    clinic.answers["nfs-init"] = {"decision": "finish-swap", "source": "kept since 2026-11-20T02:00:00Z"}
    clinic.undo()


def test_the_set_of_what_is_replaced_is_marked_and_no_restore_takes_it_for_the_latest(clinic: Clinic) -> None:
    bucket = clinic.context.cloud.storage.bucket(clinic.context.environment.names.backup_bucket)
    replaced = made(22, source={"before": "restore"})
    bucket.blob(f"clinics/main/backups/sets/{replaced.set}.json").upload_from_string(json.dumps(written(replaced)))
    clinic.answers["nfs-init"] = JobFailed("The share is full.", do="Make room.")
    with pytest.raises(JobFailed, match="The share is full") as told:
        clinic.restore("latest")
    assert (
        told.value.do == f"Make room. To go on with that set: gcp-openemr restore --from {made(21).set} --clinic main"
    )
    (_, backup), (_, nfs_init) = clinic.ran
    assert backup["BEFORE_RESTORE"] == "yes"
    assert nfs_init["BACKUP_FILEID"] == made(21).set


@pytest.mark.parametrize("begun", ["swap", "undo"])
def test_what_is_half_of_two_is_replaced_without_a_set_of_it(clinic: Clinic, begun: str) -> None:
    clinic.answers |= {
        "backup": JobFailed("A restore was interrupted.", record={"begun": begun}),
        "nfs-init": {"decision": "undo", "finished": SET},
    }
    clinic.undo()
    assert [job for job, _ in clinic.ran] == ["backup", "nfs-init"]
    assert "half of an interrupted restore" in clinic.people.getvalue()


@pytest.mark.parametrize("record", [{}, {"begun": "upgrade"}])
def test_what_cannot_be_made_a_set_for_another_reason_is_not_replaced(clinic: Clinic, record: dict[str, str]) -> None:
    clinic.answers["backup"] = JobFailed("It cannot be.", record=record)
    with pytest.raises(JobFailed, match="so nothing was replaced"):
        clinic.restore(SET)
    assert [job for job, _ in clinic.ran] == ["backup"]
