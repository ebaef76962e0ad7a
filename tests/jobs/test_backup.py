"""Sets of a living clinic, restored into an empty one: everything is there, and the manifest tells the truth."""

from __future__ import annotations

import shutil

import pytest

from jobs import nfs_init
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
