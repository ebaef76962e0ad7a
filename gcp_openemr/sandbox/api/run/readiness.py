"""Whether a service or a job is ready: conditions, and what Cloud Run finds out after it accepted a template.

Images that are missing and secrets that cannot be read leave the resource there, but not ready: its operation fails.
"""

from __future__ import annotations

from collections.abc import Iterator

from gcp_openemr.sandbox.api.artifactregistry import find_image, parse_image
from gcp_openemr.sandbox.api.iam import Iam, service_account
from gcp_openemr.sandbox.api.names import now, project_name, project_number
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.rules import ApiError, App, Json, Store, refuse
from gcp_openemr.sandbox.api.secretmanager import find_version

__all__ = ["outcome", "pending", "problem_of", "secret_problem"]


def pending(kind: str) -> Json:
    """A condition that is under way."""
    return {"type": kind, "state": "CONDITION_RECONCILING", "lastTransitionTime": now()}


def outcome(kind: str, problem: str = "", reason: str = "") -> Json:
    """A condition that holds, or failed; `reason` is one of the condition's common reasons (`CONTAINER_MISSING`, …)."""
    if not problem:
        return {"type": kind, "state": "CONDITION_SUCCEEDED", "lastTransitionTime": now()}
    told = {"message": problem, "severity": "ERROR", "lastTransitionTime": now()}
    return {"type": kind, "state": "CONDITION_FAILED", **told, **({"reason": reason} if reason else {})}


def problem_of(app: App, project: str, template: Json) -> tuple[str, str]:
    """Cloud Run's sentences and the condition's reason; ("", "") when everything is there."""
    for container in template.get("containers") or ():
        missing = _missing_image(app, str(container["image"]))
        if missing:
            return missing, "CONTAINER_MISSING"
    email = str(template["serviceAccount"])
    problems = []
    for place, secret, version in _secrets(template):
        path = secret if "/" in secret else f"projects/{project}/secrets/{secret}"
        problem = secret_problem(app.store, app.iam, path, version, email)
        if problem is not None:
            problems.append(f"{place}: {problem.message}")
    return "\n".join(problems), "SECRETS_ACCESS_CHECK_FAILED" if problems else ""


def _missing_image(app: App, reference: str) -> str:
    image = parse_image(reference)
    # Another registry's images cannot be known here; the runtime says what it cannot start.
    if image is None or app.store.get(project_name(image.project)) is None:
        return ""
    return "" if find_image(app.store, image) is not None else refuse("run.image", image=reference).message


def _secrets(template: Json) -> Iterator[tuple[str, str, str]]:
    """(place, secret, version) of variables and volumes; places as Cloud Run names them."""
    for index, container in enumerate(template.get("containers") or ()):
        for number, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueSource") or {}).get("secretKeyRef")
            if reference:
                place = f"spec.template.spec.containers[{index}].env[{number}].value_from.secret_key_ref.name"
                yield place, str(reference.get("secret") or ""), str(reference.get("version") or "latest")
    for number, volume in enumerate(template.get("volumes") or ()):
        secret = volume.get("secret") or {}
        for item in secret.get("items") or ([{}] if secret else []):
            place = f"spec.template.spec.volumes[{number}].secret"
            yield place, str(secret.get("secret") or ""), str(item.get("version") or "latest")


def secret_problem(store: Store, iam: Iam, secret: str, version: str, email: str) -> ApiError | None:
    """Why an account cannot have a version of `projects/p/secrets/s`, in Cloud Run's words."""
    parts = secret.split("/")
    project = project_by_number(store, parts[1])
    full = f"secretmanager.googleapis.com/projects/{project}/secrets/{parts[-1]}"
    numbered = f"projects/{project_number(project)}/secrets/{parts[-1]}/versions/{version}"
    if not iam.allows(service_account(email), "secretmanager.versions.access", f"{full}/versions/{version}"):
        return refuse("run.secret-denied", secret=numbered, email=email)
    try:
        found = find_version(store, full, version)
    except ApiError:
        return refuse("run.secret-missing", secret=numbered)
    state = found.body["state"]
    return None if state == "ENABLED" else refuse("run.secret-state", secret=found.body["name"], state=state)
