"""An upgrade with the stand-in's second line: OpenEMR's file names and command line, its own scripts in small."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import marker, nfs_init, settings, upgrade
from jobs.errors import Refused, SettingsInvalid, UpgradeFailed
from jobs.upgrade_settings import Upgrade
from jobs.upgrade_settings import upgrade as read_settings
from tests.jobs.effects import in_a_group, sampled, torn
from tests.jobs.shelf import Shelf
from tests.jobs.world import APP, World, opens, tree

PAGE = ".maintenance"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Newer:
    """A living clinic of 7.0.4, and the tree of 8.4.0 that is to take it over."""

    world: World
    shelf: Shelf
    application: Path

    def wanted(self, **changes: Any) -> Upgrade:
        clinic = dataclasses.replace(self.shelf.wanted(self.world).clinic, application=self.application)
        wanted = Upgrade(
            clinic=clinic,
            store=self.shelf.store,
            release_before="7.0.4",
            release="8.4.0",
            set="",
            rehearse=False,
            page_only=False,
            scratch_schema=f"{self.world.wanted.schema}_scratch",
            skeleton=self.application / "skeleton",
            drain_seconds=0,
            lock_seconds=2,
            result_uri="",
        )
        return dataclasses.replace(wanted, **changes)

    def nfs_init(self, **changes: Any) -> settings.NfsInit:
        """nfs-init of the new image."""
        return dataclasses.replace(self.world.wanted, application=self.application, openemr_version="8.4.0", **changes)

    @property
    def version(self) -> tuple[object, ...]:
        return self.world.query("SELECT v_major, v_minor, v_patch, v_database, v_acl FROM version")[0]

    @property
    def counter(self) -> str:
        return (self.world.site / "docker-version").read_text().strip()

    def script(self, name: str, text: str) -> None:
        (self.application / "sql" / name).write_text(text)


@pytest.fixture
def newer(living: World, shelf: Shelf, tmp_path: Path) -> Newer:
    (living.site / "docker-version").write_text("8\n")
    return Newer(world=living, shelf=shelf, application=newer_tree(tmp_path, living))


@pytest.fixture
def newer_and_empty(world: World, shelf: Shelf, tmp_path: Path) -> Newer:
    """The tree of 8.4.0, and an empty storage."""
    return Newer(world=world, shelf=shelf, application=newer_tree(tmp_path, world))


def newer_tree(folder: Path, world: World) -> Path:
    application = folder / "newer"
    shutil.copytree(APP, application, ignore=shutil.ignore_patterns("sites", "lines"))
    shutil.copytree(APP / "lines" / "rel-840", application, dirs_exist_ok=True, ignore=shutil.ignore_patterns("sites"))
    shutil.copytree(APP / "sites", application / "skeleton")
    (application / "sites").symlink_to(world.sites)
    return application


def test_an_older_clinic_is_restored_saved_and_upgraded(
    newer_and_empty: Newer, bucket: Path, backups: dict[str, SampleBackup]
) -> None:
    """As `deploy --upgrade` lets a clinic move here."""
    newer, world = newer_and_empty, newer_and_empty.world
    archive = backups[".tar"]
    shutil.copy(archive.path, bucket / archive.path.name)
    named = world.with_backup(archive.path).backup
    record = nfs_init.run(newer.nfs_init(backup=named, upgrade=True))
    assert (record["decision"], record["release"], record["upgrade_needed"]) == ("restore", "7.0.4", True)
    made = newer.shelf.back_up(world)
    assert (made.state, made.openemr["release"]) == ("verified", "7.0.4")
    assert upgrade.run(newer.wanted(set=made.set))["to"] == "8.4.0"
    last = nfs_init.run(newer.nfs_init(backup=named))
    assert (last["row"], last["release"], last["upgrade_needed"]) == ("healthy, a backup", "8.4.0", False)
    assert not (world.sites / PAGE).exists()
    assert opens(world, 7) == archive.documents[6].sha256


def test_a_clinic_is_upgraded_and_nfs_init_ends_the_page(newer: Newer) -> None:
    world = newer.world
    smarty = world.site / "documents/smarty/main/old.php"
    smarty.parent.mkdir(parents=True, exist_ok=True)
    smarty.write_text("of 7.0.4")
    before = opens(world, 7)
    record = upgrade.run(newer.wanted(set="20260101T000000Z-abcd"))
    assert (record["from"], record["to"], record["already"]) == ("7.0.4", "8.4.0", False)
    assert record["files"] == ("7_0_4-to-8_0_0_upgrade.sql", "8_3_0-to-8_4_0_upgrade.sql")
    assert record["set"] == "20260101T000000Z-abcd"
    assert newer.version == (8, 4, 0, 540, 13)
    assert newer.counter == "14"
    assert world.query("SELECT COUNT(*) FROM patient_data WHERE uuid IS NULL") == [(0,)]
    assert {"care_teams"} <= world.tables()
    assert not smarty.exists()
    assert (world.site / "config.php.7.0.4").is_file()
    assert (world.sites / PAGE).is_file()
    assert nfs_init.run(newer.nfs_init())["row"] == "healthy"
    assert not (world.sites / PAGE).exists()
    assert opens(world, 7) == before
    assert upgrade.run(newer.wanted())["already"] is True


def test_the_page_alone_is_shown_and_a_set_can_be_made_then(newer: Newer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("jobs.maintenance.time.sleep", slept.append)
    world = newer.world
    before = newer.version, newer.counter
    assert upgrade.run(newer.wanted(page_only=True, drain_seconds=65)) == {"page": True}
    assert (world.sites / PAGE).is_file()
    assert (newer.version, newer.counter, marker.read(world.sites)) == (*before, None)
    made = newer.shelf.back_up(world)
    assert upgrade.run(newer.wanted(set=made.set, drain_seconds=65))["to"] == "8.4.0"
    first, rest = slept
    assert (first, 0 <= rest < 65) == (65, True), "the page stood all the time"


def test_what_does_not_fit_is_refused_before_any_page(newer: Newer) -> None:
    newer.world.query("UPDATE version SET v_patch = 3")
    with pytest.raises(Refused, match="Nothing was changed"):
        upgrade.run(newer.wanted(page_only=True))
    assert not (newer.world.sites / PAGE).exists()


def test_what_openemr_passes_over_is_a_failure_and_the_next_run_finishes(newer: Newer) -> None:
    name = "8_2_0-to-8_3_0_upgrade.sql"
    newer.script(name, "ALTER TABLE `no_such_table` ADD COLUMN `x` int;\n")
    with pytest.raises(UpgradeFailed, match=r"The above statement failed: Table '.*no_such_table' doesn't exist"):
        upgrade.run(newer.wanted())
    assert (newer.world.sites / PAGE).is_file()
    with pytest.raises(Refused, match="an upgrade was begun") as caught:
        nfs_init.run(newer.world.wanted)
    assert "upgrade --back" in caught.value.do
    with pytest.raises(Refused, match="between two releases"):
        newer.shelf.back_up(newer.world)
    (newer.application / "sql" / name).unlink()
    assert upgrade.run(newer.wanted())["to"] == "8.4.0"
    assert newer.version == (8, 4, 0, 540, 13)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("<?php exit(3);", "ended early with 3"),
        ("<?php echo 'half of it';", "ended early with 0: half of it"),
        ("<?php echo 'upgrade finished';", "the database says OpenEMR 7.0.4 (517), not 8.4.0 (540)"),
    ],
)
def test_a_script_that_does_less_than_all_is_a_failure(newer: Newer, end: str, said: str) -> None:
    (newer.application / "sql_upgrade.php").write_text(end)
    with pytest.raises(UpgradeFailed) as caught:
        upgrade.run(newer.wanted())
    assert said in caught.value.what
    assert newer.counter == "8"


def test_lost_rows_are_a_failure(newer: Newer) -> None:
    newer.script("8_2_0-to-8_3_0_upgrade.sql", "DELETE FROM patient_data WHERE pid = 1;\n")
    with pytest.raises(UpgradeFailed, match=r"there are \d+ patients where there were"):
        upgrade.run(newer.wanted())
    with pytest.raises(UpgradeFailed, match=r"there are \d+ patients where there were"):
        upgrade.run(newer.wanted())


@pytest.mark.parametrize(
    ("statement", "counter", "changes", "said"),
    [
        ("UPDATE version SET v_patch = 3", "8", {}, "the database is of OpenEMR 7.0.3, not of 7.0.4"),
        ("DELETE FROM `keys` WHERE name = 'sevena'", "8", {}, "key sevena is on the share but not in the database"),
        ("SELECT 1", "14", {}, "the files' docker-version is 14 and this image's 14"),
        ("SELECT 1", "8", {"release_before": "6.0.0"}, "has no way from 6.0.0"),
        ("SELECT 1", "8", {"release": "8.5.0"}, "This image holds OpenEMR 8.4.0, but 8.5.0 is wanted"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(
    newer: Newer, statement: str, counter: str, changes: dict[str, str], said: str
) -> None:
    newer.world.query(statement)
    (newer.world.site / "docker-version").write_text(counter)
    before = tree(newer.world.sites), newer.version
    with pytest.raises(Refused) as caught:
        upgrade.run(newer.wanted(**changes))
    assert said in caught.value.what
    assert (tree(newer.world.sites), newer.version) == before


def test_a_rehearsal_upgrades_a_copy_and_leaves_the_clinic_and_nothing_else(newer: Newer) -> None:
    made = newer.shelf.back_up(newer.world)
    before = tree(newer.world.sites), newer.version
    record = upgrade.run(newer.wanted(rehearse=True))
    assert (record["rehearsed"], record["set"], record["to"], record["documents"]) == (True, made.set, "8.4.0", 30)
    assert (tree(newer.world.sites), newer.version) == before
    assert newer.world.tables(f"{newer.world.wanted.schema}_scratch") == set()
    newer.script("8_2_0-to-8_3_0_upgrade.sql", "ALTER TABLE `no_such_table` ADD COLUMN `x` int;\n")
    with pytest.raises(UpgradeFailed, match="no_such_table"):
        upgrade.run(newer.wanted(rehearse=True))
    assert (tree(newer.world.sites), newer.version) == before


def test_the_way_back_is_the_set_and_the_old_image(newer: Newer) -> None:
    world = newer.world
    made = newer.shelf.back_up(world)
    newer.script("8_2_0-to-8_3_0_upgrade.sql", "ALTER TABLE `no_such_table` ADD COLUMN `x` int;\n")
    with pytest.raises(UpgradeFailed):
        upgrade.run(newer.wanted(set=made.set))
    record = nfs_init.run(newer.shelf.named(world, made.set, restore_over=True, keep_page=True))
    assert record["decision"] == "restore-over"
    assert (newer.version, newer.counter) == ((7, 0, 4, 517, 12), "8")
    assert "care_teams" not in world.tables()
    assert (world.sites / PAGE).is_file()
    assert nfs_init.run(world.wanted)["row"] == "healthy"
    assert not (world.sites / PAGE).exists()
    assert opens(world, 7)
    with pytest.raises(Refused, match=r"What was kept is of OpenEMR 8\.4\.0"):
        nfs_init.run(dataclasses.replace(world.wanted, undo=True))


@torn
def test_killed_before_any_effect_the_next_run_reaches_the_end(newer: Newer, every: bool) -> None:
    world = newer.world
    made = newer.shelf.back_up(world)
    nfs_init.run(newer.shelf.named(world, made.set, restore_over=True))
    total = in_a_group(lambda: upgrade.run(newer.wanted()), last=0)
    assert total > 10
    end = newer.version, newer.counter, world.tables(), opens(world, 7)
    for point in list(sampled(total, every=every))[: None if every else 2]:
        nfs_init.run(newer.shelf.named(world, made.set, restore_over=True))
        assert in_a_group(lambda: upgrade.run(newer.wanted()), last=point) == -9, f"effect {point} of {total}"
        upgrade.run(newer.wanted())
        assert (newer.version, newer.counter, world.tables(), opens(world, 7)) == end, f"killed at {point} of {total}"
        assert marker.read(world.sites) is None


def test_its_variables_are_read_with_every_problem_at_once() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        read_settings({"UPGRADE_FROM": "7", "OPENEMR_VERSION": "8.4.0", "UPGRADE_SET": "yesterday"})
    assert "UPGRADE_FROM is '7', not a release such as 7.0.4" in caught.value.what
    assert "UPGRADE_SET is 'yesterday'" in caught.value.what
    assert "MYSQL_SCRATCH_DATABASE is not set" in caught.value.what
