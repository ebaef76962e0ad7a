from __future__ import annotations

from jobs import nfs_init
from tests.jobs.world import World


def test_installs_into_an_empty_share_and_schema(world: World) -> None:
    record = nfs_init.run(world.wanted)
    assert record["decision"] == "install"
    assert record["release"] == "7.0.4"
    assert world.query("SELECT username FROM users_secure WHERE id = 1") == [("admin",)]
    assert (world.site / "sqlconf.php").stat().st_mode & 0o777 == 0o600
