"""What Cloud Run finds out after it accepted a template: images that are missing, secrets that cannot be read.

The resource is there then, but not ready, and its operation fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gcp_openemr.sandbox.api.artifactregistry import find_image, parse_image
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.iam import service_account
from gcp_openemr.sandbox.api.names import project_name, project_number
from gcp_openemr.sandbox.api.projects import project_by_number
from gcp_openemr.sandbox.api.secretmanager import read_version
from gcp_openemr.sandbox.interfaces import Json

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__ = ["problem_of"]


def problem_of(app: App, project: str, template: Json) -> tuple[str, str]:
    """Cloud Run's sentences and the condition's reason; ("", "") when everything is there."""
    for container in template.get("containers") or ():
        missing = _missing_image(app, str(container["image"]))
        if missing:
            return missing, "CONTAINER_MISSING"
    email = str(template["serviceAccount"])
    problems = []
    for place, secret, version in _secrets(template):
        problem = _secret_problem(app, project, secret, version, email)
        if problem:
            problems.append(f"{place}: {problem}")
    return "\n".join(problems), "SECRETS_ACCESS_CHECK_FAILED" if problems else ""


def _missing_image(app: App, reference: str) -> str:
    image = parse_image(reference)
    # Another registry's images cannot be known here; the runtime says what it cannot start.
    if image is None or app.store.get(project_name(image.project)) is None:
        return ""
    return "" if find_image(app.store, image) is not None else f"Image '{reference}' not found."


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


def _secret_problem(app: App, project: str, secret: str, version: str, email: str) -> str:
    """Why the account that will run may not read the version, or ""."""
    path = secret if "/" in secret else f"projects/{project}/secrets/{secret}"
    parts = path.split("/")
    parts[1] = project_by_number(app.store, parts[1])
    full = f"secretmanager.googleapis.com/{'/'.join(parts)}"
    numbered = f"projects/{project_number(parts[1])}/secrets/{parts[-1]}/versions/{version}"
    permission = "secretmanager.versions.access"
    if not app.iam.allows(service_account(email), permission, f"{full}/versions/{version}"):
        return (
            f"Permission denied on secret: {numbered} for Revision service account {email}. The service account used "
            "must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the "
            "secret, project or higher level."
        )
    try:
        read_version(app.store, full, version)
    except ApiError as error:
        return f"Secret {numbered} was not found" if error.code == 404 else error.message
    return ""
