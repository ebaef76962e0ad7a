"""What rendering leaves in a working directory, and what it does with what is there already."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import jinja2
import pytest

from gcp_openemr import process, render
from gcp_openemr.assets import asset
from gcp_openemr.errors import GcpOpenemrError, UsageError
from tests.terraform import samples

ROOTS = ("foundation", "platform", "clinic")
GOLDEN = Path(__file__).parent / "golden"
VALUES = {"foundation": samples.foundation, "platform": samples.platform, "clinic": samples.clinic}


def rendered(root: str, into: Path, **changes: Any) -> Path:
    return render.render(
        root,
        environment_name=samples.ENVIRONMENT,
        state_bucket=samples.NAMES.state_bucket,
        state_prefix=f"{samples.ENVIRONMENT}/{root}",
        variables=VALUES[root](**changes),
        into=into,
    )


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("root", ROOTS)
def test_wiring_is_the_committed_example(root: str, tmp_path: Path) -> None:
    directory = rendered(root, tmp_path / root)
    update = os.environ.get("UPDATE_GOLDEN")
    for name in ("main.tf", "terraform.tf"):
        golden = GOLDEN / root / name
        if update:
            golden.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / name, golden)
        assert (directory / name).read_text() == golden.read_text(), (
            f"{root}/{name} changed. If it should: UPDATE_GOLDEN=1 pytest tests/terraform/test_render.py"
        )


@pytest.mark.parametrize("root", ROOTS)
def test_wiring_is_the_same_for_every_value(root: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"protect": False, "labels": {"a": "b"}}
    plain, other = rendered(root, tmp_path / "1"), rendered(root, tmp_path / "2", **changes)
    differing = {name for name, data in contents(plain).items() if contents(other)[name] != data}
    assert differing == {"terraform.tfvars.json"}


@pytest.mark.parametrize("root", ROOTS)
def test_result_is_formatted(root: str, tmp_path: Path) -> None:
    process.run(["terraform", "fmt", "-check", "-recursive", str(rendered(root, tmp_path))])


def test_sources_are_formatted() -> None:
    process.run(["terraform", "fmt", "-check", "-recursive", str(asset("terraform"))])


@pytest.mark.parametrize("root", ROOTS)
def test_values_travel_as_json_and_only_there(root: str, tmp_path: Path) -> None:
    hostile = {"note": 'quote " backslash \\ ${path.root} %{ if true } {{ root }} \u2028 ü\n'}
    directory = rendered(root, tmp_path, labels=hostile)
    assert json.loads((directory / "terraform.tfvars.json").read_text())["labels"] == {
        **VALUES[root]()["labels"],
        **hostile,
    }
    assert not any(b"backslash" in data for name, data in contents(directory).items() if not name.endswith(".json"))


def test_a_backend_value_means_itself(tmp_path: Path) -> None:
    render.render(
        "clinic",
        environment_name="e",
        state_bucket='b"${x}%{y}\\',
        state_prefix="p",
        variables={},
        into=tmp_path,
    )
    assert r'bucket = "b\"$${x}%%{y}\\"' in (tmp_path / "terraform.tf").read_text()


@pytest.mark.parametrize("root", ROOTS)
def test_every_value_of_the_sample_is_declared(root: str, tmp_path: Path) -> None:
    directory = rendered(root, tmp_path)
    declared = set(re.findall(r'^variable "(\w+)"', (directory / "variables.tf").read_text(), re.MULTILINE))
    assert set(json.loads((directory / "terraform.tfvars.json").read_text())) == declared


def test_values_are_for_their_owner_alone(tmp_path: Path) -> None:
    directory = rendered("clinic", tmp_path)
    assert stat.S_IMODE((directory / "terraform.tfvars.json").stat().st_mode) == 0o600


def test_a_second_time_touches_nothing(tmp_path: Path) -> None:
    directory = rendered("platform", tmp_path)
    times = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    rendered("platform", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()} == times


def test_keeps_what_terraform_put_there(tmp_path: Path) -> None:
    directory = rendered("platform", tmp_path)
    kept = [
        directory / ".terraform.lock.hcl",
        directory / ".terraform" / "modules" / "modules.json",
        directory / "tfplan",
    ]
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("theirs")
    rendered("platform", tmp_path)
    assert [file.read_text() for file in kept] == ["theirs"] * 3


def test_removes_what_no_longer_belongs(tmp_path: Path) -> None:
    directory = rendered("platform", tmp_path)
    rendered("foundation", tmp_path)
    assert contents(directory) == contents(rendered("foundation", tmp_path.parent / "fresh"))
    assert not (directory / "modules" / "network").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("before", [None, "foundation"])
@pytest.mark.parametrize("at", [1, 2, 9, 20])
def test_a_killed_rendering_is_completed_by_the_next(
    before: str | None, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        rendered(before, tmp_path / "work")
    replace, count = os.replace, 0

    def die(source: str, target: Path) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process tidies nothing
        with pytest.raises(Killed):
            rendered("platform", tmp_path / "work")
    assert contents(rendered("platform", tmp_path / "work")) == contents(rendered("platform", tmp_path / "fresh"))


def test_an_undefined_variable_stops_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = tmp_path / "terraform"
    shutil.copytree(asset("terraform"), edited)
    with (edited / "clinic" / "main.tf.j2").open("a") as template:
        template.write("# {{ nobody_sets_this }}\n")
    monkeypatch.setattr("gcp_openemr.render.asset", lambda _: edited)
    with pytest.raises(jinja2.UndefinedError, match="nobody_sets_this"):
        rendered("clinic", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_an_unknown_module_stops_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = tmp_path / "terraform"
    shutil.copytree(asset("terraform"), edited)
    with (edited / "clinic" / "main.tf.j2").open("a") as template:
        template.write("# {{ module('nowhere') }}\n")
    monkeypatch.setattr("gcp_openemr.render.asset", lambda _: edited)
    with pytest.raises(GcpOpenemrError, match="nowhere"):
        rendered("clinic", tmp_path / "work")


def test_refuses_a_directory_with_other_terraform_files(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.tf"
    theirs.write_text("# mine")
    with pytest.raises(UsageError, match=r"theirs\.tf"):
        rendered("clinic", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.tf"]


def test_refuses_a_file_as_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        rendered("clinic", tmp_path / "file")


def test_a_tampered_list_removes_nothing_outside(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("")
    directory = rendered("clinic", tmp_path / "work")
    (directory / render.LISTING).write_text(json.dumps(["../precious", str(precious), "main.tf", 7]))
    rendered("clinic", directory)
    assert precious.exists()
