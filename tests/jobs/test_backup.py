"""Sets of a living clinic, restored into an empty one: everything is there, and the manifest tells the truth."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import shutil

import pytest

from jobs import backup, backup_settings, manifest, metrics, nfs_init
from jobs.manifest import Checked, Documents
from tests.jobs.shelf import Shelf
from tests.jobs.world import World, opens, tree


def emptied(world: World) -> World:
    """The same clinic after the loss of its share and its database."""
    shutil.rmtree(world.sites)
    world.sites.mkdir()
    with world.mysql.root() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {world.wanted.schema}")
        cursor.execute(f"CREATE DATABASE {world.wanted.schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    return world


def contents(world: World) -> dict[str, list[tuple[object, ...]]]:
    return {table: sorted(world.query(f"SELECT * FROM `{table}`"), key=repr) for table in world.tables()}  # noqa: S608


def test_a_set_restores_all_of_the_clinic(living: World, shelf: Shelf) -> None:
    files, rows, seventh = tree(living.site), contents(living), opens(living, 7)
    made = shelf.back_up(living)
    assert made.verified
    record = nfs_init.run(shelf.named(emptied(living)))
    assert record["decision"] == "restore"
    assert record["source"] == made.set
    assert tree(living.site) == files
    restored = contents(living)
    for table in ("users_secure", "globals"):  # the administrator's password is the deployment's
        restored.pop(table), rows.pop(table)
    assert restored == rows
    assert opens(living, 7) == seventh


def test_the_manifest_tells_what_is_in_the_set(living: World, shelf: Shelf) -> None:
    made = shelf.back_up(living)
    assert made.documents == Documents(named=30, found=30)
    assert made.tables == {table: len(living.query(f"SELECT 1 FROM `{table}`")) for table in living.tables()}  # noqa: S608
    assert made.openemr == {"release": "7.0.4", "database": 517, "container": "8"}
    assert made.files.count == len(tree(living.site))
    assert made.files.bytes == sum(path.stat().st_size for path in living.site.rglob("*") if path.is_file())
    shown = shelf.restic("dump", made.database.snapshot, "openemr.sql")
    assert hashlib.sha256(shown.encode()).hexdigest() == made.database.sha256


@pytest.mark.parametrize(("flag", "told"), [("yes", "restore"), ("no", None)])
def test_the_set_of_what_a_restore_replaces_says_so(living: World, shelf: Shelf, flag: str, told: str | None) -> None:
    variables = {
        "BACKUP_BUCKET": "backups",
        "BACKUP_PASS_SECRET": "projects/p/secrets/backup",
        "BACKUP_PASS_VERSION": "1",
        "BEFORE_RESTORE": flag,
        "CLINIC": "main",
        "MYSQL_DATABASE": "oe_main",
        "MYSQL_HOST": "sql",
        "MYSQL_PASS_SECRET": "projects/p/secrets/db",
        "MYSQL_PASS_VERSION": "1",
        "MYSQL_USER": "oe_main",
    }
    before = backup_settings.backup(variables).before_restore
    backup.run(dataclasses.replace(shelf.wanted(living), before_restore=before))
    assert manifest.choose(shelf.store, "latest").source.get("before") == told


def test_a_second_set_costs_what_changed(living: World, shelf: Shelf) -> None:
    first = shelf.back_up(living)
    living.query("UPDATE patient_data SET fname = 'Other' WHERE pid = 1")
    (living.site / "documents/1/new").write_bytes(random.Random(1).randbytes(5000))  # noqa: S311
    second = shelf.back_up(living)
    assert second.files.added < 20_000 < first.files.added
    assert second.files.count == first.files.count + 1


def test_a_drill_restores_the_newest_set_and_leaves_nothing(
    living: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shelf.back_up(living)
    before = tree(living.sites)
    measured: dict[str, float] = {}
    monkeypatch.setattr(metrics, "write", lambda _clinic, _name, points: measured.update(points))
    record = shelf.drill(living)
    assert measured == {
        "restore_seconds": record["restore_seconds"],
        "data_age_seconds": record["data_age_seconds"],
        "drill_age": 0,
    }
    assert record["set"] == made.set
    assert record["opened"] == "30"
    assert record["documents"] == 30
    assert tree(living.sites) == before
    assert not living.tables(f"{living.wanted.schema}_scratch")
    assert [checked.how for checked in manifest.choose(shelf.store, "latest").checked] == ["drill"]


def test_a_drill_that_is_overdue_is_told_in_a_line_that_an_alert_knows(
    living: World, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = dataclasses.replace(shelf.wanted(living), drill_days=15)
    made = shelf.back_up(living)
    backup.run(wanted)
    assert '"overdue"' not in capsys.readouterr().out
    shelf.manifest_changed(made, begun="2026-01-01T00:00:00Z")
    backup.run(wanted)
    assert '"message": "No set was restored for a trial in 15 days.", "overdue": "drill"' in capsys.readouterr().out


def test_verify_marks_the_sets_it_checked(living: World, shelf: Shelf) -> None:
    sets = [shelf.back_up(living).set, shelf.back_up(living).set]
    assert shelf.verify()["sets"] == sets
    shelf.verify(5, sets[1])
    checks = [[checked.how for checked in one.checked] for one in manifest.every(shelf.store)]
    assert checks == [["verify all"], ["verify all", "verify 5%"]]


def test_a_check_brings_no_set_back_that_was_pruned_meanwhile(living: World, shelf: Shelf) -> None:
    first, second = shelf.back_up(living), shelf.back_up(living)
    manifest.mark_checked(shelf.store, [second], Checked(when="2026-11-22T00:00:00Z", how="drill"))
    manifest.remove(shelf.store, first)
    manifest.mark_checked(shelf.store, [first, second], Checked(when="2026-11-22T01:00:00Z", how="verify 5%"))
    (left,) = manifest.every(shelf.store)
    assert (left.set, [checked.how for checked in left.checked]) == (second.set, ["drill", "verify 5%"])
