"""A manifest's sum: no byte of it changes unseen."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from jobs import bucket, manifest, sealed
from jobs.errors import BackupInvalid
from tests.jobs.test_prune import made


def test_no_flipped_bit_of_a_manifest_is_believed() -> None:
    body = sealed.sealed(dataclasses.asdict(made(datetime(2026, 11, 22, 2, tzinfo=UTC))))
    whole = bucket._text(body)
    assert manifest._whole("m", bucket._object("m", whole)) == bucket._object("m", whole)
    for at in range(len(whole)):
        for bit in range(8):
            flipped = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
            with pytest.raises(BackupInvalid):
                manifest._whole("m", bucket._object("m", flipped))


def test_one_of_a_newer_format_is_not_taken_for_damaged() -> None:
    with pytest.raises(BackupInvalid, match="written by a newer version"):
        manifest._whole("m", sealed.sealed({"format": sealed.FORMAT + 1}))
