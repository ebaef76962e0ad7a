"""How each API says that something is missing, is there already, or is not allowed: Google's own sentences as rows.

They have {name} {id} {kind} {region} {project} {number} {numbered} {permission}. An API without a row of its own speaks
as `google.…` does.
"""

from __future__ import annotations

import dataclasses

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import host_of, id_of, path_of, project_number, project_of, segment
from gcp_openemr.sandbox.api.refusals import REFUSALS, refuse

__all__ = ["Wording", "wording_of"]


@dataclasses.dataclass(frozen=True)
class Wording:
    """The sentences of one API."""

    api: str

    def missing(self, name: str, kind: str = "") -> ApiError:
        """404 for a full name."""
        return self._error("not-found", name, kind)

    def duplicate(self, name: str, kind: str = "") -> ApiError:
        return self._error("exists", name, kind)

    def refused(self, name: str, permission: str) -> ApiError:
        """403 with the ErrorInfo that one-platform APIs attach."""
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": host_of(name),
            "metadata": {"permission": permission, "resource": path_of(name)},
        }
        error = self._error("denied", name, permission=permission)
        error.details = [info]
        return error

    def _error(self, what: str, name: str, kind: str = "", permission: str = "") -> ApiError:
        own = f"{self.api}.{what}"
        path, project = path_of(name), project_of(name)
        number = project_number(project)
        return refuse(
            own if own in REFUSALS else f"google.{what}",
            name=path,
            id=id_of(name),
            kind=kind,
            region=segment(name, "locations"),
            project=project,
            number=number,
            numbered=path.replace(f"projects/{project}/", f"projects/{number}/", 1),
            permission=permission,
        )


def wording_of(api: str) -> Wording:
    """The sentences of `run`, `compute`, …"""
    return Wording(api)
