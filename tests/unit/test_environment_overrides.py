"""Environment variables in place of the file's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcp_openemr.environment import load_environment
from gcp_openemr.environment.overrides import variables
from gcp_openemr.errors import EnvironmentInvalid

FILE = """\
[environment]
name = "test"
project = "my-clinic-test"
region = "europe-west1"
profile = "developer"
labels = { team = "it" }
[restore]
backup_uri = "gs://bucket/a.zip"
[service]
environment_variables = { SMTP_HOST = "a" }
[clinics.main]
cpu = 4
[clinics.north]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "openemr.toml"
    path.write_text(FILE)
    return path


def report(path: Path, **overrides: str) -> list[str]:
    with pytest.raises(EnvironmentInvalid) as caught:
        load_environment(path, overrides=overrides)
    return caught.value.what.replace(f"{path.parent}/", "").splitlines()


def test_variables_win_over_the_file(path: Path) -> None:
    environment = load_environment(
        path,
        overrides={
            "GCP_OPENEMR_ENVIRONMENT_PROJECT": "other-clinic-1",
            "GCP_OPENEMR_ENVIRONMENT_LABELS": '{"team": "ops", "cost": "7"}',
            "GCP_OPENEMR_OPENEMR_ADMIN_USER": "boss",
            "GCP_OPENEMR_RESTORE_URI": "gs://bucket/b.zip",
            "GCP_OPENEMR_SERVICE_CPU": "2",
            "GCP_OPENEMR_SERVICE_MAX_INSTANCES": " 5 ",
            "GCP_OPENEMR_SERVICE_PUBLIC_ACCESS": "True",
            "GCP_OPENEMR_SERVICE_ENVIRONMENT_VARIABLES": '{"SMTP_PORT": 587}',
            "GCP_OPENEMR_DATABASE_DISK_SIZE_GB": "30",
            "GCP_OPENEMR_CLINICS_MAIN_MEMORY": "8Gi",
            "GCP_OPENEMR_CLINICS_NORTH_MAX_INSTANCES": "2",
            "GCP_OPENEMR_CLINICS_NORTH_ADMIN_USER": "chief",
            "GCP_OPENEMR_CLINICS_NORTH_RESTORE_URI": "gs://bucket/north.zip",
        },
    )
    main, north = environment.clinic("main"), environment.clinic("north")
    assert environment.project == "other-clinic-1"
    assert environment.names.state_bucket == "other-clinic-1-oe-test-state"
    assert environment.labels == {"managed-by": "gcp-openemr", "environment": "test", "team": "ops", "cost": "7"}
    assert (main.service.cpu, main.service.memory, main.service.max_instances) == (4, "8Gi", 5)
    assert main.service.public_access
    assert main.service.environment_variables == {"PHP_MEMORY_LIMIT": "512M", "SMTP_PORT": "587"}
    assert (main.admin_user, north.admin_user) == ("boss", "chief")
    assert (north.service.cpu, north.service.max_instances) == (2, 2)
    assert main.restore is not None
    assert main.restore.uri == "gs://bucket/b.zip"
    assert north.restore is not None
    assert north.restore.uri == "gs://bucket/north.zip"
    assert environment.database.disk_size_gb == 30


def test_the_default_clinic_can_be_set_by_variables(tmp_path: Path) -> None:
    path = tmp_path / "openemr.toml"
    path.write_text(FILE.partition("[restore]")[0])
    environment = load_environment(path, overrides={"GCP_OPENEMR_CLINICS_MAIN_CPU": "4"})
    assert list(environment.clinics) == ["main"]
    assert environment.clinic("main").service.cpu == 4


def test_a_variable_mends_a_wrong_value_of_the_file(path: Path) -> None:
    path.write_text(FILE.replace('"europe-west1"', '"nowhere"'))
    assert load_environment(path, overrides={"GCP_OPENEMR_ENVIRONMENT_REGION": "us-east4"}).zone == "us-east4-b"


def test_the_process_environment_is_read_where_nothing_else_is_given(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCP_OPENEMR_ENVIRONMENT_NAME", "other")
    assert load_environment(path).name == "other"


def test_every_variable_of_the_list_is_known_to_every_section(path: Path) -> None:
    known = variables(("main", "north"))
    assert known["GCP_OPENEMR_OPENEMR_VERSION"] == ("openemr", "version")
    assert known["GCP_OPENEMR_CLINICS_NORTH_RESTORE_SOURCE"] == ("clinics", "north", "restore", "source")
    lines = report(path, **dict.fromkeys(known, ""))
    assert len(lines) == len(known)
    assert all(line.endswith("is set but empty; unset the variable or give it a value") for line in lines)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ENVIRONMENT_REGION", "x", '[environment] region: is not a region of Google Cloud (found "x")'),
        ("SERVICE_CPU", "0.5", '[service] cpu: must be 1, 2, 4, 6 or 8 vCPU (found "0.5")'),
        ("SERVICE_MAX_INSTANCES", "many", '[service] max_instances: must be a whole number (found "many")'),
        ("SERVICE_MAX_INSTANCES", "9" * 30, "[service] max_instances: must be a whole number"),
        ("SERVICE_PUBLIC_ACCESS", "yes", '[service] public_access: must be true or false (found "yes")'),
        ("ENVIRONMENT_LABELS", "team=it", "[environment] labels: must be a JSON object"),
        ("ENVIRONMENT_LABELS", "[" * 100_000, "[environment] labels: must be a JSON object"),
        ("ENVIRONMENT_LABELS", '["it"]', "[environment] labels: must be a JSON object"),
        ("ENVIRONMENT_LABELS", '{"Team": "x"}', "[environment.labels] Team: a label's key needs"),
        ("ENVIRONMENT_PROJECT", " ", "[environment] project: is set but empty"),
        ("ENVIRONMENT_NAME", "a\udcff", "[environment] name: needs 2 to 10"),
        ("SERVICE_ENVIRONMENT_VARIABLES", '{"A": "\\ud800"}', "[service.environment_variables] A: must be one line of"),
        ("CLINICS_NORTH_MEMORY", "32Gi", "[clinics.north] memory: 32Gi does not go with 2 vCPU"),
        ("CLINICS_NORTH_CPUS", "2", "is no setting; did you mean GCP_OPENEMR_CLINICS_NORTH_CPU?"),
        ("CLINICS_NROTH_CPU", "2", 'is no setting; the file names no clinic "nroth", only "main" or "north"'),
        ("SERVICE_CPUS", "2", "is no setting; did you mean GCP_OPENEMR_SERVICE_CPU?"),
        ("SERVICES_CPU", "2", "is no setting; did you mean GCP_OPENEMR_SERVICE_CPU?"),
        ("PROJECT", "2", "is no setting; did you mean GCP_OPENEMR_ENVIRONMENT_PROJECT?"),
        ("MAX_INSTANCES", "2", "is no setting; did you mean GCP_OPENEMR_SERVICE_MAX_INSTANCES?"),
        ("DATABASE_PASSWORD", "sEcReT", "is no setting; known here: database_type, edition, tier"),
    ],
)
def test_a_wrong_variable_is_told_by_its_own_name(path: Path, name: str, value: str, said: str) -> None:
    (line,) = report(path, **{f"GCP_OPENEMR_{name}": value})
    assert line.startswith(f"GCP_OPENEMR_{name}: {said}")
    assert "sEcReT" not in line


def test_problems_of_the_file_come_first_then_variables_by_name(path: Path) -> None:
    path.write_text(FILE + "[files]\ndisk_size_gb = 1\n[foo]\n")
    lines = report(path, GCP_OPENEMR_SERVICE_CPU="3", GCP_OPENEMR_NETWORK_CIDR="x")
    assert [line.partition(": ")[0] for line in lines] == [
        "openemr.toml:15",
        "openemr.toml:16",
        "GCP_OPENEMR_NETWORK_CIDR",
        "GCP_OPENEMR_SERVICE_CPU",
    ]


@pytest.mark.parametrize("name", ["SANDBOX_URL", "SANDBOX_REGION", "TERRAFORM", "TEST_RUN", "HOME"])
def test_variables_for_others_are_left_alone(path: Path, name: str) -> None:
    assert load_environment(path, overrides={f"GCP_OPENEMR_{name}": "x", "PATH": "/bin", "OPENEMR": "y"}).name == "test"


def test_no_variable_shows_a_secret(path: Path) -> None:
    lines = report(
        path,
        GCP_OPENEMR_SERVICE_ENVIRONMENT_VARIABLES='{"SMTP_PASSWORD": "sEcReT", "A\\ud800": "sEcReT", "B": ["sEcReT"]}',
        GCP_OPENEMR_CLINICS_NORTH_ENVIRONMENT_VARIABLES='{"SMTP_PASSWORD": "sEcReT"',
        GCP_OPENEMR_SERVICE_PUBLIC_URL="https://me:sEcReT@a.example",
    )
    assert len(lines) == 5
    assert "sEcReT" not in "\n".join(lines)
