"""The names of resources: the shapes others rely on, Google's limits, and no two alike."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.environment.names import SHORT_NAME, ClinicNames, Names, clinic_name_problem

PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")

short_names = st.from_regex(SHORT_NAME, fullmatch=True)
clinic_names = short_names.filter(lambda name: not clinic_name_problem(name))
projects = st.from_regex(PROJECT, fullmatch=True).filter(
    lambda name: not name.startswith("goog") and "google" not in name and "g00gle" not in name
)

# Longest name and allowed form per kind, written down again from Google's pages so that a slip in one place shows.
LIMITS = {
    "bucket": (3, 63, r"[a-z0-9][a-z0-9-]*[a-z0-9]"),
    "account": (6, 30, r"[a-z][a-z0-9-]*[a-z0-9]"),
    "compute": (1, 63, r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    "run": (1, 49, r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    "secret": (1, 255, r"[A-Za-z0-9_-]+"),
    "pool": (4, 32, r"[a-z0-9-]+"),
    "schema": (1, 64, r"[a-z0-9_]+"),
    "user": (1, 32, r"[a-z0-9_]+"),
}
KINDS = {
    "state_bucket": "bucket",
    "backup_bucket": "bucket",
    "build_bucket": "bucket",
    "registry": "compute",
    "builder": "account",
    "files_account": "account",
    "provision_account": "account",
    "planner_account": "account",
    "deployer_account": "account",
    "destroyer_account": "account",
    "ci_pool": "pool",
    "network": "compute",
    "subnet": "compute",
    "router": "compute",
    "nat": "compute",
    "database_instance": "compute",
    "database_address": "compute",
    "files_instance": "compute",
    "files_address": "compute",
    "files_disk": "compute",
    "files_health": "compute",
    "files_snapshots": "compute",
    "dns_zone": "compute",
    "provision_job": "run",
    "redis_admin_secret": "secret",
    "log_bucket": "compute",
    "log_sink": "compute",
    "service": "run",
    "nfs_init_job": "run",
    "backup_job": "run",
    "verify_job": "run",
    "background_job": "run",
    "drill_job": "run",
    "prune_job": "run",
    "redis_passwords_job": "run",
    "rotate_job": "run",
    "upgrade_job": "run",
    "web_account": "account",
    "init_account": "account",
    "backup_account": "account",
    "prune_account": "account",
    "rotate_account": "account",
    "schedule_account": "account",
    "database_password_secret": "secret",
    "redis_password_secret": "secret",
    "admin_password_secret": "secret",
    "backup_password_secret": "secret",
    "schema": "schema",
    "staging_schema": "schema",
    "scratch_schema": "schema",
    "kept_schema": "schema",
    "database_user": "user",
    "redis_user": "user",
}
# Names that live in the database or on the VM of one environment, not in the project.
INSIDE = {
    "schema", "staging_schema", "scratch_schema", "kept_schema", "database_user", "redis_user", "redis_prefix",
    "share_path",
}  # fmt: skip
# Kinds of resources that share one name space in Google Cloud.
NAME_SPACES = {
    **{key: "bucket" for key in KINDS if key.endswith("_bucket")},
    **dict.fromkeys((*(k for k in KINDS if k.endswith("_account")), "builder"), "account"),
    **{key: "secret" for key in KINDS if key.endswith("_secret")},
    "service": "run service",
    **{key: "run job" for key in KINDS if key.endswith("_job")},
    "database_address": "address",
    "files_address": "address",
}


def test_names_of_an_environment_are_these() -> None:
    assert Names(project="my-clinic-prod", environment="prod").as_tfvars() == {
        "state_bucket": "my-clinic-prod-oe-prod-state",
        "backup_bucket": "my-clinic-prod-oe-prod-backups",
        "build_bucket": "my-clinic-prod-oe-prod-build",
        "registry": "oe-prod",
        "builder": "oe-prod-build",
        "files_account": "oe-prod-files",
        "provision_account": "oe-prod-prov",
        "planner_account": "oe-prod-plan",
        "deployer_account": "oe-prod-deploy",
        "destroyer_account": "oe-prod-destroy",
        "ci_pool": "oe-prod-ci",
        "network": "oe-prod-net",
        "subnet": "oe-prod-run",
        "router": "oe-prod-nat",
        "nat": "oe-prod-nat",
        "database_instance": "oe-prod-sql",
        "database_address": "oe-prod-sql",
        "files_instance": "oe-prod-files",
        "files_address": "oe-prod-files",
        "files_disk": "oe-prod-data",
        "files_health": "oe-prod-files",
        "files_snapshots": "oe-prod-data",
        "dns_zone": "oe-prod-sql",
        "provision_job": "oe-prod-provision",
        "redis_admin_secret": "oe-prod-redisroot",
        "log_bucket": "oe-prod-audit",
        "log_sink": "oe-prod-audit",
    }


def test_names_of_a_clinic_are_these() -> None:
    assert ClinicNames(environment="prod", clinic="main").as_tfvars() == {
        "service": "oe-prod-main-web",
        "nfs_init_job": "oe-prod-main-nfs-init",
        "backup_job": "oe-prod-main-backup",
        "verify_job": "oe-prod-main-verify",
        "background_job": "oe-prod-main-background",
        "drill_job": "oe-prod-main-drill",
        "prune_job": "oe-prod-main-prune",
        "redis_passwords_job": "oe-prod-main-redis-passwords",
        "rotate_job": "oe-prod-main-rotate",
        "upgrade_job": "oe-prod-main-upgrade",
        "web_account": "oe-prod-main-web",
        "init_account": "oe-prod-main-init",
        "backup_account": "oe-prod-main-back",
        "prune_account": "oe-prod-main-prune",
        "rotate_account": "oe-prod-main-rot",
        "schedule_account": "oe-prod-main-sched",
        "database_password_secret": "oe-prod-main-db-password",
        "redis_password_secret": "oe-prod-main-redis-password",
        "admin_password_secret": "oe-prod-main-admin-password",
        "backup_password_secret": "oe-prod-main-backup-password",
        "schema": "oe_main",
        "staging_schema": "oe_main_staging",
        "scratch_schema": "oe_main_scratch",
        "kept_schema": "oe_main_kept",
        "database_user": "oe_main",
        "redis_user": "oe_main",
        "redis_prefix": "oe_main:",
        "share_path": "/share/clinics/main/sites",
    }


def test_names_cannot_be_changed() -> None:
    names = Names(project="my-clinic-prod", environment="prod")
    with pytest.raises(dataclasses.FrozenInstanceError):
        names.network = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("project", "environment", "said"),
    [
        ("my-clinic-prod", "p", "2 to 10"),
        ("my-clinic-prod", "production1", "2 to 10"),
        ("my-clinic-prod", "a-b", "2 to 10"),
        ("my-clinic-prod", "1ab", "2 to 10"),
        ("my-clinic-prod", "prod\n", "2 to 10"),
        ("short", "prod", "project id"),
        ("ends-with-", "prod", "project id"),
        ("Upper-case", "prod", "project id"),
        ("googly-eyes", "prod", "bucket"),
        ("the-g00gle-fan", "prod", "bucket"),
    ],
)
def test_what_google_would_refuse_is_refused(project: str, environment: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Names(project=project, environment=environment)


@pytest.mark.parametrize("clinic", ["", "a", "north-1", "North", "überall", "main\n", "abcdefghijk"])
def test_a_clinic_needs_a_short_plain_name(clinic: str) -> None:
    with pytest.raises(ValueError, match="2 to 10"):
        ClinicNames(environment="prod", clinic=clinic)


def test_a_clinic_is_not_called_as_a_part_of_its_environment() -> None:
    """What begins as a clinic's names do is the clinic's, and goes with it."""
    shared = Names(project="my-clinic-prod", environment="prod").as_tfvars().values()
    parts = {name.partition("oe-prod-")[2] for name in shared} - {""}
    assert {"files", "data", "sql", "net", "state"} < parts
    for part in parts:
        with pytest.raises(ValueError, match="as parts of every environment are called"):
            ClinicNames(environment="prod", clinic=part)


@given(project=projects, environment=short_names, clinic=clinic_names)
def test_every_name_keeps_the_limits_of_its_kind(project: str, environment: str, clinic: str) -> None:
    names = {
        **Names(project=project, environment=environment).as_tfvars(),
        **ClinicNames(environment=environment, clinic=clinic).as_tfvars(),
    }
    assert set(KINDS) == set(names) - {"redis_prefix", "share_path"}
    for key, kind in KINDS.items():
        shortest, longest, form = LIMITS[kind]
        assert shortest <= len(names[key]) <= longest, (key, names[key])
        assert re.fullmatch(form, names[key]), (key, names[key])


@given(project=projects, environment=short_names, clinic=clinic_names)
def test_the_same_input_gives_the_same_names(project: str, environment: str, clinic: str) -> None:
    assert Names(project=project, environment=environment) == Names(project=project, environment=environment)
    assert ClinicNames(environment=environment, clinic=clinic) == ClinicNames(environment=environment, clinic=clinic)


# A few letters, so that parts which could run together are drawn often.
_alike = st.text("ab1", min_size=1, max_size=4).map(lambda rest: "a" + rest)


@given(clinics=st.lists(st.tuples(_alike, st.lists(_alike, unique=True, max_size=4)), unique_by=lambda pair: pair[0]))
def test_environments_and_clinics_of_a_project_never_share_a_name(clinics: list[tuple[str, list[str]]]) -> None:
    seen: set[tuple[str, str]] = set()
    for environment, names_of_clinics in clinics:
        inside: set[tuple[str, str]] = set()
        everything = [Names(project="my-clinic-prod", environment=environment).as_tfvars()]
        everything += [ClinicNames(environment=environment, clinic=name).as_tfvars() for name in names_of_clinics]
        for names in everything:
            for key, name in names.items():
                space = (NAME_SPACES.get(key, key), name)
                taken = inside if key in INSIDE else seen
                assert space not in taken, space
                taken.add(space)


@given(first=st.tuples(projects, short_names), second=st.tuples(projects, short_names))
def test_buckets_of_different_projects_never_share_a_name(first: tuple[str, str], second: tuple[str, str]) -> None:
    if first == second:
        return
    one, other = (Names(project=project, environment=environment) for project, environment in (first, second))
    assert {one.state_bucket, one.backup_bucket, one.build_bucket}.isdisjoint(
        {other.state_bucket, other.backup_bucket, other.build_bucket}
    )
