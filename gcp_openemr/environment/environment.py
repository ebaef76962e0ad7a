"""The whole environment as one frozen value: what every command starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gcp_openemr.environment.model import Database, Files, Network, OpenEmr, Restore
from gcp_openemr.environment.names import ClinicNames, Names
from gcp_openemr.environment.profiles import Profile
from gcp_openemr.environment.service import Service
from gcp_openemr.errors import UsageError

__all__ = ["Clinic", "Environment"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clinic:
    """One OpenEMR of the environment, its settings resolved: own value, else `[service]`, else the profile's."""

    name: str
    service: Service
    admin_user: str
    restore: Restore | None

    @property
    def public_url(self) -> str:
        """The address people use, or '' where none is set."""
        return self.service.public_url or ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """One deployment in one project and region.

    `protect` asks for deletion protection everywhere, `database_backups` for Cloud SQL's own backups and
    point-in-time recovery. `clinics` is in the order of the file and never empty.
    """

    name: str
    project: str
    region: str
    zone: str
    profile: Profile
    labels: Mapping[str, str]
    protect: bool
    openemr: OpenEmr
    clinics: Mapping[str, Clinic]
    database: Database
    database_backups: bool
    network: Network
    files: Files
    names: Names

    def clinic(self, name: str) -> Clinic:
        """The clinic of this name.

        Raises:
            UsageError: there is none.
        """
        if name not in self.clinics:
            raise UsageError(
                f"Environment {self.name} has no clinic {name!r}.",
                do=f"Its clinics are: {', '.join(self.clinics)}.",
            )
        return self.clinics[name]

    def clinic_names(self, name: str) -> ClinicNames:
        """The resource names of the clinic of this name.

        Raises:
            UsageError: there is none.
        """
        return ClinicNames(environment=self.name, clinic=self.clinic(name).name)
