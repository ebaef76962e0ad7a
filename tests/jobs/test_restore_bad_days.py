"""A restore while the world around it fails: the clinic stays untouched, and the next run works."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import nfs_init, swap, unpack
from jobs.errors import BackupInvalid, JobError, Refused, ShareUnusable, Unreachable
from tests.jobs.world import World, changed, opens, restore, tree

_MARIADB_DUMP = """\
/*M!999999\\- enable the sandbox mode */
-- MariaDB dump 10.19-11.8.2-MariaDB, for debian-linux-gnu (x86_64)
-- Server version\t11.8.2-MariaDB-ubu2404

/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;
"""


@pytest.fixture
def share(world: World) -> Iterator[Path]:
    """The clinic's directory is a file system of its own, of 64 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "share", world.sites], check=True)
    yield world.sites
    subprocess.run(["umount", world.sites], check=True)


def remount(share: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", share], check=True)


def in_the_middle(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], *, after: int = 15) -> None:
    """Let something happen when so many entries have come out of the archive and are written.

    While a file is open for writing, the kernel would make its file system read-only for nobody.
    """
    original = unpack._Unpacking.take
    entries = iter(range(after))

    def take(self: unpack._Unpacking, entry: object) -> None:
        if next(entries, None) is None:
            monkeypatch.setattr(unpack._Unpacking, "take", original)
            with self._workers._changed:
                assert self._workers._changed.wait_for(lambda: self._workers._in_hand == 0, timeout=60)
            action()
        original(self, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(unpack._Unpacking, "take", take)


def fails(world: World, bucket: Path, backup: SampleBackup, expected: type[JobError], words: str) -> None:
    with pytest.raises(expected, match=words):
        restore(world, bucket, backup.path)
    assert not world.tables()
    assert not world.site.exists()


def works(world: World, bucket: Path, backup: SampleBackup) -> None:
    assert restore(world, bucket, backup.path)["decision"] == "restore"
    assert opens(world, 7) == backup.documents[6].sha256
    assert sorted(entry.name for entry in world.sites.iterdir()) == ["default"]


def test_a_share_without_room_is_refused_before_it_is_full(
    world: World, bucket: Path, backups: dict[str, SampleBackup], share: Path
) -> None:
    fails(world, bucket, backups[".zip"], BackupInvalid, "bytes that are free on the share")
    remount(share, "size=512m")
    works(world, bucket, backups[".zip"])


def test_a_share_that_fills_up_meanwhile(
    world: World, bucket: Path, backups: dict[str, SampleBackup], share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remount(share, "size=512m")

    def fill() -> None:
        remount(share, "size=320k")

    in_the_middle(monkeypatch, fill, after=3)
    fails(world, bucket, backups[".tar.zst"], ShareUnusable, "No space left on device")
    remount(share, "size=512m")
    works(world, bucket, backups[".tar.zst"])


def test_a_share_that_cannot_be_written_any_more(
    world: World, bucket: Path, backups: dict[str, SampleBackup], share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remount(share, "size=512m")
    in_the_middle(monkeypatch, lambda: remount(share, "ro"))
    fails(world, bucket, backups[".tar.gz"], ShareUnusable, "Read-only file system")
    remount(share, "rw")
    works(world, bucket, backups[".tar.gz"])


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_database_that_fails_over_in_the_middle(
    world: World, bucket: Path, backups: dict[str, SampleBackup], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """All connections end, and with them the clinic's lock."""

    def fail_over() -> None:
        mine = f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{world.wanted.user}'"  # noqa: S608
        for (identity,) in world.query(mine):
            world.query(f"KILL {identity}")

    in_the_middle(monkeypatch, fail_over)
    fails(world, bucket, backups[suffix], Unreachable, "connection to MySQL was lost")
    works(world, bucket, backups[suffix])


def test_a_dump_of_mariadb_is_brought_to_mysqls_collations(world: World, bucket: Path, tmp_path: Path) -> None:
    def of_mariadb(text: str) -> str:
        return (
            _MARIADB_DUMP
            + text.replace("utf8mb4_general_ci", "utf8mb4_uca1400_ai_ci")
            + (
                "CREATE TABLE `x` (`a` varchar(9) COLLATE utf8mb4_uca1400_ai_ci DEFAULT 'utf8mb4_uca1400_ai_ci');\n"
                "INSERT INTO `x` VALUES ('utf8mb4_uca1400_ai_ci is text');\n"
            ).replace("varchar(9)", "varchar(99)")
        )

    restore(world, bucket, changed(tmp_path, sql=of_mariadb))
    assert world.query("SELECT a FROM x") == [("utf8mb4_uca1400_ai_ci is text",)]


def test_a_dump_that_does_not_run_here_says_which_server_wrote_it(world: World, bucket: Path, tmp_path: Path) -> None:
    def newer(text: str) -> str:
        return _MARIADB_DUMP + text + "CREATE TABLE `x` (`a` int) ENGINE=Aria TRANSACTIONAL=1;\n"

    with pytest.raises(BackupInvalid, match=r"TRANSACTIONAL.*written by a server of version 11\.8\.2-MariaDB"):
        restore(world, bucket, changed(tmp_path, sql=newer))
    assert not world.tables()


def test_an_older_clinic_is_restored_as_it_is_when_it_will_be_upgraded(
    world: World, bucket: Path, tmp_path: Path
) -> None:
    with_a_way_from(world, "7.0.3")
    archive = changed(tmp_path, version="7.0.3")
    upgrading = dataclasses.replace(world, wanted=dataclasses.replace(world.wanted, upgrade=True))
    record = restore(upgrading, bucket, archive)
    assert (record["decision"], record["release"], record["upgrade_needed"]) == ("restore", "7.0.3", True)
    assert (world.site / "docker-version").read_text() == "7\n"
    before = tree(world.sites)
    again = nfs_init.run(upgrading.wanted)
    assert (again["row"], again["release"], again["upgrade_needed"]) == ("older data, to be upgraded", "7.0.3", True)
    with pytest.raises(JobError, match=r"older OpenEMR 7\.0\.3") as caught:
        nfs_init.run(world.wanted)
    assert "gcp-openemr deploy --upgrade" in caught.value.do
    assert tree(world.sites) == before


def with_a_way_from(world: World, release: str) -> None:
    (world.wanted.application / "sql" / f"{release.replace('.', '_')}-to-7_0_4_upgrade.sql").touch()


def test_an_older_swap_that_was_interrupted_is_finished_and_does_not_pass_for_this_release(
    world: World, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_way_from(world, "7.0.3")
    upgrading = dataclasses.replace(world, wanted=dataclasses.replace(world.wanted, upgrade=True))
    archive = changed(tmp_path, version="7.0.3")
    with monkeypatch.context() as patch:
        patch.setattr(swap, "finish_swap", interrupted)
        with pytest.raises(KeyboardInterrupt):
            restore(upgrading, bucket, archive)
    with pytest.raises(Refused, match=r"is in place, but the data is of the older OpenEMR 7\.0\.3") as caught:
        nfs_init.run(world.wanted)
    assert "gcp-openemr deploy --upgrade" in caught.value.do
    assert nfs_init.run(upgrading.wanted)["upgrade_needed"] is True


def interrupted(*_: object) -> str:
    raise KeyboardInterrupt


def test_a_release_from_which_no_script_begins_is_refused_before_anything_is_there(
    world: World, bucket: Path, tmp_path: Path
) -> None:
    upgrading = dataclasses.replace(world, wanted=dataclasses.replace(world.wanted, upgrade=True))
    with pytest.raises(Refused, match="It has no way from there"):
        restore(upgrading, bucket, changed(tmp_path, version="7.0.3"))
    assert not world.site.exists()
    assert not world.tables()
