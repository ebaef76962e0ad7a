"""The file that `init` writes: valid, complete, honest about defaults, and never over another file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gcp_openemr.environment import load_environment, sample_backup_uri, write_environment_file
from gcp_openemr.environment.catalogue import SECTIONS
from gcp_openemr.environment.profiles import PROFILES
from gcp_openemr.errors import NotPermitted, UsageError

COMMENTED = re.compile(r"^# (\[[a-z.]+\]|[A-Za-z_0-9]+ = .*)$", re.MULTILINE)


def write(path: Path, *, profile: str = "developer", sandbox_sample: bool = False, **values: str) -> None:
    given = {"name": "test", "project": "my-clinic-test", "region": "europe-west1", **values}
    write_environment_file(
        path,
        name=given["name"],
        project=given["project"],
        region=given["region"],
        profile=profile,
        sandbox_sample=sandbox_sample,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openemr.toml"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sample", [False, True])
def test_what_is_written_validates(path: Path, profile: str, sample: bool) -> None:
    write(path, profile=profile, sandbox_sample=sample)
    environment = load_environment(path, overrides={})
    assert (environment.name, environment.project, environment.profile) == ("test", "my-clinic-test", profile)


def test_the_sample_is_open_and_restored_and_the_plain_file_is_neither(path: Path, tmp_path: Path) -> None:
    write(path, sandbox_sample=True)
    clinic = load_environment(path, overrides={}).clinic("main")
    assert clinic.service.public_access
    assert clinic.restore is not None
    assert clinic.restore.uri == sample_backup_uri("my-clinic-test")
    write(tmp_path / "plain.toml")
    plain = load_environment(tmp_path / "plain.toml", overrides={}).clinic("main")
    assert not plain.service.public_access
    assert plain.restore is None


@pytest.mark.parametrize("profile", PROFILES)
def test_commented_values_are_those_that_hold_anyway(path: Path, profile: str) -> None:
    write(path, profile=profile)
    before = load_environment(path, overrides={})
    text = path.read_text().partition("# To fill empty storage")[0]
    for example in ("public_url", "SMTP_"):
        text = text.replace(f"# {example}", f"# # {example}")
    path.write_text(COMMENTED.sub(r"\1", text))
    assert load_environment(path, overrides={}) == before


def test_every_key_there_is_stands_in_the_file(path: Path) -> None:
    write(path)
    document = tomllib.loads(COMMENTED.sub(r"\1", path.read_text()))
    for section, model in SECTIONS.items():
        assert set(document[section]) == set(model.model_fields), section
    assert set(document["clinics"]) == {"north", "south"}


def test_lines_with_a_problem_are_found_in_it(path: Path) -> None:
    write(path)
    text = path.read_text().replace('region = "europe-west1"', 'region = "nowhere"')
    path.write_text(text)
    line = text.splitlines().index('region = "nowhere"') + 1
    with pytest.raises(Exception, match=rf":{line}: \[environment\] region"):
        load_environment(path, overrides={})


def test_a_file_that_is_there_is_left_as_it_is(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already") as caught:
        write(path)
    assert caught.value.do
    assert path.read_text() == "mine"


def test_a_dangling_link_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        write(path)
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no directory"):
        write(tmp_path / "no" / "openemr.toml")


def test_a_full_disk_leaves_no_half_file() -> None:
    with pytest.raises((NotPermitted, UsageError)):
        write(Path("/proc/openemr.toml"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "prod-1"}, "[environment] name: needs 2 to 10"),
        ({"project": 'x"\nregion = "y'}, "[environment] project: needs 6 to 30"),
        ({"region": "nowhere"}, "[environment] region: is not a region"),
        ({"profile": "dev"}, '[environment] profile: must be "production" or "developer"'),
        ({"name": "a\x7f"}, 'needs 2 to 10 lower-case letters and digits, starting with a letter (found "a\\x7f")'),
        ({"name": "a\udcff"}, '(found "a\\udcff")'),
    ],
)
def test_wrong_values_are_told_and_nothing_is_written(path: Path, values: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        write(path, **values)  # type: ignore[arg-type]
    assert said in caught.value.what
    assert not path.exists()
