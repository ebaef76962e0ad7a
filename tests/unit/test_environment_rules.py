"""Every rule for what the file may say, with the sentence people read when they break it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcp_openemr.environment import load_environment
from gcp_openemr.errors import EnvironmentInvalid
from tests.unit.environment_file import DRIVE_ID, load, problems

GOOD = [
    ("environment", 'zone = "europe-west1-d"'),
    ("environment", 'region = "northamerica-northeast2"'),
    ("environment", 'labels = { team = "it", "größe" = "" }'),
    ("network", 'cidr = "192.168.0.0/16"'),
    ("network", 'cidr = "172.20.4.0/22"'),
    ("database", 'edition = "ENTERPRISE_PLUS"\ntier = "db-perf-optimized-N-2"'),
    ("database", 'tier = "db-custom-4-26624"'),
    ("database", 'edition = "ENTERPRISE_PLUS"\ntier = "db-c4a-highmem-72"'),
    ("database", 'tier = "db-n1-highmem-96"'),
    ("database", 'availability_type = "REGIONAL"\nbackups = true'),
    ("database", 'database_type = "MYSQL_8_0"'),
    ("files", 'nfs_enabled = true\nmachine_type = "n2-custom-4-8192"'),
    ("service", 'public_url = "https://clinic.example.org:8443"'),
    ("service", 'public_url = "http://127.0.0.1:8080"'),
    ("service", "environment_variables.OPENEMR_SETTING_password_expiration_days = 90"),
    ("service", "environment_variables.OPENEMR_SETTING_secure_password = 1"),
    ("service", 'environment_variables.SMTP_HOST = "mail.example.org:587"'),
    ("service", "environment_variables.SMTP_SSL = true"),
    ("service", 'environment_variables.OPENEMR_SESSIONS = "files"'),
    ("openemr", f'commit = "{"0a" * 20}"'),
    ("backups", 'backup = "*/30 1-5 * * mon,wed"\ntime_zone = "Europe/Berlin"'),
    ("backups", "scheduled = false\nkeep_yearly = 0"),
    ("restore", 'uri = "gs://my.bucket/2026/Ärzte 1.zip"'),
    ("ci", 'provider = "github"\nrepository = "my-clinic/openemr"\nrepository_id = "4711"'),
    ("ci", 'provider = "gitlab"\nrepository = "clinic/it/openemr"\nissuer = "https://gitlab.clinic.example"'),
    ("ci", 'provider = "gitlab"\nrepository = "clinic/openemr"\nbranch = "release/7.0"\nenvironment = "prod/eu"'),
    ("ci", 'provider = "cloudbuild"\nrepository = "my-clinic/openemr"'),
]


@pytest.mark.parametrize(("section", "body"), GOOD)
def test_what_google_takes_is_taken(tmp_path: Path, section: str, body: str) -> None:
    load(tmp_path, {section: body})


GITHUB = 'provider = "github"\nrepository = "my-clinic/openemr"\n'
BAD = [
    ("ci", 'repository = "a/b"', '[ci] provider: is missing; write e.g. provider = "github"'),
    ("ci", 'provider = "github"', '[ci] repository: is missing; write e.g. repository = "my-clinic/openemr"'),
    ("ci", 'provider = "jenkins"\nrepository = "a/b"', 'must be "github", "gitlab" or "cloudbuild"'),
    ("ci", 'provider = "github"\nrepository = "a/b/c"', 'is not the name of a repository (found "a/b/c")'),
    ("ci", 'provider = "gitlab"\nrepository = "b"', 'write e.g. "GROUP/PROJECT", without a host'),
    ("ci", 'provider = "github"\nrepository = "https://github.com/a/b"', "is not the name of a repository"),
    ("ci", f'provider = "github"\nrepository = "{"a" * 60}/{"b" * 60}"', "longer than the 127 characters"),
    ("ci", GITHUB + 'branch = "*"', '[ci] branch: is not the name of one branch (found "*")'),
    ("ci", GITHUB + 'branch = "refs/heads/main"', 'is a ref (found "refs/heads/main"); write branch = "main"'),
    ("ci", GITHUB + 'environment = "a b"', "[ci] environment: is not the name of an environment"),
    ("ci", GITHUB + 'environment = "destroy"', "must differ from environment, or every deploy"),
    ("ci", GITHUB + 'destroy_environment = ""', "[ci] destroy_environment: must differ from environment"),
    ("ci", GITHUB + 'repository_id = "x1"', "[ci] repository_id: is not the number of a repository"),
    ("ci", GITHUB + 'issuer = "http://gitlab.clinic.example"', "is not the address of an issuer of tokens"),
    (
        "ci",
        'provider = "cloudbuild"\nrepository = "a/b"\nenvironment = "production"',
        "has no meaning with Cloud Build",
    ),
    (
        "ci",
        'provider = "cloudbuild"\nrepository = "a/b"\nissuer = "https://x.example"',
        "whose builds are Google's own",
    ),
    ("backups", 'backup = "2am"', '[backups] backup: is no time as cron writes it, in five fields (found "2am")'),
    ("backups", 'drill = "30 1 * *"', "is no time as cron writes it, in five fields"),
    (
        "backups",
        'time_zone = "Europe/Berlyn"',
        'is not a time zone (found "Europe/Berlyn"); did you mean "Europe/Berlin"?',
    ),
    ("backups", "keep_daily = 0", "[backups] keep_daily: must be between 1 and 366 sets (found 0)"),
    ("backups", "read_percent = 101", "[backups] read_percent: must be between 0 and 100 % (found 101)"),
    ("environment", 'name = "prod-1"', "[environment] name: needs 2 to 10 lower-case letters and digits"),
    ("environment", "name = 3", "[environment] name: must be text in quotes (found 3)"),
    ("environment", 'project = "short"', "[environment] project: needs 6 to 30"),
    ("environment", 'project = "123456789012"', "is a project number (found"),
    ("environment", 'project = "goog-clinic"', "cannot begin the names of the environment's buckets"),
    ("environment", 'region = "europe-wset1"', '(found "europe-wset1"); did you mean "europe-west1"?'),
    ("environment", 'region = "Belgium"', 'write one region, e.g. "europe-west1"'),
    ("environment", 'region = "europe-west1-b"', 'is a zone (found "europe-west1-b"); write region = "europe-west1"'),
    ("environment", 'zone = "us-east1-b"', 'is not a zone of europe-west1 (found "us-east1-b")'),
    ("environment", 'profile = "dev"', 'must be "production" or "developer" (found "dev"); did you mean "developer"?'),
    ("environment", 'profile = "test"', 'must be "production" or "developer" (found "test")'),
    ("environment", 'labels = "team"', "[environment] labels: must be a table"),
    ("environment", 'labels = { Team = "it" }', "[environment.labels] Team: a label's key needs"),
    ("environment", 'labels = { team = "IT" }', "[environment.labels] team: a label's value needs"),
    ("environment", "labels = { team = 3 }", "[environment.labels] team: a label's value needs"),
    ("environment", 'labels = { clinic = "a" }', "[environment.labels] clinic: is a label that is set for you"),
    ("environment", 'labels = { goog-x = "a" }', "is a label that is set for you"),
    ("openemr", 'version = "8.0.0"', 'is not a version that can be built (found "8.0.0"); known: "7.0.4" or "8.4.0"'),
    ("openemr", 'commit = "rel-704"', "[openemr] commit: is not a commit's 40 hexadecimal digits"),
    ("service", 'environment_variables.OPENEMR_RUN = "/x"', "is no variable of the image"),
    ("openemr", "version = 7.0", "[openemr] version: must be text in quotes (found 7.0)"),
    ("openemr", 'acknowledge_end_of_support = "yes"', 'must be true or false (found "yes")'),
    ("openemr", 'admin_user = "a b"', "[openemr] admin_user: needs 2 to 32"),
    ("restore", "", '[restore] uri: is missing; write e.g. uri = "gs://bucket/backup.zip"'),
    ("restore", 'source = "s3"\nuri = "gs://bucket/a"', '[restore] source: must be "gcs" or "drive" (found "s3")'),
    ("restore", 'uri = "s3://bucket/a"', "[restore] uri: is not an address in Cloud Storage"),
    ("restore", 'uri = "gs://B/a"', "[restore] uri: names no possible bucket"),
    ("restore", 'uri = "gs://bucket"', "[restore] uri: names a folder; one archive is wanted"),
    ("restore", 'uri = "gs://bucket/a/"', "[restore] uri: names a folder"),
    ("restore", 'uri = "gs://bucket/a\\nb"', "[restore] uri: names no possible object"),
    (
        "restore",
        'uri = "https://storage.googleapis.com/bucket/a.zip?X-Goog-Signature=sEcReT"',
        '(found "https://storage.googleapis.com/bucket/a.zip"); write "gs://bucket/a.zip"',
    ),
    ("restore", f'uri = "{DRIVE_ID}"', 'for a file on Google Drive, source = "drive"'),
    (
        "restore",
        f'source = "drive"\nuri = "https://drive.google.com/file/d/{DRIVE_ID}/view"',
        f'/file/d/{DRIVE_ID}/view"); write uri = "{DRIVE_ID}"',
    ),
    ("restore", 'source = "drive"\nuri = "gs://bucket/a"', 'is in Cloud Storage (found "gs://bucket/a"); write source'),
    ("restore", 'source = "drive"\nuri = "short"', "is not the id of a file on Google Drive"),
    ("restore", 'uri = "gs://bucket/a"\nbackup_uri = "x"', "[restore] backup_uri: says the same as uri"),
    ("service", "cpu = 3", "[service] cpu: must be 1, 2, 4, 6 or 8 vCPU (found 3)"),
    ("service", "cpu = 0.5", "[service] cpu: must be at least 1: less needs Cloud Run's first generation"),
    ("service", "cpu = true", "[service] cpu: must be 1, 2, 4, 6 or 8 vCPU (found true)"),
    ("service", 'cpu = "two"', "[service] cpu: must be 1, 2, 4, 6 or 8 vCPU"),
    ("service", 'memory = "4GB"', 'must be a whole number with Mi or Gi (found "4GB"); write "4Gi"'),
    ("service", 'memory = "much"', 'must be a whole number with Mi or Gi (found "much"); write e.g. "4Gi"'),
    ("service", "memory = 4", "[service] memory: must be text in quotes (found 4)"),
    ("service", "max_instances = 0", "[service] max_instances: must be between 1 and 250 (found 0)"),
    ("service", 'max_instances = "3"', '[service] max_instances: must be a whole number (found "3")'),
    ("service", "min_instances = -1", "[service] min_instances: must be between 0 and 250 (found -1)"),
    ("service", "min_instances = 5", "[service] min_instances: min_instances 5 is more than max_instances 1"),
    ("service", "concurrency = 1001", "[service] concurrency: must be between 1 and 1000 requests (found 1001)"),
    ("service", "timeout_seconds = 3601", "[service] timeout_seconds: must be between 1 and 3600 seconds"),
    ("service", "timeout = 3", '[service] timeout: unknown key; did you mean "timeout_seconds"?'),
    ("service", 'ingress_settings = "INTERNAL_ONLY"', '[service] ingress_settings: must be "all", "internal" or'),
    ("service", 'vpc_egress_setting = "all"', '[service] vpc_egress_setting: must be "PRIVATE_RANGES_ONLY" or'),
    ("service", "public_access = 1", "[service] public_access: must be true or false (found 1)"),
    ("service", 'public_url = "http://clinic.example.org"', "must begin with https://, because patients' data"),
    ("service", 'public_url = "clinic.example.org"', "is not the address of a site"),
    ("service", 'public_url = "https://[::1"', "is not the address of a site"),
    ("service", 'public_url = "https://a.example:99999"', "is not the address of a site"),
    ("service", 'public_url = "https://a.example/openemr"', "must end after the host: OpenEMR is served from the root"),
    ("service", 'environment_variables = ["A=b"]', "[service] environment_variables: must be a table"),
    ("service", 'environment_variables.PORT = "80"', "belongs to Cloud Run, which sets it itself; leave it out"),
    ("service", 'environment_variables.K_SERVICE = "a"', "belongs to Cloud Run"),
    ("service", 'environment_variables.MYSQL_HOST = "a"', "is set for you, from the resources of this environment"),
    ("service", 'environment_variables.REDIS_PREFIX = "a"', "is set for you, from the resources of this environment"),
    ("service", 'environment_variables.OE_USER = "a"', "is set for you; write [openemr] admin_user instead"),
    ("service", 'environment_variables.PUBLIC_URL = "a"', "is set for you; write public_url instead"),
    ("service", 'environment_variables.LD_PRELOAD = "a"', "would change how the container starts"),
    ("service", 'environment_variables."A B" = "a"', '[service.environment_variables] "A B": a variable\'s name needs'),
    ("service", "environment_variables.A = 1.5", "must be text, a whole number, true or false"),
    ("service", 'environment_variables.A = "a\\nb"', "must be one line of text"),
    ("service", "environment_variables.SMTP_PORT = 25", "SMTP_PORT: port 25 is blocked: Google Cloud lets no mail out"),
    ("service", 'environment_variables.SMTP_HOST = "mail:25"', "SMTP_HOST: port 25 is blocked"),
    ("service", "environment_variables.SMTP_PORT = 70000", "must be a port from 1 to 65535"),
    ("service", 'environment_variables.PHP_MEMORY_LIMIT = "-1"', "must have a limit"),
    ("service", 'environment_variables.PHP_MEMORY_LIMIT = "512 MB"', "must be a number with K, M or G"),
    (
        "service",
        'environment_variables.PHP_MEMORY_LIMIT = "4G"',
        "PHP_MEMORY_LIMIT 4G is not below the instance's memory",
    ),
    (
        "service",
        'memory = "512Mi"',
        "[service] memory: PHP_MEMORY_LIMIT 512M is not below the instance's memory of 512Mi",
    ),
    ("database", 'database_type = "MYSQL_8_4"', "which Cloud SQL offers for MySQL 8.0 only (found"),
    (
        "database",
        'edition = "ENTREPRISE"',
        'must be "ENTERPRISE" or "ENTERPRISE_PLUS" (found "ENTREPRISE"); did you mean',
    ),
    ("database", 'edition = "ENTERPRISE_PLUS"', '[database] edition: tier "db-g1-small" belongs to edition ENTERPRISE'),
    ("database", 'tier = "db-perf-optimized-N-2"', "[database] tier: belongs to edition ENTERPRISE_PLUS"),
    ("database", 'tier = "e2-small"', "is not a machine type of Cloud SQL for MySQL"),
    ("database", 'tier = "db-perf-optimized-N-3"', 'for MySQL (found "db-perf-optimized-N-3"); did you mean'),
    ("database", 'tier = "db-n1-standard-3"', 'for MySQL (found "db-n1-standard-3"); did you mean'),
    ("database", 'tier = "db-n1-highmem-1"', 'for MySQL (found "db-n1-highmem-1"); did you mean'),
    ("database", 'tier = "db-custom-3-7680"', "needs 1 or an even number of up to 96 vCPUs"),
    ("database", 'tier = "db-custom-98-98304"', "needs 1 or an even number of up to 96 vCPUs"),
    ("database", 'tier = "db-custom-2-4000"', "needs, with 2 vCPU, 3840 to 13312 MB of memory in steps of 256"),
    ("database", 'tier = "db-custom-8-3840"', "needs, with 8 vCPU, 7424 to 53248 MB of memory"),
    ("database", 'availability_type = "HA"', 'must be "REGIONAL" or "ZONAL" (found "HA")'),
    ("database", 'availability = "ZONAL"', '[database] availability: unknown key; did you mean "availability_type"?'),
    ("database", 'availability_type = "REGIONAL"', "availability_type: backups must be true with availability_type"),
    ("database", "disk_size_gb = 9", "[database] disk_size_gb: must be between 10 and 65536 GB (found 9)"),
    ("database", "disk_size_gb = 4000", "can be at most 3062 GB with the shared-core tier db-g1-small (found 4000)"),
    ("network", 'cidr = "10.0.0.0/23"', "so two revisions and the jobs exhaust less than a /22"),
    ("network", 'cidr = "8.8.0.0/16"', "is not a private range (RFC 1918)"),
    ("network", 'cidr = "10.0.0.0"', "is too small"),
    ("network", 'cidr = "10.0.1.0/22"', 'has bits set behind its prefix (found "10.0.1.0/22"); write "10.0.0.0/22"'),
    ("network", 'cidr = "fd00::/22"', "is an IPv6 range"),
    ("network", 'cidr = "ten"', "is not a range of addresses"),
    ("files", "nfs_enabled = false", "patients' documents and the keys that decrypt them"),
    ("files", 'machine_type = "small"', "is not a machine type of Compute Engine"),
    ("files", 'machine_type = "t2a-standard-1"', "is an Arm machine"),
    ("files", "disk_size_gb = 5", "[files] disk_size_gb: must be between 10 and 65536 GB (found 5)"),
    ("clinics.south-1", "", "[clinics.south-1]: a clinic's name needs 2 to 10 lower-case letters and digits"),
    ("clinics.files", "", "[clinics.files]: a clinic's name cannot be one of audit, backups, build,"),
    ("clinics.north", "cpus = 2", '[clinics.north] cpus: unknown key; did you mean "cpu"?'),
    ("clinics.north", "restore = 3", "[clinics.north.restore]: must be a table"),
    (
        "clinics.north",
        'restore = { url = "x", uri = "gs://bucket/a" }',
        "[clinics.north.restore] url: unknown key; did",
    ),
    ("clinics", "cpu = 2", "[clinics] cpu: is no clinic; write [clinics.NAME] for each clinic"),
    ("environment", 'tier = "x"', "[environment] tier: unknown key; it belongs in [database]"),
    ("environment", 'existing_project_id = "x"', 'existing_project_id: unknown key; it is "project" in [environment]'),
    ("environment", 'wholly_else = "x"', "unknown key; known here: name, project, region, zone, profile, labels"),
    ("servcie", "cpu = 2", "[servcie]: unknown section; did you mean [service]?"),
    ("zzz", "", '[zzz]: unknown section; sections are "environment", "openemr"'),
]


@pytest.mark.parametrize(("section", "body", "said"), BAD)
def test_what_would_be_refused_later_is_refused_here(tmp_path: Path, section: str, body: str, said: str) -> None:
    (line,) = problems(tmp_path, {section: body})
    assert said in line


def test_what_must_be_there_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "openemr.toml"
    file.write_text("")
    with pytest.raises(EnvironmentInvalid) as caught:
        load_environment(file, overrides={})
    name, project, region, support = sorted(caught.value.what.splitlines(), key=lambda line: "[openemr]" in line)
    assert '1: [environment] name: is missing; write e.g. name = "prod"' in name
    assert 'project = "my-clinic-prod"' in project
    assert 'region = "europe-west1"' in region
    assert "acknowledge_end_of_support = true" in support


def test_production_wants_end_of_support_acknowledged(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, {"environment": 'profile = "production"', "openemr": 'version = "7.0.4"'})
    assert said.startswith("[openemr] version: production needs acknowledge_end_of_support = true in [openemr]")
    assert "Alpine 3.20" in said


def test_production_keeps_backups(tmp_path: Path) -> None:
    sections = {
        "environment": 'profile = "production"',
        "openemr": "acknowledge_end_of_support = true",
        "database": 'availability_type = "ZONAL"\nbackups = false',
    }
    assert problems(tmp_path, sections) == [
        "[database] backups: must be true in production: they are what is left when the instance is lost"
    ]


@pytest.mark.parametrize(
    ("profile", "day", "words"),
    [
        ("production", "2026-11-25", "must not say when production expires"),
        ("developer", "2026-02-31", "YYYY-MM-DD"),
        ("developer", "soon", "YYYY-MM-DD"),
    ],
)
def test_only_an_environment_for_review_expires_and_on_a_day(
    tmp_path: Path, profile: str, day: str, words: str
) -> None:
    sections = {
        "environment": f'profile = "{profile}"\nlabels = {{ expires = "{day}" }}',
        "openemr": "acknowledge_end_of_support = true",
    }
    (said,) = problems(tmp_path, sections)
    assert said.startswith("[environment] labels")
    assert words in said


def test_restore_of_several_clinics_has_to_say_which(tmp_path: Path) -> None:
    sections = {"clinics.north": "", "clinics.south": "", "restore": 'uri = "nowhere"'}
    which, uri = problems(tmp_path, sections)
    assert which == (
        "[restore]: does not say which clinic it fills; write [clinics.NAME.restore] for one of north, south"
    )
    assert uri.startswith("[restore] uri: is not an address")


def test_two_clinics_cannot_have_one_address(tmp_path: Path) -> None:
    sections = {"service": 'public_url = "https://a.example"', "clinics.north": "", "clinics.south": ""}
    (said,) = problems(tmp_path, sections)
    assert said.startswith("[service] public_url: clinics north and south cannot share https://a.example")


def test_the_subnet_holds_all_instances_of_all_clinics(tmp_path: Path) -> None:
    load(tmp_path, {"clinics.north": "max_instances = 120", "clinics.south": "max_instances = 120"})
    (said,) = problems(tmp_path, {"clinics.north": "max_instances = 121", "clinics.south": "max_instances = 120"})
    assert said.startswith("[clinics.north] max_instances: 10.20.0.0/22 has 1024 addresses")
    assert "241 together, may need 1028" in said
    load(tmp_path, {"network": 'cidr = "10.0.0.0/16"', "clinics.north": "max_instances = 250"})


def test_a_fault_of_a_pair_is_told_where_the_clinic_wrote_its_part(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, {"service": 'memory = "8Gi"', "clinics.north": "cpu = 1", "clinics.south": ""})
    assert said == (
        "[clinics.north] cpu: 8Gi does not go with 1 vCPU, for which Cloud Run takes 512Mi to 4Gi; "
        "8Gi goes with 2 or 4 or 6 or 8 vCPU"
    )


def test_a_fault_of_service_is_told_once_however_many_clinics_share_it(tmp_path: Path) -> None:
    sections = {"service": "cpu = 3", "clinics.north": "", "clinics.south": "", "clinics.west": "cpu = 2"}
    assert problems(tmp_path, sections) == ["[service] cpu: must be 1, 2, 4, 6 or 8 vCPU (found 3)"]


SECRETS = [
    'environment_variables.SMTP_PASSWORD = "sEcReT"',
    'environment_variables.SMTP_PASS = "sEcReT"',
    'environment_variables.API_TOKEN = "sEcReT"',
    'environment_variables.OPENEMR_SETTING_gateway_api_key = "sEcReT"',
    'environment_variables.MAIL_URL = "smtp://user:sEcReT@mail"',
    'environment_variables.CERT = "-----BEGIN RSA PRIVATE KEY----- sEcReT"',
    'environment_variables = "SMTP_PASSWORD=sEcReT"',
    'environment_variables.MYSQL_PASS = "sEcReT"',
    'environment_variables.PHP_MEMORY_LIMIT = "sEcReT"',
    'root_password = "sEcReT"',
    'public_url = "https://user:sEcReT@clinic.example.org"',
    'public_url = "https://clinic.example.org/?token=sEcReT"',
]


@pytest.mark.parametrize("body", SECRETS)
def test_no_secret_is_shown(tmp_path: Path, body: str) -> None:
    (said,) = problems(tmp_path, {"service": body})
    assert "sEcReT" not in said


def test_a_mail_password_is_refused_with_the_place_where_it_belongs(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, {"service": 'environment_variables.SMTP_PASSWORD = "sEcReT"'})
    assert said.startswith(
        "[service.environment_variables] SMTP_PASSWORD: looks like a secret, and would stand in clear"
    )
    assert "enter it in OpenEMR under Administration, Config, Notifications" in said
