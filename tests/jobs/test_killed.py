"""nfs-init killed by SIGKILL before each of its effects, then run again: the end is that of a run that lived.

The points are counted in a run of their own, not listed by hand. Killed at the n-th effect means after the one before
it, too.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.sandbox.standin.sample_backup import SampleBackup
from jobs import nfs_init, settings
from tests.jobs.effects import in_a_group, sampled, torn
from tests.jobs.world import World, opens, tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """What a clinic's storage is in the end. Contents of files that differ from run to run are left out."""

    files: dict[str, str]
    rows: dict[str, int]
    others: list[str]


def the_end(world: World) -> End:
    made_anew = ("methods/", "certificates/", "sqlconf.php")
    files = tree(world.site).items()
    return End(
        files={name: "" if any(part in name for part in made_anew) else digest for name, digest in files},
        rows={name: len(world.query(f"SELECT 1 FROM `{name}`")) for name in world.tables()},  # noqa: S608
        others=sorted(entry.name for entry in world.sites.iterdir()),
    )


def again(world: World, wanted: settings.NfsInit) -> None:
    """To the beginning: an empty share and empty schemas."""
    shutil.rmtree(world.sites)
    world.sites.mkdir()
    for schema in (wanted.schema, wanted.staging_schema):
        with world.mysql.root() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {schema}")
            cursor.execute(f"CREATE DATABASE {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")


def torn_at_every_effect(world: World, wanted: settings.NfsInit, *, every: bool) -> Iterator[tuple[int, list[str]]]:
    """(point, decisions of the runs that followed) for each point, after comparing the end."""
    total = in_a_group(lambda: nfs_init.run(wanted), last=0)
    assert total > 20
    undisturbed = the_end(world)
    for point in sampled(total, every=every):
        again(world, wanted)
        assert in_a_group(lambda: nfs_init.run(wanted), last=point) == -9, f"effect {point} of {total} did not come"
        decisions = [str(nfs_init.run(wanted)["decision"]), str(nfs_init.run(wanted)["decision"])]
        assert the_end(world) == undisturbed, f"after being killed at effect {point} of {total}"
        yield point, decisions


@torn
@pytest.mark.parametrize("suffix", [".tar.zst", ".zip"])
def test_a_restore(world: World, bucket: Path, backups: dict[str, SampleBackup], suffix: str, every: bool) -> None:
    backup = backups[suffix]
    shutil.copy(backup.path, bucket / backup.path.name)
    for _, decisions in torn_at_every_effect(world, world.with_backup(backup.path), every=every):
        assert decisions[0] in ("restore", "finish-swap", "configure")
        assert decisions[1] == "configure"
        assert opens(world, 7) == backup.documents[6].sha256


@torn
def test_an_installation(world: World, every: bool) -> None:
    for _, decisions in torn_at_every_effect(world, world.wanted, every=every):
        assert decisions[0] in ("install", "configure")
        assert decisions[1] == "configure"
