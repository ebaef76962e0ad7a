"""Names that are taken: by what is not in this environment's state, or by what was deleted and is still kept."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound

from gcp_openemr.commands import state
from gcp_openemr.doctor.buckets import is_foreign
from gcp_openemr.doctor.examine import is_disabled
from gcp_openemr.doctor.model import Finding, Subject, failed, not_visible, ok, warning

__all__ = ["KINDS", "NOT_GOOGLES", "names"]

_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What can carry a name: where Google would show it, and what it is in Terraform's state."""

    types: frozenset[str]
    api: str
    path: str


def _kind(types: str, api: str, path: str) -> Kind:
    return Kind(types=frozenset(f"google_{name}" for name in types.split()), api=api, path=path)


_ACCOUNT = _kind(
    "service_account", "iam", "v1/projects/{project}/serviceAccounts/{name}@{project}.iam.gserviceaccount.com"
)
_ADDRESS = _kind("compute_address", "compute", "compute/v1/projects/{project}/regions/{region}/addresses/{name}")
_BUCKET = _kind("storage_bucket", "storage", "storage/v1/b/{name}")
_JOB = _kind("cloud_run_v2_job", "run", "v2/projects/{project}/locations/{region}/jobs/{name}")
_ROUTER = _kind("compute_router", "compute", "compute/v1/projects/{project}/regions/{region}/routers/{name}")
_SECRET = _kind("secret_manager_secret", "secretmanager", "v1/projects/{project}/secrets/{name}")

KINDS: Mapping[str, Kind] = {
    "backup_bucket": _BUCKET,
    "build_bucket": _BUCKET,
    "registry": _kind(
        "artifact_registry_repository",
        "artifactregistry",
        "v1/projects/{project}/locations/{region}/repositories/{name}",
    ),
    "builder": _ACCOUNT,
    "files_account": _ACCOUNT,
    "provision_account": _ACCOUNT,
    "planner_account": _ACCOUNT,
    "deployer_account": _ACCOUNT,
    "destroyer_account": _ACCOUNT,
    "ci_pool": _kind(
        "iam_workload_identity_pool", "iam", "v1/projects/{project}/locations/global/workloadIdentityPools/{name}"
    ),
    "network": _kind("compute_network", "compute", "compute/v1/projects/{project}/global/networks/{name}"),
    "subnet": _kind(
        "compute_subnetwork", "compute", "compute/v1/projects/{project}/regions/{region}/subnetworks/{name}"
    ),
    "router": _ROUTER,
    "database_instance": _kind("sql_database_instance", "sqladmin", "v1/projects/{project}/instances/{name}"),
    "database_address": _ADDRESS,
    "files_instance": _kind(
        "compute_instance_group_manager",
        "compute",
        "compute/v1/projects/{project}/zones/{zone}/instanceGroupManagers/{name}",
    ),
    "files_health": _kind(
        "compute_health_check", "compute", "compute/v1/projects/{project}/global/healthChecks/{name}"
    ),
    "files_snapshots": _kind(
        "compute_resource_policy", "compute", "compute/v1/projects/{project}/regions/{region}/resourcePolicies/{name}"
    ),
    "files_address": _ADDRESS,
    "files_disk": _kind("compute_disk", "compute", "compute/v1/projects/{project}/zones/{zone}/disks/{name}"),
    "dns_zone": _kind("dns_managed_zone", "dns", "dns/v1/projects/{project}/managedZones/{name}"),
    "provision_job": _JOB,
    "redis_admin_secret": _SECRET,
    "log_bucket": _kind(
        "logging_project_bucket_config", "logging", "v2/projects/{project}/locations/{region}/buckets/{name}"
    ),
    "log_sink": _kind("logging_project_sink", "logging", "v2/projects/{project}/sinks/{name}"),
    "service": _kind("cloud_run_v2_service", "run", "v2/projects/{project}/locations/{region}/services/{name}"),
    **dict.fromkeys(
        (
            "nfs_init_job",
            "backup_job",
            "verify_job",
            "background_job",
            "drill_job",
            "prune_job",
            "redis_passwords_job",
            "rotate_job",
            "upgrade_job",
        ),
        _JOB,
    ),
    **dict.fromkeys(
        ("web_account", "init_account", "backup_account", "prune_account", "rotate_account", "schedule_account"),
        _ACCOUNT,
    ),
    "database_password_secret": _SECRET,
    "redis_password_secret": _SECRET,
    "admin_password_secret": _SECRET,
    "backup_password_secret": _SECRET,
}
"""Attribute of `Names` and `ClinicNames` → its kind."""

NOT_GOOGLES = frozenset(
    {
        "database_user",
        "nat",  # a part of its router
        "redis_prefix",
        "redis_user",
        "kept_schema",
        "schema",
        "scratch_schema",
        "share_path",
        "staging_schema",
        "state_bucket",  # a check of its own
    }
)
"""Attributes that name nothing in the project by itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A name the environment wants, and where to look who has it."""

    kind: Kind
    name: str
    path: str


class _Seen(enum.Enum):
    """What Google shows under a name. Where an API is not enabled yet, nothing can have one."""

    FREE = enum.auto()
    TAKEN = enum.auto()
    FOREIGN = enum.auto()
    UNSEEN = enum.auto()


def names(subject: Subject) -> Iterator[Finding]:
    wanted = list(_wanted(subject))
    ours = _ours(subject)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = list(pool.map(lambda one: _look(subject, one), wanted))
    strange = [
        f"{_title(one.kind)} {one.name}" + (" (somebody else's)" if state_of is _Seen.FOREIGN else "")
        for one, state_of in zip(wanted, seen, strict=True)
        if state_of in (_Seen.TAKEN, _Seen.FOREIGN) and not any((kind, one.name) in ours for kind in one.kind.types)
    ]
    unseen = seen.count(_Seen.UNSEEN)
    if unseen:
        yield not_visible(f"this identity may not see {unseen} of {len(wanted)} names", do="Ask for roles/viewer.")
    if strange:
        yield failed(
            f"{len(strange)} names are taken by something that is not in this environment's state",
            do="Choose another name in [environment]; or let deploy adopt it, if it has this environment's labels.",
            items=strange,
        )
    else:
        yield ok(f"{len(wanted) - unseen} names are free or this environment's own")
    yield from _kept(subject)


def _wanted(subject: Subject) -> Iterator[_Wanted]:
    environment = subject.environment
    named: list[dict[str, str]] = [environment.names.as_tfvars()]
    named += [environment.clinic_names(clinic).as_tfvars() for clinic in environment.clinics]
    place = {"project": environment.project, "region": environment.region, "zone": environment.zone}
    for table in named:
        for attribute, name in table.items():
            if attribute in KINDS:
                kind = KINDS[attribute]
                yield _Wanted(kind=kind, name=name, path=kind.path.format(name=name, **place))


def _ours(subject: Subject) -> set[tuple[str, str]]:
    """Type and name of everything in the environment's states."""
    context = subject.context
    if not state.exists(context):
        return set()
    found: set[tuple[str, str]] = set()
    for address, attributes in state.deployed(context):
        kind = next(part for part in address.split(".") if part.startswith("google_"))
        last = str(attributes.get("id") or "").rpartition("/")[2].partition("@")[0]
        found |= {(kind, last), (kind, str(attributes.get("name")))}
    return found


def _look(subject: Subject, one: _Wanted) -> _Seen:
    try:
        subject.cloud.ask(one.kind.api, one.path)
    except NotFound:
        return _Seen.FREE
    except Forbidden as error:
        if one.kind is _BUCKET:
            # The names of buckets are the whole world's.
            return _Seen.FOREIGN if is_foreign(subject, error) else _Seen.UNSEEN
        return _Seen.FREE if is_disabled(error) else _Seen.UNSEEN
    return _Seen.TAKEN


def _title(kind: Kind) -> str:
    return min(kind.types, key=len).removeprefix("google_").replace("_", " ")


def _kept(subject: Subject) -> Iterator[Finding]:
    """Custom roles stay when the rest goes; one deleted by hand keeps its id.

    https://cloud.google.com/iam/docs/creating-custom-roles#deleting-custom-role
    """
    for name in subject.environment.names.roles.values():
        role = name.rpartition("/")[2]
        try:
            found: dict[str, Any] = subject.cloud.ask("iam", f"v1/{name}")
        except (NotFound, Forbidden):
            continue
        if found.get("deleted"):
            yield warning(
                f"custom role {role} was deleted and is kept; its id cannot be used for another",
                do="A deploy brings it back within 7 days of its deletion; then Google keeps the id for 30 more, in "
                "which an environment of another name can be deployed. By hand: "
                f"gcloud iam roles undelete {role} --project={subject.project}",
            )
