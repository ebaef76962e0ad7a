"""The names of everything an environment owns in its Google Cloud project; no other place makes one.

Environment and clinic names hold no hyphen, so the parts of a joined name can be read back from it and two
environments or clinics of one project cannot meet in one name. Bucket names are shared by the whole world; they
start with the project id, which is too.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["SHORT_NAME", "ClinicNames", "Names", "clinic_name_problem", "short_name_problem"]

SHORT_NAME = re.compile(r"[a-z][a-z0-9]{1,9}")

_PREFIX = "oe"
_ROLES = ("operations", "revisions", "secrets", "users")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Rule:
    """What Google, MySQL or Redis takes as the name of one kind of thing; `source` is where that is written."""

    kind: str
    pattern: re.Pattern[str]
    longest: int
    source: str
    refused: Callable[[str], bool] = lambda _: False


def _looks_like_google(name: str) -> bool:
    return name.startswith("goog") or "google" in name or "g00gle" in name


_BUCKET = _Rule(
    kind="a Cloud Storage bucket",
    pattern=re.compile(r"[a-z0-9][a-z0-9-]+[a-z0-9]"),
    longest=63,
    source="https://cloud.google.com/storage/docs/buckets#naming (dots left out: they ask for a verified domain)",
    refused=_looks_like_google,
)
_REPOSITORY = _Rule(
    kind="an Artifact Registry repository",
    pattern=re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?"),
    longest=63,
    source="https://cloud.google.com/artifact-registry/docs/repositories/create-repos",
)
_ACCOUNT = _Rule(
    kind="a service account",
    pattern=re.compile(r"[a-z]([a-z0-9-]{4,28}[a-z0-9])"),
    longest=30,
    source="https://cloud.google.com/iam/docs/service-accounts-create",
)
_POOL = _Rule(
    kind="a workload identity pool",
    pattern=re.compile(r"[a-z0-9-]{4,}"),
    longest=32,
    source="https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools/create",
    refused=lambda name: name.startswith("gcp-"),
)
_COMPUTE = _Rule(
    kind="a Compute Engine resource",
    pattern=re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
    longest=63,
    source="https://cloud.google.com/compute/docs/naming-resources",
)
_DATABASE_INSTANCE = _Rule(
    kind="a Cloud SQL instance",
    # The limit of 98 characters counts PROJECT:INSTANCE; a project id has at most 30.
    pattern=re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    longest=98 - 31,
    source="https://cloud.google.com/sql/docs/mysql/instance-settings",
)
_DNS_ZONE = _Rule(
    kind="a Cloud DNS zone",
    pattern=re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    longest=63,
    source="https://cloud.google.com/dns/docs/reference/rest/v1/managedZones",
)
_RUN = _Rule(
    kind="a Cloud Run service or job",
    # A job's executions and a service's revisions append to it; their names have 63 characters at most.
    pattern=re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    longest=49,
    source="https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/create",
)
_SECRET = _Rule(
    kind="a Secret Manager secret",
    pattern=re.compile(r"[A-Za-z0-9_-]+"),
    longest=255,
    source="https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/create",
)
_LOGGING = _Rule(
    kind="a log bucket or sink",
    pattern=re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*"),
    longest=100,
    source="https://cloud.google.com/logging/docs/reference/v2/rest/v2/projects.locations.buckets/create",
)
_SCHEMA = _Rule(
    kind="a MySQL schema",
    pattern=re.compile(r"[a-z][a-z0-9_]*"),
    longest=64,
    source="https://dev.mysql.com/doc/refman/8.0/en/identifier-length.html",
)
_DATABASE_USER = _Rule(
    kind="a MySQL user",
    pattern=re.compile(r"[a-z][a-z0-9_]*"),
    longest=32,
    source="https://dev.mysql.com/doc/refman/8.0/en/user-names.html",
)
_REDIS = _Rule(
    kind="a Redis user or key prefix",
    pattern=re.compile(r"[a-z][a-z0-9_]*:?"),
    longest=64,
    source="https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/ (no spaces, no glob signs)",
)
_SHARE_PATH = _Rule(
    kind="a directory of the share",
    pattern=re.compile(r"(/[a-z][a-z0-9]*)+"),
    longest=255,
    source="a path without anything to quote or climb with",
)
_PROJECT = _Rule(
    kind="a Google Cloud project id",
    pattern=re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]"),
    longest=30,
    source="https://cloud.google.com/resource-manager/docs/creating-managing-projects",
)

_ENVIRONMENT_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "state_bucket": _BUCKET,
        "backup_bucket": _BUCKET,
        "build_bucket": _BUCKET,
        "registry": _REPOSITORY,
        "builder": _ACCOUNT,
        "files_account": _ACCOUNT,
        "provision_account": _ACCOUNT,
        "planner_account": _ACCOUNT,
        "deployer_account": _ACCOUNT,
        "destroyer_account": _ACCOUNT,
        "ci_pool": _POOL,
        "network": _COMPUTE,
        "subnet": _COMPUTE,
        "router": _COMPUTE,
        "nat": _COMPUTE,
        "database_instance": _DATABASE_INSTANCE,
        "database_address": _COMPUTE,
        "files_instance": _COMPUTE,
        "files_address": _COMPUTE,
        "files_disk": _COMPUTE,
        "files_health": _COMPUTE,
        "files_snapshots": _COMPUTE,
        "dns_zone": _DNS_ZONE,
        "provision_job": _RUN,
        "redis_admin_secret": _SECRET,
        "log_bucket": _LOGGING,
        "log_sink": _LOGGING,
    }
)

_CLINIC_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "service": _RUN,
        "nfs_init_job": _RUN,
        "backup_job": _RUN,
        "verify_job": _RUN,
        "background_job": _RUN,
        "drill_job": _RUN,
        "prune_job": _RUN,
        "redis_passwords_job": _RUN,
        "rotate_job": _RUN,
        "upgrade_job": _RUN,
        "web_account": _ACCOUNT,
        "init_account": _ACCOUNT,
        "backup_account": _ACCOUNT,
        "prune_account": _ACCOUNT,
        "rotate_account": _ACCOUNT,
        "schedule_account": _ACCOUNT,
        "database_password_secret": _SECRET,
        "redis_password_secret": _SECRET,
        "admin_password_secret": _SECRET,
        "backup_password_secret": _SECRET,
        "schema": _SCHEMA,
        "staging_schema": _SCHEMA,
        "scratch_schema": _SCHEMA,
        "kept_schema": _SCHEMA,
        "database_user": _DATABASE_USER,
        "redis_user": _REDIS,
        "redis_prefix": _REDIS,
        "share_path": _SHARE_PATH,
    }
)


def short_name_problem(name: str) -> str:
    """What keeps `name` from naming an environment or a clinic, or ''.

    Ten characters at most: `oe-ENVIRONMENT-CLINIC-prune` has to fit into the 30 of a service account's id.
    """
    if SHORT_NAME.fullmatch(name):
        return ""
    return "needs 2 to 10 lower-case letters and digits, starting with a letter"


def clinic_name_problem(name: str) -> str:
    """What keeps `name` from naming a clinic, or ''.

    What is a clinic's is known by `oe-ENVIRONMENT-CLINIC`, so nothing of what its environment shares may begin so.
    """
    if problem := short_name_problem(name):
        return problem
    return (
        f"cannot be one of {', '.join(_parts())}, as parts of every environment are called" if name in _parts() else ""
    )


@functools.cache
def _parts() -> tuple[str, ...]:
    """What follows `oe-ENVIRONMENT-` in the names of an environment's own things."""
    made = Names(project="a-project", environment="test")
    parts = {name.partition(f"{made.registry}-")[2] for name in made.as_tfvars().values()}
    return tuple(sorted(parts - {""}))


def _check(kind_of_name: str, name: str, rule: _Rule) -> None:
    if len(name) > rule.longest or not rule.pattern.fullmatch(name) or rule.refused(name):
        raise ValueError(f"{name!r} cannot be the name of {rule.kind} ({kind_of_name}): see {rule.source}")


def _check_short(what: str, name: str, problem: str) -> None:
    if problem:
        raise ValueError(f"{name!r} cannot be the name of {what}: it {problem}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one environment's resources.

    Raises:
        ValueError: from `project` or `environment` comes a name that Google would refuse.
    """

    project: str
    environment: str
    state_bucket: str = dataclasses.field(init=False)
    backup_bucket: str = dataclasses.field(init=False)
    build_bucket: str = dataclasses.field(init=False)
    registry: str = dataclasses.field(init=False)
    builder: str = dataclasses.field(init=False)
    files_account: str = dataclasses.field(init=False)
    provision_account: str = dataclasses.field(init=False)
    planner_account: str = dataclasses.field(init=False)
    deployer_account: str = dataclasses.field(init=False)
    destroyer_account: str = dataclasses.field(init=False)
    ci_pool: str = dataclasses.field(init=False)
    network: str = dataclasses.field(init=False)
    subnet: str = dataclasses.field(init=False)
    router: str = dataclasses.field(init=False)
    nat: str = dataclasses.field(init=False)
    database_instance: str = dataclasses.field(init=False)
    database_address: str = dataclasses.field(init=False)
    files_instance: str = dataclasses.field(init=False)
    files_address: str = dataclasses.field(init=False)
    files_disk: str = dataclasses.field(init=False)
    files_health: str = dataclasses.field(init=False)
    files_snapshots: str = dataclasses.field(init=False)
    dns_zone: str = dataclasses.field(init=False)
    provision_job: str = dataclasses.field(init=False)
    redis_admin_secret: str = dataclasses.field(init=False)
    log_bucket: str = dataclasses.field(init=False)
    log_sink: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        _check("project", self.project, _PROJECT)
        _check_short("an environment", self.environment, short_name_problem(self.environment))
        own = f"{_PREFIX}-{self.environment}"
        _settle(
            self,
            _ENVIRONMENT_RULES,
            state_bucket=f"{self.project}-{own}-state",
            backup_bucket=f"{self.project}-{own}-backups",
            build_bucket=f"{self.project}-{own}-build",
            registry=own,
            builder=f"{own}-build",
            files_account=f"{own}-files",
            provision_account=f"{own}-prov",
            planner_account=f"{own}-plan",
            deployer_account=f"{own}-deploy",
            destroyer_account=f"{own}-destroy",
            ci_pool=f"{own}-ci",
            network=f"{own}-net",
            subnet=f"{own}-run",
            router=f"{own}-nat",
            nat=f"{own}-nat",
            database_instance=f"{own}-sql",
            database_address=f"{own}-sql",
            files_instance=f"{own}-files",
            files_address=f"{own}-files",
            files_disk=f"{own}-data",
            files_health=f"{own}-files",
            files_snapshots=f"{own}-data",
            dns_zone=f"{own}-sql",
            provision_job=f"{own}-provision",
            redis_admin_secret=f"{own}-redisroot",
            log_bucket=f"{own}-audit",
            log_sink=f"{own}-audit",
        )

    def as_tfvars(self) -> dict[str, str]:
        """Every resource name by its attribute, for the `names` variable of the foundation and the platform."""
        return {key: getattr(self, key) for key in _ENVIRONMENT_RULES}

    @property
    def roles(self) -> dict[str, str]:
        """Full names of the custom roles that the foundation makes, by what they are for; ids take no hyphens."""
        prefix = self.provision_account.replace("-", "_")
        return {what: f"projects/{self.project}/roles/{prefix}_{what}" for what in _ROLES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClinicNames:
    """The names of what one clinic owns in its environment.

    Raises:
        ValueError: from `environment` or `clinic` comes a name that Google, MySQL or Redis would refuse.
    """

    environment: str
    clinic: str
    service: str = dataclasses.field(init=False)
    nfs_init_job: str = dataclasses.field(init=False)
    backup_job: str = dataclasses.field(init=False)
    verify_job: str = dataclasses.field(init=False)
    background_job: str = dataclasses.field(init=False)
    drill_job: str = dataclasses.field(init=False)
    prune_job: str = dataclasses.field(init=False)
    redis_passwords_job: str = dataclasses.field(init=False)
    rotate_job: str = dataclasses.field(init=False)
    upgrade_job: str = dataclasses.field(init=False)
    web_account: str = dataclasses.field(init=False)
    init_account: str = dataclasses.field(init=False)
    backup_account: str = dataclasses.field(init=False)
    prune_account: str = dataclasses.field(init=False)
    rotate_account: str = dataclasses.field(init=False)
    schedule_account: str = dataclasses.field(init=False)
    database_password_secret: str = dataclasses.field(init=False)
    redis_password_secret: str = dataclasses.field(init=False)
    admin_password_secret: str = dataclasses.field(init=False)
    backup_password_secret: str = dataclasses.field(init=False)
    schema: str = dataclasses.field(init=False)
    staging_schema: str = dataclasses.field(init=False)
    scratch_schema: str = dataclasses.field(init=False)
    kept_schema: str = dataclasses.field(init=False)
    database_user: str = dataclasses.field(init=False)
    redis_user: str = dataclasses.field(init=False)
    redis_prefix: str = dataclasses.field(init=False)
    share_path: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        _check_short("an environment", self.environment, short_name_problem(self.environment))
        _check_short("a clinic", self.clinic, clinic_name_problem(self.clinic))
        own = f"{_PREFIX}-{self.environment}-{self.clinic}"
        inside = f"{_PREFIX}_{self.clinic}"
        _settle(
            self,
            _CLINIC_RULES,
            service=f"{own}-web",
            nfs_init_job=f"{own}-nfs-init",
            backup_job=f"{own}-backup",
            verify_job=f"{own}-verify",
            background_job=f"{own}-background",
            drill_job=f"{own}-drill",
            prune_job=f"{own}-prune",
            redis_passwords_job=f"{own}-redis-passwords",
            rotate_job=f"{own}-rotate",
            upgrade_job=f"{own}-upgrade",
            web_account=f"{own}-web",
            init_account=f"{own}-init",
            backup_account=f"{own}-back",
            prune_account=f"{own}-prune",
            rotate_account=f"{own}-rot",
            schedule_account=f"{own}-sched",
            database_password_secret=f"{own}-db-password",
            redis_password_secret=f"{own}-redis-password",
            admin_password_secret=f"{own}-admin-password",
            backup_password_secret=f"{own}-backup-password",
            schema=inside,
            staging_schema=f"{inside}_staging",
            scratch_schema=f"{inside}_scratch",
            kept_schema=f"{inside}_kept",
            database_user=inside,
            redis_user=inside,
            redis_prefix=f"{inside}:",
            share_path=f"/share/clinics/{self.clinic}/sites",
        )

    def as_tfvars(self) -> dict[str, str]:
        """Every name by its attribute, for the `names` variable of the clinic."""
        return {key: getattr(self, key) for key in _CLINIC_RULES}


def _settle(names: Names | ClinicNames, rules: Mapping[str, _Rule], **values: str) -> None:
    """Check each value by its rule and set it once, as `dataclasses` does in a frozen class."""
    for key, rule in rules.items():
        _check(key, values[key], rule)
        object.__setattr__(names, key, values[key])
