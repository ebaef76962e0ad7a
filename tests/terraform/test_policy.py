"""What may never be in a plan, whatever the values: access, secrets, protection.

General linters know nothing of Cloud Run v2 and Secret Manager, which are the core of this stack.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from gcp_openemr.assets import asset
from gcp_openemr.environment.names import ClinicNames
from gcp_openemr.needed import DELETES_DATA
from gcp_openemr.needed import ROLES as ROLES_OF_CI
from tests.terraform import samples
from tests.terraform.conftest import Planner
from tests.terraform.inspection import block, container, variables_of
from tests.terraform.world import Resource, resources

SHARED_BACKUP = {"source": "gcs", "uri": f"gs://{samples.NAMES.backup_bucket}/imports/backup.zip"}
OWN_BACKUP = {"source": "gcs", "uri": "gs://somebodys-bucket/backup.tar.zst"}
JOBS = ("nfs-init", "background", "backup", "verify", "drill", "prune", "rotate", "redis-passwords", "upgrade")
NIGHTLY = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
NORTH = {"name": "north", "restore": {"source": "drive", "uri": "1a2b3c"}}
TRUST = samples.CI["trust"]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("foundation", {}),
    ("foundation", {"protect": False, "audit": {"data_access_logs": False, "retention_days": 30}}),
    ("foundation", {"ci": None}),
    ("foundation", {"ci": {**samples.CI, "trust": {**TRUST, "provider": "cloudbuild"}}}),
    ("foundation", {"ci": {**samples.CI, "trust": {**TRUST, "provider": "gitlab", "repository_id": "4711"}}}),
    ("platform", {}),
    (
        "platform",
        {
            "protect": False,
            "database": {"availability_type": "ZONAL", "backups": False, "tier": "db-g1-small"},
            "alerts": {"emails": []},
        },
    ),
    (
        "platform",
        {
            "provision": None,
            "files": {"ssh_members": ["group:it@clinic.example"], "snapshot_days": 0, "nfs_v3": False},
        },
    ),
    ("clinic", {}),
    ("clinic", NORTH),
    ("clinic", {"serve": False, "secret_versions": None}),
    ("clinic", {"service": {"public_access": True}}),
    ("clinic", {"jobs": list(JOBS), "schedules": {"backup": NIGHTLY, "nfs-init": NIGHTLY}}),
    ("clinic", {"restore": SHARED_BACKUP}),
    ("clinic", {"protect": False, "restore": OWN_BACKUP, "service": {"min_instances": 0, "max_instances": 1}}),
]
ROLES = {
    "roles/artifactregistry.reader",
    "roles/artifactregistry.writer",
    "roles/compute.osAdminLogin",
    "roles/iam.serviceAccountUser",
    "roles/iam.workloadIdentityUser",
    "roles/iap.tunnelResourceAccessor",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
    "roles/run.invoker",
    "roles/run.viewer",
    "roles/secretmanager.secretAccessor",
    "roles/secretmanager.viewer",
    "roles/storage.objectCreator",
    "roles/storage.objectUser",
    "roles/storage.objectViewer",
    *samples.NAMES.roles.values(),
}
PROJECT_WIDE = {
    'module.backups.google_project_iam_member.metrics["backup"]': "Cloud Monitoring takes writers only for a project",
    **{
        f'module.ci[0].google_project_iam_member.{name}["{identity}"]': "a pipeline works on the whole environment"
        for name in ("default", "log")
        for identity in ROLES_OF_CI
    },
    **{
        f'module.ci[0].google_project_iam_member.grants["{identity}"]': "only the roles that the stack binds there"
        for identity in ("deployer", "destroyer")
    },
    "module.build_identity.google_project_iam_member.log": "Cloud Logging takes writers only for a project",
    'module.files.google_project_iam_member.login["group:it@clinic.example"]': "only where asked, on this machine",
    'module.files.google_project_iam_member.tunnel["group:it@clinic.example"]': "only where asked, to this address",
    "module.provision.google_project_iam_member.operations": "Cloud SQL has no policy below the project; reads only",
    "module.provision.google_project_iam_member.users": "Cloud SQL has no policy below the project; conditional",
    "module.rotation[0].google_project_iam_member.metrics": "Cloud Monitoring takes writers only for a project",
}
PERMISSIONS = {
    "cloudsql.instances.get",
    "cloudsql.users.create",
    "cloudsql.users.delete",
    "cloudsql.users.get",
    "cloudsql.users.list",
    "cloudsql.users.update",
    *("run.revisions.get", "run.revisions.list", "run.services.get", "run.services.update"),
    *("secretmanager.secrets.get", "secretmanager.secrets.update"),
    *(f"secretmanager.versions.{verb}" for verb in ("access", "add", "destroy", "disable", "enable", "get", "list")),
}
FORBIDDEN = {
    "google_project_iam_binding",
    "google_project_iam_policy",
    "google_secret_manager_secret_version",
    "google_service_account_key",
    "google_sql_user",
    "google_compute_instance",
}
MAKES = {"roles/secretmanager.secretAccessor", "roles/storage.objectCreator", "roles/storage.objectViewer"}
# Whose rights on secrets, folders, jobs and machines are whose business: account → roles.
RIGHTS = {
    "build": {"roles/artifactregistry.writer", "roles/logging.logWriter", "roles/storage.objectViewer"},
    "deploy": {"roles/logging.logWriter", "roles/storage.objectUser", "roles/storage.objectViewer"},
    "destroy": {"roles/logging.logWriter", "roles/storage.objectUser", "roles/storage.objectViewer"},
    "files": {"roles/secretmanager.secretAccessor"},
    "init": MAKES | {"roles/storage.objectUser"},
    "back": MAKES | {"roles/storage.objectUser", "roles/monitoring.metricWriter"},
    "prov": {
        "roles/secretmanager.secretAccessor",
        "roles/secretmanager.viewer",
        "roles/storage.objectCreator",
        "roles/storage.objectViewer",
    },
    "plan": {"roles/logging.logWriter", "roles/storage.objectViewer"},
    "prune": {"roles/secretmanager.secretAccessor", "roles/storage.objectCreator", "roles/storage.objectUser"},
    "rot": {
        "roles/artifactregistry.reader",
        "roles/iam.serviceAccountUser",
        "roles/monitoring.metricWriter",
        "roles/run.invoker",
        "roles/run.viewer",
        "roles/storage.objectCreator",
        "roles/storage.objectUser",
        "roles/storage.objectViewer",
    },
    "sched": {"roles/run.invoker"},
    "web": {"roles/secretmanager.secretAccessor"},
}
every_option = pytest.mark.parametrize(
    ("kind", "changes"), OPTIONS, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(OPTIONS)]
)


def bindings(plan: dict[str, Any]) -> list[Resource]:
    return [r for r in resources(plan) if re.search(r"_iam_(member|binding|policy)$", r.type)]


@every_option
def test_nobody_is_everybody_unless_asked(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    public = [
        b.address for b in bindings(plan_of(kind, **changes)) if str(b.values.get("member", "")).startswith("all")
    ]
    asked = changes.get("service", {}).get("public_access", False)
    assert public == (["module.service[0].google_cloud_run_v2_service_iam_member.public[0]"] if asked else [])


@every_option
def test_only_narrow_roles_are_given(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    plan = plan_of(kind, **changes)
    assert {b.values["role"] for b in bindings(plan) if "role" in b.values} <= ROLES
    for role in resources(plan, "google_project_iam_custom_role"):
        identity = re.fullmatch(r'module\.ci\[0\]\.\w+\.\w+\["(\w+)"\]', role.address)
        assert set(role.values["permissions"]) <= (ROLES_OF_CI[identity[1]].permissions if identity else PERMISSIONS)


@every_option
def test_roles_on_the_project_are_the_reasoned_ones(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    project_wide = {
        r.address for r in resources(plan_of(kind, **changes)) if r.type.startswith("google_project_iam_member")
    }
    assert project_wide <= set(PROJECT_WIDE)


@every_option
def test_every_account_has_the_rights_of_its_work(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for binding in bindings(plan_of(kind, **changes)):
        member, role = str(binding.values.get("member", "")), str(binding.values.get("role", ""))
        if member.startswith("serviceAccount:") and role.startswith("roles/"):
            work = member.partition("@")[0].rpartition("-")[2]
            assert role in RIGHTS[work], f"{binding.address}: {work} has {role}"


def test_no_job_gets_in_but_those_of_the_repository_its_branch_and_environment(plan_of: Planner) -> None:
    """What Google evaluates, word for word: a condition that is a little too wide lets strangers in."""
    plan = plan_of("foundation")
    (provider,) = resources(plan, "google_iam_workload_identity_pool_provider")
    assert provider.values["attribute_condition"] == (
        'assertion.repository == "my-clinic/openemr" && assertion.event_name != "pull_request_target"'
    )
    assert provider.values["attribute_mapping"] == {
        "attribute.place": 'assertion.ref + ":" + (has(assertion.environment) ? assertion.environment : "")',
        "attribute.repository": "assertion.repository",
        "google.subject": "assertion.sub",
    }
    numbered = plan_of("foundation", ci={**samples.CI, "trust": {**TRUST, "repository_id": "4711"}})
    (provider,) = resources(numbered, "google_iam_workload_identity_pool_provider")
    assert ' && assertion.repository_id == "4711" && ' in provider.values["attribute_condition"]


def test_builds_of_cloud_build_are_nobodys_guests(plan_of: Planner) -> None:
    plan = plan_of("foundation", ci={**samples.CI, "trust": {**TRUST, "provider": "cloudbuild"}})
    assert not resources(plan, "google_iam_workload_identity_pool", "google_service_account_iam_member")


def test_the_roles_of_a_pipeline_are_those_of_the_table(plan_of: Planner) -> None:
    made = resources(plan_of("foundation"), "google_project_iam_custom_role")
    grant = {"resourcemanager.projects.setIamPolicy"}
    assert {
        role.values["role_id"]: {*role.values["permissions"]} for role in made if role.address.startswith("module.ci")
    } == {
        "oe_prod_plan": ROLES_OF_CI["planner"].permissions,
        "oe_prod_deploy": ROLES_OF_CI["deployer"].permissions - grant,
        "oe_prod_deploy_grants": grant,
        "oe_prod_destroy": ROLES_OF_CI["destroyer"].permissions - grant,
        "oe_prod_destroy_grants": grant,
    }


def test_a_pipeline_changes_no_role(plan_of: Planner) -> None:
    """Whoever changes a role and binds it gives himself every right."""
    for role in ROLES_OF_CI.values():
        assert not {one for one in role.permissions if re.fullmatch(r"iam\.roles\.(?!get|list).*", one)}
    made = {role.values["role_id"] for role in resources(plan_of("foundation"), "google_project_iam_custom_role")}
    assert {name.rpartition("/")[2] for name in samples.NAMES.roles.values()} <= made


def test_the_destroyer_alone_deletes_data_and_nobody_reads_a_password() -> None:
    deleting = {name: role.permissions & DELETES_DATA for name, role in ROLES_OF_CI.items()}
    assert not deleting["planner"] | deleting["deployer"]
    assert {"cloudsql.instances.delete", "compute.disks.delete"} <= deleting["destroyer"]
    for role in ROLES_OF_CI.values():
        assert not {"secretmanager.versions.access", "iam.serviceAccountKeys.create"} & role.permissions
    planned = ROLES_OF_CI["planner"].permissions
    assert {one for one in planned if not re.search(r"\.(get|list|getIamPolicy)$", one)} == set()


def test_only_pruning_deletes_backups_and_only_its_clinics(plan_of: Planner) -> None:
    folders = resources(plan_of("foundation"), "google_storage_managed_folder_iam_member")
    deleting = {
        (b.values["managed_folder"], b.values["member"].partition("@")[0])
        for b in folders
        if b.values["role"] == "roles/storage.objectUser"
    }
    assert deleting == {
        (f"clinics/{name}/backups/", f"serviceAccount:oe-prod-{name}-prune") for name in samples.CLINICS
    }


def test_who_makes_and_reads_backups_deletes_only_locks_and_manifests(plan_of: Planner) -> None:
    folders = resources(plan_of("clinic"), "google_storage_managed_folder_iam_member")
    deleting = {
        (b.values["member"].partition("@")[0].rpartition("-")[2], b.values["managed_folder"])
        for b in folders
        if b.values["role"] == "roles/storage.objectUser"
    }
    own = "clinics/main/backups"
    assert deleting == {
        ("back", f"{own}/repository/locks/"), ("back", f"{own}/sets/"), ("init", f"{own}/repository/locks/"),
        ("rot", f"{own}/repository/keys/"), ("rot", f"{own}/repository/locks/"),
    }  # fmt: skip


def test_a_schedule_starts_its_job_and_no_other(plan_of: Planner) -> None:
    plan = plan_of("clinic", jobs=list(JOBS), schedules={"backup": NIGHTLY})
    (job,) = resources(plan, "google_cloud_scheduler_job")
    jobs = resources(plan, "google_cloud_run_v2_job_iam_member")
    (right,) = (found for found in jobs if "module.schedule" in found.address)
    target = block(job.values["http_target"])
    assert target["uri"].endswith("/jobs/oe-prod-main-backup:run")
    assert block(target["oauth_token"])["service_account_email"].startswith("oe-prod-main-sched@")
    assert (right.values["name"], right.values["role"]) == ("oe-prod-main-backup", "roles/run.invoker")
    assert right.values["member"].startswith("serviceAccount:oe-prod-main-sched@")
    assert (job.values["schedule"], job.values["time_zone"]) == ("30 2 * * *", "Europe/Berlin")


@pytest.mark.parametrize(
    ("job", "cron", "watched"),
    [
        ("backup", "30 */6 * * *", True),
        ("backup", "30 1 * * 1-5", False),
        ("backup", "30 1 1 * *", False),
        ("rotate", "30 3 * * *", True),
        ("rotate", "30 3 * * 1", False),
    ],
)
def test_a_job_that_is_not_started_is_watched_for_where_each_day_has_a_run(
    plan_of: Planner, job: str, cron: str, watched: bool
) -> None:
    plan = plan_of("clinic", jobs=list(JOBS), schedules={job: {"cron": cron}})
    titles = {found.values["display_name"] for found in resources(plan, "google_monitoring_alert_policy")}
    missing = {"backup": "no backup set was made", "rotate": "nothing looked at the passwords' ages"}
    assert any(f"job {job} failed" in title for title in titles)
    assert any(missing[job] in title for title in titles) is watched


def test_each_job_runs_as_the_account_of_its_work(plan_of: Planner) -> None:
    jobs = resources(plan_of("clinic", jobs=list(JOBS)), "google_cloud_run_v2_job")
    accounts = {
        block(container(job)["args"]): block(block(job.values["template"])["template"])["service_account"]
        for job in jobs
    }
    works = {job: account.partition("@")[0].rpartition("-")[2] for job, account in accounts.items()}
    assert works == {
        "nfs-init": "init", "background": "web", "backup": "back", "verify": "back", "drill": "back", "prune": "prune",
        "rotate": "rot", "redis-passwords": "prov", "upgrade": "init",
    }  # fmt: skip


def test_no_account_is_made_for_work_that_is_not_done(plan_of: Planner) -> None:
    made = resources(plan_of("clinic", jobs=["nfs-init"]), "google_service_account")
    accounts = [a.values["account_id"] for a in made]
    assert sorted(accounts) == ["oe-prod-main-init", "oe-prod-main-web"]


def test_the_provision_job_changes_only_this_environments_instance(plan_of: Planner) -> None:
    users = next(
        b for b in bindings(plan_of("platform")) if b.address.endswith("provision.google_project_iam_member.users")
    )
    instance = f"projects/{samples.PROJECT}/instances/{samples.NAMES.database_instance}"
    assert block(users.values["condition"])["expression"] == f'resource.name == "{instance}"'


@every_option
def test_nothing_forbidden_is_made(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    made = {r.type for r in resources(plan_of(kind, **changes))}
    assert not made & FORBIDDEN
    assert all(name.startswith("google_") for name in made)


def test_no_source_makes_a_password_or_runs_a_program() -> None:
    for file in asset("terraform").rglob("*.tf*"):
        text = file.read_text()
        assert not re.search(r"random_|null_resource|terraform_data|provisioner\s+\"|external\"", text), file
        assert not any(f'"{name}"' in text for name in FORBIDDEN), file


@every_option
def test_secrets_are_pinned_and_passwords_are_secrets(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes), "google_cloud_run_v2_service", "google_cloud_run_v2_job"):
        for name, value, secret in variables_of(resource):
            if secret:
                assert re.fullmatch(r"[1-9][0-9]*", secret["version"]), name
            elif re.search(r"PASS|TOKEN|KEY|SECRET", name):
                assert name.endswith(("_SECRET", "_VERSION")), "a job is told which secret, not what is in it"
                assert re.fullmatch(r"(projects/[^/]+/secrets/[^/]+|current)?", value), name


@every_option
def test_images_are_named_by_digest(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes), "google_cloud_run_v2_service", "google_cloud_run_v2_job"):
        assert "@sha256:" in container(resource)["image"]


@every_option
def test_everything_that_takes_labels_has_them(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for resource in resources(plan_of(kind, **changes)):
        for key in ("labels", "user_labels"):
            if key in resource.values and (resource.type, key) != ("google_monitoring_notification_channel", "labels"):
                assert {**(resource.values[key] or {})}.items() >= samples.LABELS.items(), resource.address
        for settings in resource.values.get("settings") or ():
            assert settings["user_labels"].items() >= samples.LABELS.items()


@every_option
def test_what_holds_data_is_protected_exactly_when_asked(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    protect = changes.get("protect", True)
    wanted = {
        "google_artifact_registry_repository": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_cloud_run_v2_service": ("deletion_protection", protect),
        "google_compute_disk": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_compute_instance_group_manager": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_logging_project_bucket_config": ("deletion_policy", "PREVENT" if protect else "DELETE"),
        "google_secret_manager_secret": ("deletion_protection", protect),
        "google_sql_database_instance": ("deletion_protection", protect),
        "google_storage_bucket": ("deletion_policy", "PREVENT" if protect else "DELETE"),
    }
    plan = plan_of(kind, **changes)
    seen = {r.address: r.values[wanted[r.type][0]] for r in resources(plan, *wanted)}
    assert seen == {r.address: wanted[r.type][1] for r in resources(plan, *wanted)}
    for instance in resources(plan, "google_sql_database_instance"):
        settings = block(instance.values["settings"])
        assert settings["deletion_protection_enabled"] is protect
        assert settings["retain_backups_on_delete"] is protect
    assert not any(bucket.values["force_destroy"] for bucket in resources(plan, "google_storage_bucket"))


def test_reads_of_patients_data_are_logged_where_it_lies(plan_of: Planner) -> None:
    configs = resources(plan_of("foundation"), "google_project_iam_audit_config")
    assert {c.values["service"] for c in configs} == {
        f"{name}.googleapis.com" for name in ("cloudsql", "compute", "secretmanager", "storage")
    }
    for config in configs:
        assert {log["log_type"] for log in config.values["audit_log_config"]} == {
            "ADMIN_READ",
            "DATA_READ",
            "DATA_WRITE",
        }
        assert not any(log["exempted_members"] for log in config.values["audit_log_config"])


@every_option
def test_every_alert_says_what_to_do_and_reaches_someone(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for alert in resources(plan_of(kind, **changes), "google_monitoring_alert_policy"):
        assert len(block(alert.values["documentation"])["content"]) > 40, alert.address
        assert alert.values["enabled"] in (None, True)


@every_option
def test_secrets_stay_in_their_region(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for secret in resources(plan_of(kind, **changes), "google_secret_manager_secret"):
        replicas = block(block(secret.values["replication"])["user_managed"])["replicas"]
        assert [replica["location"] for replica in replicas] == [samples.REGION]
        assert secret.values["version_destroy_ttl"] == "604800s"


@every_option
def test_jobs_are_never_retried_blindly(kind: str, changes: dict[str, Any], plan_of: Planner) -> None:
    for job in resources(plan_of(kind, **changes), "google_cloud_run_v2_job"):
        assert block(block(job.values["template"])["template"])["max_retries"] == 0


def test_a_clinic_sees_one_object_of_the_bucket_that_clinics_share(plan_of: Planner) -> None:
    members = resources(plan_of("clinic", restore=SHARED_BACKUP), "google_storage_bucket_iam_member")
    (reader,) = (member for member in members if ".lock" not in member.address)
    name = f"projects/_/buckets/{samples.NAMES.backup_bucket}/objects/imports/backup.zip"
    assert block(reader.values["condition"])["expression"] == f'resource.name == "{name}"'


# What the foundation makes, and what has no program yet.
LATER = (
    "backup", "verify", "drill", "rotate", "upgrade", "back", "prune", "rot", "sched", "backup-password",
)  # fmt: skip


def test_a_rotation_reaches_the_lock_and_no_state(plan_of: Planner) -> None:
    members = resources(plan_of("clinic"), "google_storage_bucket_iam_member")
    (lock,) = (member.values for member in members if member.values["bucket"] == samples.NAMES.state_bucket)
    name = f"projects/_/buckets/{samples.NAMES.state_bucket}/objects/{samples.ENVIRONMENT}/environment.lock"
    assert block(lock["condition"])["expression"] == f'resource.name == "{name}"'


def test_a_clinic_names_nothing_of_another(plan_of: Planner) -> None:
    """Every name of one clinic's resources, and every folder and path that it is given, is its own."""
    for name, other in (samples.CLINICS, samples.CLINICS[::-1]):
        changes = NORTH if name == "north" else {}
        values = str([dict(r.values) for r in resources(plan_of("clinic", **changes))])
        foreign = set(ClinicNames(environment=samples.ENVIRONMENT, clinic=other).as_tfvars().values())
        own = set(ClinicNames(environment=samples.ENVIRONMENT, clinic=name).as_tfvars().values())
        assert [word for word in foreign if word in values] == []
        assert f"clinics/{other}/" not in values
        not_here = {f"oe_{name}_scratch", *(f"oe-prod-{name}-{word}" for word in LATER)}
        assert {word for word in own if word in values} >= own - not_here
