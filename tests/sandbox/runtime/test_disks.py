"""Disks behind loop devices, which all sandboxes of a machine share."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from pathlib import Path

from gcp_openemr.sandbox.runtime.cgroups import Groups
from gcp_openemr.sandbox.runtime.disks import Disks


def attach_and_detach(directory: Path) -> int:
    disks = Disks(directory, directory / "mounts", Groups(directory))
    for number in range(25):
        disks.attach(f"project/disk-{number}", 1 << 20)
        disks.detach(f"project/disk-{number}")
    return 25


def test_sandboxes_that_take_a_device_at_the_same_moment_both_get_one(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawned) as pool:
        assert list(pool.map(attach_and_detach, [tmp_path / name for name in "abc"])) == [25, 25, 25]
