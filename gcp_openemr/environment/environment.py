"""The whole environment as one frozen value: what every command starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gcp_openemr.environment.ci import Ci
from gcp_openemr.environment.model import (
    Alerts,
    Audit,
    Background,
    Backups,
    Database,
    Files,
    Network,
    OpenEmr,
    Restore,
    Rotation,
)
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

    @property
    def is_reachable(self) -> bool:
        """Whether the service takes calls from outside the project's networks."""
        return self.service.ingress_settings == "all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """One deployment in one project and region.

    `protect` asks for deletion protection everywhere. `service` is what a clinic without settings of its own gets;
    `clinics` is in the order of the file and never empty.
    """

    name: str
    project: str
    region: str
    zone: str
    profile: Profile
    labels: Mapping[str, str]
    protect: bool
    openemr: OpenEmr
    service: Service
    clinics: Mapping[str, Clinic]
    database: Database
    network: Network
    files: Files
    alerts: Alerts
    audit: Audit
    background: Background
    backups: Backups
    rotation: Rotation
    ci: Ci | None
    names: Names

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and should be known all the same, one sentence each."""
        line = self.openemr.line
        support = (f"{line.end_of_support_reason}.",) if line.end_of_support else ()
        drive = (
            f"The backup of clinic {clinic.name} comes from Google Drive: make sure that your agreement with Google "
            "about health data covers Drive too."
            for clinic in self.clinics.values()
            if clinic.restore and clinic.restore.source == "drive"
        )
        gaps = (
            f'[backups] backup = "{self.backups.backup}" leaves days without a set, so no alert comes when one is '
            "missing, only when its job fails. One comes with a time of each day, which ends in * * *."
        )
        return (*support, *drive, *(() if self.backups.is_daily or not self.backups.scheduled else (gaps,)))

    @property
    def lasting_labels(self) -> dict[str, str]:
        """The labels of what outlives a teardown: without the day after which the rest expires."""
        return {key: value for key, value in self.labels.items() if key != "expires"}

    def default_clinic(self, name: str) -> Clinic:
        """A clinic of this name that the file does not describe, with the settings of `[service]` and `[openemr]`."""
        return Clinic(name=name, service=self.service, admin_user=self.openemr.admin_user, restore=None)

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
        """The resource names of a clinic, be it in the file or not.

        Raises:
            UsageError: no clinic can have this name.
        """
        try:
            return ClinicNames(environment=self.name, clinic=name)
        except ValueError as error:
            raise UsageError(f"{error}.", do=f"The clinics of {self.name} are: {', '.join(self.clinics)}.") from error
