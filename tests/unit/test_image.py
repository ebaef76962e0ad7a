"""What an image is made of: the same tree gives the same tag, any change another one."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

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
