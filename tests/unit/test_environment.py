"""What a file means: defaults, profiles, clinics and their inheritance."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from gcp_openemr.environment import load_environment
from gcp_openemr.environment.profiles import TABLE
from gcp_openemr.environment.service import MEMORY_OF_CPU
from gcp_openemr.errors import UsageError
from gcp_openemr.variables import SERVICES, services_of
from tests.unit.environment_file import DRIVE_ID, load, problems


def test_a_small_file_gives_a_whole_environment(tmp_path: Path) -> None:
    environment = load(tmp_path)
    assert (environment.name, environment.project, environment.region) == ("test", "my-clinic-test", "europe-west1")
    assert environment.zone == "europe-west1-b"
    assert environment.labels == {"managed-by": "gcp-openemr", "environment": "test"}
    assert environment.openemr.line.ref == "rel-704"
    assert environment.openemr.build_arguments == environment.openemr.line.build_arguments
    assert environment.network.cidr == "10.20.0.0/22"
    assert list(environment.clinics) == ["main"]
    clinic = environment.clinic("main")
    assert (clinic.service.cpu, clinic.service.memory, clinic.service.memory_mib) == (2, "4Gi", 4096)
    assert clinic.service.environment_variables == {"PHP_MEMORY_LIMIT": "512M"}
    assert not clinic.service.public_access
    assert (clinic.public_url, clinic.admin_user, clinic.restore) == ("", "admin", None)
    assert environment.names.network == "oe-test-net"
    assert environment.clinic_names("main").service == "oe-test-main-web"


def test_production_is_the_profile_where_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "openemr.toml"
    file.write_text(
        '[environment]\nname = "test"\nproject = "my-clinic-test"\nregion = "europe-west1"\n'
        "[openemr]\nacknowledge_end_of_support = true"
    )
    environment = load_environment(file, overrides={})
    assert environment.profile == "production"
    assert environment.protect


@pytest.mark.parametrize("profile", ["production", "developer"])
def test_profiles_fill_what_their_table_says(tmp_path: Path, profile: str) -> None:
    sections = {
        "environment": f'profile = "{profile}"',
        "openemr": "acknowledge_end_of_support = true",
    }
    environment = load(tmp_path, sections)
    for row in TABLE:
        section = getattr(environment, row.section) if row.section else environment
        assert getattr(section, row.key) == getattr(row, profile), row


def test_a_value_in_the_file_wins_over_the_profile(tmp_path: Path) -> None:
    sections = {"service": "max_instances = 7", "database": 'tier = "db-custom-1-3840"', "files": "disk_size_gb = 11"}
    environment = load(tmp_path, sections)
    assert environment.clinic("main").service.max_instances == 7
    assert environment.database.tier == "db-custom-1-3840"
    assert environment.files.disk_size_gb == 11


def test_nothing_in_an_environment_can_be_changed(tmp_path: Path) -> None:
    environment = load(tmp_path, {"environment": 'labels = { team = "it" }'})
    with pytest.raises(dataclasses.FrozenInstanceError):
        environment.region = "us-east1"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        environment.database.tier = "db-f1-micro"
    with pytest.raises(TypeError):
        environment.labels["team"] = "us"  # type: ignore[index]
    with pytest.raises(TypeError):
        environment.clinic("main").service.environment_variables["A"] = "b"  # type: ignore[index]
    with pytest.raises(TypeError):
        environment.clinics["other"] = environment.clinic("main")  # type: ignore[index]


def test_an_unknown_clinic_is_a_usage_error_that_lists_the_known(tmp_path: Path) -> None:
    environment = load(tmp_path, {"clinics.north": "", "clinics.south": ""})
    with pytest.raises(UsageError, match="no clinic 'main'") as caught:
        environment.clinic("main")
    assert "north, south" in caught.value.do


def test_a_clinic_that_left_the_file_still_has_names_and_settings(tmp_path: Path) -> None:
    environment = load(tmp_path, {"service": "cpu = 1", "clinics.north": "cpu = 4"})
    assert environment.clinic_names("gone").schema == "oe_gone"
    assert environment.default_clinic("gone").service.cpu == 1
    with pytest.raises(UsageError, match="no-name"):
        environment.clinic_names("no-name")


def test_clinics_inherit_from_service_and_differ_where_they_say(tmp_path: Path) -> None:
    environment = load(
        tmp_path,
        {
            "service": 'memory = "8Gi"\nenvironment_variables = { SMTP_HOST = "a", SMTP_PORT = 587 }',
            "openemr": 'admin_user = "boss"',
            "clinics.north": 'cpu = 4\nadmin_user = "chief"\nenvironment_variables.SMTP_HOST = "b"',
            "clinics.south": 'public_url = "https://South.example.org/"',
        },
    )
    north, south = environment.clinic("north"), environment.clinic("south")
    assert (north.service.cpu, north.service.memory, south.service.cpu) == (4, "8Gi", 2)
    assert (north.admin_user, south.admin_user) == ("chief", "boss")
    assert north.service.environment_variables == {"PHP_MEMORY_LIMIT": "512M", "SMTP_HOST": "b", "SMTP_PORT": "587"}
    assert south.service.environment_variables["SMTP_HOST"] == "a"
    assert south.public_url == "https://south.example.org"


def test_top_level_restore_fills_the_only_clinic_or_main(tmp_path: Path) -> None:
    restore = 'uri = "gs://backups/clinic.zip"'
    assert load(tmp_path, {"restore": restore}).clinic("main").restore is not None
    assert load(tmp_path, {"restore": restore, "clinics.north": ""}).clinic("north").restore is not None
    two = load(tmp_path, {"restore": restore, "clinics.north": "", "clinics.main": ""})
    assert two.clinic("main").restore is not None
    assert two.clinic("north").restore is None


def test_a_clinic_has_a_restore_of_its_own(tmp_path: Path) -> None:
    environment = load(
        tmp_path, {"clinics.north.restore": f'source = "drive"\nuri = "{DRIVE_ID}"', "clinics.south": ""}
    )
    restore = environment.clinic("north").restore
    assert restore is not None
    assert (restore.source, restore.uri) == ("drive", DRIVE_ID)
    assert environment.clinic("south").restore is None


def test_the_earlier_names_of_restore_are_taken(tmp_path: Path) -> None:
    restore = load(tmp_path, {"restore": 'backup_source = "gcs"\nbackup_uri = "gs://backups/a/b.tar.gz"'})
    assert (
        restore.clinic("main").restore
        == load(tmp_path, {"restore": 'uri = "gs://backups/a/b.tar.gz"'}).clinic("main").restore
    )


@pytest.mark.parametrize("written", ["4", "4.0", '"4"', '"4000m"'])
def test_cpu_is_taken_as_google_takes_it(tmp_path: Path, written: str) -> None:
    assert load(tmp_path, {"service": f"cpu = {written}"}).clinic("main").service.cpu == 4


@pytest.mark.parametrize(
    ("service", "concurrency"),
    [("", 20), ('memory = "1Gi"', 6), ('memory = "1Gi"\nconcurrency = 40', 40), ('memory = "8Gi"', 20)],
)
def test_an_instance_takes_as_many_requests_as_php_does(tmp_path: Path, service: str, concurrency: int) -> None:
    assert load(tmp_path, {"service": service}).service.concurrency == concurrency


@pytest.mark.parametrize(("cpu", "least", "most"), [(cpu, *bounds) for cpu, bounds in MEMORY_OF_CPU.items()])
def test_memory_goes_with_cpu_up_to_the_bounds_and_not_beyond(tmp_path: Path, cpu: int, least: int, most: int) -> None:
    small = 'environment_variables.PHP_MEMORY_LIMIT = "64M"'
    for memory in (least, most):
        load(tmp_path, {"service": f'cpu = {cpu}\nmemory = "{memory}Mi"\n{small}'})
    for memory in (least - 1, most + 1):
        (said,) = problems(tmp_path, {"service": f'cpu = {cpu}\nmemory = "{memory}Mi"\n{small}'})
        assert said.startswith(f"[service] memory: {memory}Mi does not go with {cpu} vCPU")


@pytest.mark.parametrize(
    ("written", "api"),
    [
        ("all", "INGRESS_TRAFFIC_ALL"),
        ("internal", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
        ("internal-and-cloud-load-balancing", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
    ],
)
def test_ingress_has_the_words_of_the_api(tmp_path: Path, written: str, api: str) -> None:
    assert load(tmp_path, {"service": f'ingress_settings = "{written}"'}).clinic("main").service.ingress == api


def test_end_of_support_and_a_drive_backup_are_warned_of(tmp_path: Path) -> None:
    environment = load(tmp_path, {"restore": f'source = "drive"\nuri = "{DRIVE_ID}"'})
    support, drive = environment.warnings
    assert "Alpine 3.20" in support
    assert "Google Drive" in drive


@pytest.mark.parametrize(
    ("times", "warned"),
    [
        ('scheduled = true\nbackup = "30 */6 * * *"', False),
        ('scheduled = true\nbackup = "30 1 * * 1-5"', True),
        ('scheduled = true\nbackup = "30 1 1 * *"', True),
        ('scheduled = false\nbackup = "30 1 1 * *"', False),
    ],
)
def test_days_without_a_set_are_warned_of(tmp_path: Path, times: str, warned: bool) -> None:
    told = " ".join(load(tmp_path, {"backups": times}).warnings)
    assert ("leaves days without a set, so no alert comes when one is missing" in told) is warned


def test_the_api_of_drive_is_wanted_where_a_backup_lies_there(tmp_path: Path) -> None:
    restore = f'source = "drive"\nuri = "{DRIVE_ID}"'
    assert set(services_of(load(tmp_path, {"clinics.south.restore": restore}))) - set(SERVICES) == {
        "drive.googleapis.com"
    }
    assert services_of(load(tmp_path, {"restore": 'uri = "gs://bucket/one.zip"'})) == SERVICES


def test_importing_the_package_imports_no_client_of_google() -> None:
    code = "import sys, gcp_openemr.environment; print(*[name for name in sys.modules if name.startswith('google')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
