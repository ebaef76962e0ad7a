"""Every check, in the order in which people read them: from this machine to the clinics."""

from __future__ import annotations

from gcp_openemr.doctor import buckets, health, identity, machine, names, permissions, places, project
from gcp_openemr.doctor.model import Check

__all__ = ["CHECKS"]

CHECKS = (
    Check(name="environment file", look=machine.environment_file),
    Check(name="python", look=machine.python),
    Check(name="terraform", look=machine.terraform, seconds=60),
    Check(name="credentials", look=identity.credentials),
    Check(name="identity", look=identity.identity),
    Check(name="project", look=project.project),
    Check(name="billing", look=project.billing),
    Check(name="APIs", look=project.apis),
    Check(name="permissions", look=permissions.permissions),
    Check(name="organisation", look=project.organisation),
    Check(name="region", look=places.region),
    Check(name="quotas", look=places.quotas),
    Check(name="names", look=names.names, seconds=60),
    Check(name="state bucket", look=buckets.state_bucket),
    Check(name="lock", look=buckets.environment_lock),
    Check(name="backup to restore", look=buckets.restore),
    Check(name="one place", look=places.colocation),
    Check(name="database", look=health.database),
    Check(name="files machine", look=health.files),
    Check(name="secrets", look=health.secrets),
    Check(name="pinned versions", look=health.pins, seconds=60),
    Check(name="rotation", look=health.rotation, seconds=60),
    Check(name="clinics", look=health.clinics, seconds=60),
)
