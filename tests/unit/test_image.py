"""What an image is made of: the same tree gives the same tag, any change another one."""

from __future__ import annotations

import datetime
import io
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gcp_openemr import image
from gcp_openemr.assets import asset


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of container/ and jobs/ that a test may change."""
    for name in ("container", "jobs"):
        shutil.copytree(asset(name), tmp_path / name)
    monkeypatch.setattr(image, "asset", lambda name: tmp_path / name)
    return tmp_path


def tag(**arguments: str) -> str:
    return image.source(version="7.0.4", arguments=arguments).tag


def test_the_same_tree_gives_the_same_bytes_whenever_and_wherever_it_is_packed(tree: Path) -> None:
    here = image.source(version="7.0.4", arguments={})
    for path in tree.rglob("*"):
        path.touch()
    (tree / "jobs" / "__pycache__").mkdir(exist_ok=True)
    (tree / "jobs" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert image.source(version="7.0.4", arguments={}).archive == here.archive


def test_a_changed_file_a_changed_mode_and_a_changed_argument_give_another_tag(tree: Path) -> None:
    seen = {tag(), tag(OPENEMR_REF="rel-800")}
    entrypoint = tree / "container" / "entrypoint.sh"
    entrypoint.write_text(entrypoint.read_text() + "\n")
    seen.add(tag())
    entrypoint.chmod(0o644)
    seen.add(tag())
    assert len(seen) == 4


def test_a_tag_is_one_that_registries_and_builds_take(tree: Path) -> None:
    assert tag().startswith("7.0.4-")
    assert len(tag()) <= 128


def test_the_archive_holds_what_the_dockerfile_copies(tree: Path) -> None:
    packed = image.source(version="7.0.4", arguments={}).archive
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = {member.name: member for member in archive}
    assert {"container/Dockerfile", "container/entrypoint.sh", "jobs/__main__.py"} <= set(members)
    assert all(member.isfile() and member.uid == 0 and member.mtime == 0 for member in members.values())
    assert members["container/entrypoint.sh"].mode == 0o755


PLACE = image.BuildPlace(region="r", registry="r-docker.pkg.dev/p/oe", bucket="b", account="build@p")
DAY = datetime.datetime(2026, 11, 22, 6, 30, 5, tzinfo=datetime.UTC)


def asked(wanted: image.Source, *, cached: bool) -> dict[str, Any]:
    return image._request(SimpleNamespace(project="p"), PLACE, wanted, "x.tar.gz", cached=cached)  # type: ignore[arg-type]


def test_the_first_build_keeps_openemrs_stage_and_later_ones_take_its_layers(tree: Path) -> None:
    wanted = image.source(version="7.0.4", arguments={"BASE": "alpine:3.20@sha256:0"})
    first, later = asked(wanted, cached=False), asked(wanted, cached=True)
    stage = f"{PLACE.registry}/openemr:{wanted.stage_tag}"
    assert [step["id"] for step in first["steps"]] == ["openemr", "service", "job"]
    assert first["images"][0] == stage
    assert [step["id"] for step in later["steps"]] == ["service", "job"]
    assert all(f"--cache-from={stage}" in step["args"] for step in later["steps"])
    arguments = later["steps"][0]["args"]
    assert {"--platform=linux/amd64", "BASE=alpine:3.20@sha256:0", "BUILDKIT_INLINE_CACHE=1"} <= set(arguments)


def test_a_setting_keeps_openemrs_stage_and_the_dockerfile_does_not(tree: Path) -> None:
    before = image.source(version="7.0.4", arguments={})
    (tree / "container" / "php.ini").write_text("memory_limit = 1G\n")
    setting = image.source(version="7.0.4", arguments={})
    assert (setting.stage_tag, setting.tag != before.tag) == (before.stage_tag, True)
    (tree / "container" / "Dockerfile").write_text("FROM scratch\n")
    assert image.source(version="7.0.4", arguments={}).stage_tag != before.stage_tag


def test_a_rebuild_takes_nothing_of_before_and_is_found_from_then_on(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = image.source(version="7.0.4", arguments={})
    again = wanted.rebuilt(DAY)
    assert again.tag == f"{wanted.tag}-20261122t063005"
    steps = asked(again, cached=False)["steps"]
    assert {"--no-cache", "--pull"} <= set(steps[0]["args"])
    assert not {"--no-cache"} & {word for step in steps[1:] for word in step["args"]}
    assert "REBUILD=2026-11-22T06:30:05Z" in steps[1]["args"]

    def tags(*_: object) -> Mapping[str, str]:
        return {wanted.tag: "sha256:1", again.tag: "sha256:2", "8.4.0-0": "sha256:3"}

    monkeypatch.setattr(image, "_tags", tags)
    found = image.find(SimpleNamespace(project="p"), PLACE, wanted)  # type: ignore[arg-type]
    assert found == image.Images(service=f"{PLACE.registry}/service@sha256:2", job=f"{PLACE.registry}/job@sha256:2")
