"""Which permissions each command needs of its caller, on the project.

`plan`, `deploy` and `destroy` are proven against the sandbox, which asks for them as Google does: a test deploys and
destroys as an identity that has these and no other. What Google asks for beyond that is from the reference page of each
method (https://cloud.google.com/iam/docs/permissions-reference) and stands below as `_BESIDE`. The rows of commands
that are not there yet say what their design calls.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NEEDED"]


def _permissions(text: str) -> frozenset[str]:
    """`service.kind verb verb` lines → `service.kind.verb`."""
    rows = [line.split() for line in text.strip().splitlines()]
    return frozenset(f"{kind}.{verb}" for kind, *verbs in rows for verb in verbs)


_PLAN = _permissions("""
artifactregistry.repositories get getIamPolicy
artifactregistry.tags list
cloudsql.instances get
compute.addresses get
compute.disks get
compute.firewalls get
compute.forwardingRules get
compute.instances get
compute.networks get
compute.routers get
compute.subnetworks get
dns.managedZones get
dns.resourceRecordSets list
iam.roles get
iam.serviceAccounts get
resourcemanager.projects get getIamPolicy
run.jobs get
run.services get getIamPolicy
secretmanager.secrets get getIamPolicy
secretmanager.versions list
serviceusage.services get
storage.buckets get getIamPolicy
storage.managedFolders get getIamPolicy
storage.objects get list
""")

_DEPLOY = _permissions("""
artifactregistry.repositories create setIamPolicy update
cloudbuild.builds create get list
cloudsql.instances create update
compute.addresses create
compute.disks create
compute.firewalls create update
compute.forwardingRules create
compute.instances create
compute.networks create
compute.routers create update
compute.subnetworks create update
dns.changes create get
dns.managedZones create
iam.roles create update
iam.serviceAccounts actAs create update
resourcemanager.projects setIamPolicy
run.executions get
run.jobs create run runWithOverrides update
run.operations get
run.services create setIamPolicy update
secretmanager.secrets create setIamPolicy update
secretmanager.versions add
serviceusage.services enable
storage.buckets create setIamPolicy update
storage.managedFolders create setIamPolicy
storage.objects create delete
""")

_DESTROY = _permissions("""
cloudsql.instances delete update
compute.addresses delete
compute.disks delete
compute.firewalls delete
compute.forwardingRules delete
compute.instances delete setDeletionProtection
compute.networks delete
compute.routers delete update
compute.subnetworks delete
dns.changes create get
dns.managedZones delete
iam.roles delete
iam.serviceAccounts delete
resourcemanager.projects setIamPolicy
run.jobs delete
run.operations get
run.services delete setIamPolicy
secretmanager.secrets delete setIamPolicy update
storage.managedFolders delete setIamPolicy
storage.objects create delete
""")

# Asked for by Google and not by the sandbox: operations, labels, and the use of one resource by another.
_BESIDE = _permissions("""
compute.addresses createInternal setLabels use useInternal
compute.disks setLabels use
compute.forwardingRules pscCreate setLabels
compute.globalOperations get
compute.instances setLabels setMetadata setServiceAccount setTags
compute.networks updatePolicy use
compute.regionOperations get
compute.subnetworks use
compute.zoneOperations get
dns.networks bindPrivateDNSZone
dns.resourceRecordSets create update
serviceusage.operations get
""")

_GONE = _permissions("""
compute.addresses deleteInternal
compute.forwardingRules pscDelete
compute.globalOperations get
compute.networks updatePolicy
compute.regionOperations get
compute.zoneOperations get
dns.resourceRecordSets delete
""")

_JOBS = _permissions("""
run.executions get
run.jobs get run runWithOverrides
storage.objects get list
""")

_ROTATE = _permissions("""
run.operations get
run.services get update
secretmanager.secrets get update
secretmanager.versions access add destroy disable enable list
storage.objects create delete
""")

NEEDED: Mapping[str, frozenset[str]] = {
    "plan": _PLAN,
    "deploy": _PLAN | _DEPLOY | _BESIDE,
    "backup": _JOBS,
    "rotate": _PLAN | _DEPLOY | _BESIDE | _JOBS | _ROTATE,
    "destroy": _PLAN | _DESTROY | _GONE,
}
"""Command → permissions. A rotation ends in an apply, so it needs what a deploy needs."""
