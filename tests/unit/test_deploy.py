"""What a new clinic begins with, where an earlier one of its name has left sets."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr import backups
from gcp_openemr.commands import deploy, jobs, releases
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from tests.unit import environment_file
from tests.unit.test_backups import SETS

ARCHIVE = {"restore": 'source = "gcs"\nuri = "gs://archive/backup.zip"'}
OLD = {"openemr": "acknowledge_end_of_support = true"}
PRODUCTION = {**OLD, "environment": 'profile = "production"'}
NEWEST = SETS[1].set
SET = {"BACKUP_SOURCE": "set", "BACKUP_FILEID": NEWEST}


def begun(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: Mapping[str, str],
    *,
    sets: list[backups.BackupSet],
    source: Mapping[str, str],
    upgrade: bool,
) -> tuple[Mapping[str, str], str]:
    """What nfs-init is told of a new clinic, and what people read, where nfs-init does as the file says."""
    given: list[Mapping[str, str]] = []
    people, cloud = io.StringIO(), None
    context = Context(
        environment=environment_file.load(tmp_path, sections),
        cloud=cloud,  # type: ignore[arg-type]  # nothing is asked
        console=Console(people=people),
        workspace=tmp_path,
        terraform=tmp_path,
    )

    def prepare(*arguments: Any) -> dict[str, Any]:
        given.append(arguments[-1])
        return {"decision": "restore" if "restore" in sections else "install", "upgrade_needed": False}

    for module, name, answer in (
        (backups, "read_sets", (sets, [])),
        (deploy, "_bring_about", True),
        (deploy, "secret_versions", None),
        (releases, "moving", None),
    ):
        monkeypatch.setattr(module, name, lambda *_, _answer=answer: _answer)
    monkeypatch.setattr(jobs, "prepare_storage", prepare)
    images: Any = dataclasses.make_dataclass("Images", ["job"])("an image")
    ground: Any = deploy._Ground(foundation=images, platform=images, images=images, allowed=(), upgrade=upgrade)
    deploy._fill(context, context.environment.clinics["main"], ground, source)
    return given[0], people.getvalue()


@pytest.mark.parametrize(
    ("sections", "sets", "source", "upgrade", "told"),
    [
        ({**PRODUCTION, **ARCHIVE}, SETS, {}, False, {"EARLIER_SET": NEWEST}),
        ({**PRODUCTION, **ARCHIVE}, SETS, {}, True, {"EARLIER_SET": NEWEST, "UPGRADE": "yes"}),
        ({**PRODUCTION, **ARCHIVE}, SETS, SET, False, SET),
        ({**PRODUCTION, **ARCHIVE}, SETS[:1], {}, False, {}),
        ({**PRODUCTION, **ARCHIVE}, [], {}, False, {}),
        ({**OLD, **ARCHIVE}, SETS, {}, False, {}),
        (PRODUCTION, SETS, {}, False, {}),
    ],
    ids=("deploy", "deploy-upgrade", "recover", "no verified set", "first deploy", "developer", "no archive"),
)
def test_nfs_init_is_told_of_a_set_that_the_file_s_backup_is_not_to_hide(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: Mapping[str, str],
    sets: list[backups.BackupSet],
    source: Mapping[str, str],
    upgrade: bool,
    told: Mapping[str, str],
) -> None:
    given, _ = begun(tmp_path, monkeypatch, sections, sets=sets, source=source, upgrade=upgrade)
    assert given == told


@pytest.mark.parametrize(
    ("sections", "words"),
    [(PRODUCTION, "begins empty, but"), ({**OLD, **ARCHIVE}, "begins with the backup that the file names, but")],
)
def test_what_it_began_with_instead_is_said_with_the_way_to_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: Mapping[str, str], words: str
) -> None:
    _, told = begun(tmp_path, monkeypatch, sections, sets=SETS, source={}, upgrade=False)
    assert words in told
    assert f"gcp-openemr restore --clinic main --from {NEWEST}" in told
    _, told = begun(tmp_path, monkeypatch, sections, sets=[], source={}, upgrade=False)
    assert "earlier clinic" not in told
