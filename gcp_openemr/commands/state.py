"""Terraform's state: the bucket that holds it, and what stands in it without rendering anything."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from gcp_openemr.commands.context import Context
from gcp_openemr.errors import CloudRefused
from gcp_openemr.variables import services_of

__all__ = [
    "deployed",
    "ensure_apis",
    "ensure_bucket",
    "exists",
    "holdings",
    "known_clinics",
    "modules",
    "outputs",
    "protected",
    "terraform_version",
    "unlock",
    "version",
]

_ENABLING_SECONDS = 600.0
_POLL_SECONDS = 2.0


def ensure_apis(context: Context) -> None:
    """Enable the APIs that the stack calls and the project lacks. Terraform comes too late: it reads through them.

    Raises:
        CloudRefused: Google does not enable them in time.
    """
    project = f"v1/projects/{context.environment.project}"
    names = [f"{project.removeprefix('v1/')}/services/{service}" for service in services_of(context.environment)]
    found = context.cloud.ask("serviceusage", f"{project}/services:batchGet", names=names)["services"]
    missing = [service["config"]["name"] for service in found if service["state"] != "ENABLED"]
    if not missing:
        return
    end = time.monotonic() + _ENABLING_SECONDS
    operation = context.cloud.ask("serviceusage", f"{project}/services:batchEnable", body={"serviceIds": missing})
    while not operation.get("done"):
        if time.monotonic() > end:
            raise CloudRefused(f"Google did not enable {', '.join(missing)}.", do="Run deploy again in some minutes.")
        time.sleep(_POLL_SECONDS)
        operation = context.cloud.ask("serviceusage", f"v1/{operation['name']}")
    if "error" in operation:
        raise CloudRefused(operation["error"]["message"], do="Enable the APIs in the Google Cloud console.")


def ensure_bucket(context: Context) -> None:
    """Make the state bucket where it is missing: versioned, closed to the public. The foundation adopts it.

    One that is there already is locked down alike before anything is written to it.

    Raises:
        CloudRefused: the name is taken by someone else's project, be it one that would let us in.
    """
    client = context.cloud.storage
    name = context.environment.names.state_bucket
    found = client.lookup_bucket(name)
    if found is None:
        bucket = Bucket(client, name)
        _lock_down(bucket)
        bucket.labels = context.environment.lasting_labels
        try:
            client.create_bucket(bucket, location=context.environment.region)
            return
        except Conflict as error:
            found = client.lookup_bucket(name)
            if found is None:
                raise _foreign(name) from error
    if str(found.project_number) != _project_number(context):
        raise _foreign(name)
    if not (found.versioning_enabled and found.iam_configuration.public_access_prevention == "enforced"):
        _lock_down(found)
        found.patch()


def _lock_down(bucket: Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"


def _foreign(name: str) -> CloudRefused:
    return CloudRefused(f"Bucket {name} belongs to another project.", do="Choose another environment name.")


def _project_number(context: Context) -> str:
    found = context.cloud.ask("cloudresourcemanager", f"v3/projects/{context.environment.project}")
    return str(found["name"]).rpartition("/")[2]


def exists(context: Context) -> bool:
    return context.cloud.storage.lookup_bucket(context.environment.names.state_bucket) is not None


def outputs(context: Context, path: str) -> dict[str, Any] | None:
    """Outputs in the state of a root (`platform`, `clinics/main`), or None when it was never applied."""
    state = _read(context, path)
    if not state.get("resources"):
        return None
    return {name: output["value"] for name, output in state["outputs"].items()}


def terraform_version(context: Context) -> str | None:
    """The Terraform that wrote the foundation's state last; None before the first."""
    return _read(context, "foundation").get("terraform_version")


def version(context: Context, path: str) -> tuple[str, int]:
    """Lineage and serial of the state of a root; ('', 0) where there is none."""
    state = _read(context, path)
    return str(state.get("lineage", "")), int(state.get("serial", 0))


def deployed(context: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Address and attributes of every resource in the states of all roots."""
    for root in ("foundation", "platform", *(f"clinics/{name}" for name in known_clinics(context))):
        for resource in _read(context, root).get("resources", ()):
            if resource["mode"] != "managed":
                continue
            address = ".".join(filter(None, [root, resource.get("module"), resource["type"], resource["name"]]))
            for instance in resource["instances"]:
                yield address + _key(instance), instance["attributes"]


def holdings(context: Context, path: str) -> set[tuple[str, str]]:
    """Type and name of everything in the state of a root; of a binding the member."""
    found: set[tuple[str, str]] = set()
    for resource in _read(context, path).get("resources", ()):
        for instance in resource["instances"] if resource["mode"] == "managed" else ():
            values = instance["attributes"]
            last = str(values.get("id") or "").rpartition("/")[2]
            found |= {(resource["type"], str(name)) for name in (last, values.get("name"), values.get("member"))}
    return found


def modules(context: Context, path: str) -> set[str]:
    """The addresses of the modules in the state of a root, and of the resources that are in none."""
    resources = [one for one in _read(context, path).get("resources", ()) if one["mode"] == "managed"]
    return {
        ".".join(one["module"].split(".")[:2]).partition("[")[0] if "module" in one else f"{one['type']}.{one['name']}"
        for one in resources
    }


def protected(context: Context, path: str) -> set[str]:
    """The addresses of what refuses its deletion, in the state of a root."""
    return {
        ".".join(filter(None, [resource.get("module"), resource["type"], resource["name"]])) + _key(instance)
        for resource in _read(context, path).get("resources", [])
        for instance in resource["instances"]
        if _protects(instance["attributes"])
    }


def known_clinics(context: Context) -> list[str]:
    """Clinics that have something in their state, also those that the environment file names no more."""
    prefix = f"{context.environment.name}/clinics/"
    bucket = context.environment.names.state_bucket
    names = [
        b.name for b in context.cloud.storage.list_blobs(bucket, prefix=prefix) if b.name.endswith("/default.tfstate")
    ]
    clinics = [name.removeprefix(prefix).removesuffix("/default.tfstate") for name in names]
    return [clinic for clinic in clinics if outputs(context, f"clinics/{clinic}") is not None]


def unlock(context: Context, path: str, lock: str) -> None:
    """Take Terraform's lock off the state of a root, if it is still the one of that id: the object's generation."""
    bucket = context.cloud.storage.bucket(context.environment.names.state_bucket)
    with contextlib.suppress(NotFound, PreconditionFailed):
        blob = bucket.blob(f"{context.environment.name}/{path}/default.tflock")
        blob.delete(if_generation_match=int(lock))


def _read(context: Context, path: str) -> dict[str, Any]:
    bucket = context.cloud.storage.bucket(context.environment.names.state_bucket)
    try:
        state = json.loads(bucket.blob(f"{context.environment.name}/{path}/default.tfstate").download_as_bytes())
    except NotFound:
        return {}
    return state if isinstance(state, dict) else {}


def _key(instance: Mapping[str, Any]) -> str:
    key = instance.get("index_key")
    return f"[{json.dumps(key)}]" if key is not None else ""


def _protects(value: Any) -> bool:
    if isinstance(value, list):
        return any(_protects(item) for item in value)
    if not isinstance(value, dict):
        return False
    if value.get("deletion_protection") is True or value.get("deletion_protection_enabled") is True:
        return True
    return value.get("deletion_policy") == "PREVENT" or any(_protects(v) for v in value.values() if isinstance(v, list))
