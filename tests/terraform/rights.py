"""What a job, a service or a schedule could try in the applied stack, and whose work each of it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.environment.names import ClinicNames
from tests.terraform import samples

__all__ = ["Act", "acts", "expected"]

_FOLDERS = {
    "runs": "runs",
    "backups": "backups",
    "keys": "backups/repository/keys",
    "locks": "backups/repository/locks",
    "sets": "backups/sets",
}
Act = tuple[str, str, dict[str, Any] | None]
"""Method, path and body of a call."""

_PROJECT = f"projects/{samples.PROJECT}"
_BUCKET = samples.NAMES.backup_bucket
_INSTANCE = f"sqladmin.googleapis.com/v1/{_PROJECT}/instances/{samples.NAMES.database_instance}"
LOCK = "take the lock"
_USER = {"name": "probe", "password": "of no use"}
_READER = {"read backup_password", *(f"{act} {folder}" for act in ("get", "list") for folder in ("backups", "keys"))}
_LOCKS = {f"{act} locks" for act in ("write", "get", "list", "delete")}
_KEYS = {f"{act} keys" for act in ("write", "get", "list", "delete")}
_SETS = {f"{act} sets" for act in ("write", "get", "list", "delete")}
MAY: Mapping[str, set[str]] = {
    "back": {"read database_password", "write runs", "write backups", "write keys", *_READER, *_LOCKS, *_SETS},
    "init": {"read admin_password", "read database_password", "write runs", *_READER, *_LOCKS, "get sets", "list sets"},
    "prune": {"write runs", "write backups", "delete backups", *_READER, *_LOCKS, *_KEYS, *_SETS},
    "rot": {
        *(
            f"{act} {secret}_password"
            for act in ("read", "rotate")
            for secret in ("admin", "database", "redis", "backup")
        ),
        *(LOCK, "change web", "run redis", "write runs", "get sets", "list sets", *_READER, *_LOCKS, *_KEYS),
    },
    "sched": {"run nfs-init"},
    "web": {"read database_password", "read redis_password"},
}
"""What each of a clinic's accounts can do in its clinic; all else is refused, in other clinics everything.

The lock is the environment's."""
SHARED: Mapping[str, set[str]] = {
    "build": set(),
    "files": {"read redis_admin"},
    "prov": {
        "read redis_admin", "see instance", "list users", "make user", "remove user",
        *(f"{clinic}: {act}" for clinic in samples.CLINICS
          for act in ("read database_password", "read redis_password", "write runs", "get sets", "list sets")),
    },
}  # fmt: skip


def acts(who: str) -> dict[str, Act]:
    """What an account tries, by name; that of a clinic with the clinic in front. It writes objects of its own name."""
    found = {f"{clinic}: {what}": act for clinic in samples.CLINICS for what, act in _of_clinic(clinic, who)}
    return found | dict(_of_all())


def expected() -> dict[str, set[str]]:
    """Account by its short name → what it can do."""
    of_clinics = {
        f"{clinic}-{account}": {act if act == LOCK else f"{clinic}: {act}" for act in may}
        for clinic in samples.CLINICS
        for account, may in MAY.items()
    }
    return {f"oe-prod-{account}": may for account, may in {**of_clinics, **SHARED}.items()}


def _of_clinic(clinic: str, who: str) -> Iterator[tuple[str, Act]]:
    names = ClinicNames(environment=samples.ENVIRONMENT, clinic=clinic)
    for what in ("admin_password", "database_password", "redis_password", "backup_password"):
        yield f"read {what}", _read(getattr(names, f"{what}_secret"))
        path = f"secretmanager.googleapis.com/v1/{_PROJECT}/secrets/{getattr(names, f'{what}_secret')}:addVersion"
        yield f"rotate {what}", ("POST", path, {})
    yield "run nfs-init", _run(names.nfs_init_job)
    yield "change nfs-init", ("DELETE", f"run.googleapis.com/v2/{_jobs(names.nfs_init_job)}?validateOnly=true", None)
    service = f"run.googleapis.com/v2/{_PROJECT}/locations/{samples.REGION}/services/{names.service}"
    yield "change web", ("PATCH", f"{service}?validateOnly=true", {})
    yield "run redis", _run(names.redis_passwords_job)
    for folder, inside in _FOLDERS.items():
        place = f"clinics/{clinic}/{inside}/"
        item = f"storage/v1/b/{_BUCKET}/o/{(place + who).replace('/', '%2F')}"
        yield f"write {folder}", ("POST", f"upload/storage/v1/b/{_BUCKET}/o?uploadType=media&name={place}{who}", {})
        yield f"get {folder}", ("GET", item, None)
        yield f"list {folder}", ("GET", f"storage/v1/b/{_BUCKET}/o?prefix={place}", None)
        yield f"delete {folder}", ("DELETE", item, None)


def _of_all() -> Iterator[tuple[str, Act]]:
    yield "read redis_admin", _read(samples.NAMES.redis_admin_secret)
    yield "run provision", _run(samples.NAMES.provision_job)
    yield "see instance", ("GET", _INSTANCE, None)
    yield "delete instance", ("DELETE", _INSTANCE, None)
    yield "list users", ("GET", f"{_INSTANCE}/users", None)
    yield "make user", ("POST", f"{_INSTANCE}/users", _USER)
    yield "remove user", ("DELETE", f"{_INSTANCE}/users?name=probe&host=%25", None)
    yield "list every backup", ("GET", f"storage/v1/b/{_BUCKET}/o", None)
    state = f"upload/storage/v1/b/{samples.NAMES.state_bucket}/o?uploadType=media"
    yield LOCK, ("POST", f"{state}&name={samples.ENVIRONMENT}/environment.lock", {})
    yield "read the state", ("GET", f"storage/v1/b/{samples.NAMES.state_bucket}/o", None)
    yield "see who may do what", ("POST", f"cloudresourcemanager.googleapis.com/v3/{_PROJECT}:getIamPolicy", {})
    yield "list secrets", ("GET", f"secretmanager.googleapis.com/v1/{_PROJECT}/secrets", None)
    zone = f"{_PROJECT}/zones/{samples.REGION}-b"
    yield "list machines", ("GET", f"compute.googleapis.com/compute/v1/{zone}/instances", None)
    account = f"serviceAccounts/{samples.NAMES.provision_account}@{samples.PROJECT}.iam.gserviceaccount.com"
    yield "let others act as provision", ("POST", f"iam.googleapis.com/v1/{_PROJECT}/{account}:setIamPolicy", {})


def _read(secret: str) -> Act:
    return "GET", f"secretmanager.googleapis.com/v1/{_PROJECT}/secrets/{secret}/versions/1:access", None


def _jobs(job: str) -> str:
    return f"{_PROJECT}/locations/{samples.REGION}/jobs/{job}"


def _run(job: str) -> Act:
    return "POST", f"run.googleapis.com/v2/{_jobs(job)}:run", {}
