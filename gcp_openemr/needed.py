"""Which permissions each command needs of its caller: those of the resource types in terraform/, and the roles of CI.

This is the one table. Doctor asks for what is in it, and `bootstrap` makes custom roles of it for a pipeline's
identities. Tests deploy, plan and destroy in the sandbox as identities that have these permissions and no other. What
Google asks for and the sandbox does not (labels of some resources, operations) is from the pages of the methods
(https://cloud.google.com/iam/docs/permissions-reference).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Set

from gcp_openemr.assets import asset

__all__ = ["DELETES_DATA", "ROLES", "Role", "needed", "types_of", "types_of_the_stack", "types_with_a_row"]

# Resource type, collection, verbs: bare to read, + to deploy, - to destroy. `*` is what the commands call themselves,
# `state` what comes before the first plan.
_TABLE = """
*                                       artifactregistry.repositories -list
*                                       artifactregistry.tags list
*                                       cloudbuild.builds +create +get +list
*                                       cloudscheduler.jobs -list
*                                       cloudsql.backupRuns -delete -list
*                                       cloudsql.instances get -list
*                                       compute.addresses -list
*                                       compute.disks -list
*                                       compute.firewalls -list
*                                       compute.forwardingRules -list
*                                       compute.globalOperations +get -get
*                                       compute.healthChecks -list
*                                       compute.instanceGroupManagers -list
*                                       compute.instanceTemplates -list
*                                       compute.instances -list
*                                       compute.networks -list
*                                       compute.regionOperations +get -get
*                                       compute.resourcePolicies -list
*                                       compute.routers -list
*                                       compute.snapshots -delete -list
*                                       compute.subnetworks -list
*                                       compute.zoneOperations +get -get
*                                       dns.managedZones -list
*                                       iam.serviceAccounts -list
*                                       iam.workloadIdentityPools -list
*                                       logging.buckets -list
*                                       logging.logMetrics -list
*                                       logging.sinks -list
*                                       monitoring.alertPolicies -list
*                                       monitoring.notificationChannels -list
*                                       monitoring.uptimeCheckConfigs -list
*                                       resourcemanager.projects get
*                                       run.executions list +get -get
*                                       run.jobs +run +runWithOverrides -list -run -runWithOverrides
*                                       run.operations +get -get
*                                       run.services get +update -list
*                                       secretmanager.secrets get +update -list
*                                       secretmanager.versions list +add
*                                       storage.buckets get -list
*                                       storage.objects get list +create +delete -create -delete
state                                   storage.buckets +create +update -delete
artifact_registry_repository            artifactregistry.repositories get +create +update -delete
artifact_registry_repository_iam_member artifactregistry.repositories getIamPolicy +setIamPolicy -setIamPolicy
cloud_run_v2_job                        artifactregistry.repositories +downloadArtifacts
cloud_run_v2_job                        iam.serviceAccounts +actAs
cloud_run_v2_job                        run.jobs get +create +update -delete
cloud_run_v2_job_iam_member             run.jobs getIamPolicy +setIamPolicy -setIamPolicy
cloud_run_v2_service                    artifactregistry.repositories +downloadArtifacts
cloud_run_v2_service                    iam.serviceAccounts +actAs
cloud_run_v2_service                    run.routes +invoke
cloud_run_v2_service                    run.services get +create +update -delete
cloud_run_v2_service_iam_member         run.services getIamPolicy +setIamPolicy -setIamPolicy
cloud_scheduler_job                     cloudscheduler.jobs get +create +update +enable +pause -delete
cloud_scheduler_job                     iam.serviceAccounts +actAs
compute_address                         compute.addresses get +create +createInternal +setLabels -delete -deleteInternal
compute_address                         compute.subnetworks +use
compute_disk                            compute.disks get +create +setLabels -delete
compute_disk_resource_policy_attachment compute.disks get +addResourcePolicies -removeResourcePolicies
compute_firewall                        compute.firewalls get +create +update -delete
compute_firewall                        compute.networks +updatePolicy -updatePolicy
compute_forwarding_rule                 compute.addresses +use
compute_forwarding_rule                 compute.forwardingRules get +create +pscCreate +pscSetLabels +setLabels
compute_forwarding_rule                 compute.forwardingRules -delete -pscDelete
compute_forwarding_rule                 compute.networks +use
compute_forwarding_rule                 compute.subnetworks +use
compute_forwarding_rule                 servicedirectory.namespaces +create -delete
compute_forwarding_rule                 servicedirectory.services +create -delete
compute_health_check                    compute.healthChecks get +create +update +useReadOnly -delete
compute_instance                        compute.addresses +useInternal
compute_instance                        compute.disks +use
compute_instance                        compute.instances +setTags -delete -setDeletionProtection
compute_instance                        compute.instances get +create +setLabels +setMetadata +setServiceAccount
compute_instance                        iam.serviceAccounts +actAs
compute_instance_group_manager          compute.disks +create +use
compute_instance_group_manager          compute.instanceGroupManagers get +create +update -delete
compute_instance_group_manager          compute.instanceGroups +create -delete
compute_instance_group_manager          compute.instanceTemplates +useReadOnly
compute_instance_group_manager          compute.instances +create +setLabels +setMetadata +setServiceAccount +setTags
compute_instance_group_manager          compute.instances -delete
compute_instance_group_manager          compute.subnetworks +use
compute_instance_template               compute.instanceTemplates get +create -delete
compute_instance_template               iam.serviceAccounts +actAs
compute_network                         compute.networks get +create -delete
compute_per_instance_config             compute.instanceGroupManagers get +update -update
compute_region_instance_template        compute.instanceTemplates get +create -delete
compute_region_instance_template        iam.serviceAccounts +actAs
compute_resource_policy                 compute.resourcePolicies get +create +update +use -delete
compute_router                          compute.networks +use
compute_router                          compute.routers get +create -delete
compute_router_nat                      compute.routers get +update -update
compute_subnetwork                      compute.networks +updatePolicy
compute_subnetwork                      compute.subnetworks get +create +update +use -delete
dns_managed_zone                        dns.managedZones get +create +update -delete
dns_managed_zone                        dns.networks +bindPrivateDNSZone +targetWithPeeringZone
dns_record_set                          dns.changes +create +get -create -get
dns_record_set                          dns.resourceRecordSets list +create +update -delete
iam_workload_identity_pool              iam.workloadIdentityPools get +create +update -delete
iam_workload_identity_pool_provider     iam.workloadIdentityPoolProviders get +create +update -delete
iap_tunnel_instance_iam_member          iap.tunnelInstances getIamPolicy +setIamPolicy -setIamPolicy
logging_metric                          logging.logMetrics get +create +update -delete
logging_project_bucket_config           logging.buckets get +create +undelete +update -delete
logging_project_sink                    logging.sinks get +create +update -delete
monitoring_alert_policy                 monitoring.alertPolicies get +create +update -delete
monitoring_notification_channel         monitoring.notificationChannels get +create +update -delete
monitoring_uptime_check_config          monitoring.uptimeCheckConfigs get +create +update -delete
project_iam_audit_config                resourcemanager.projects getIamPolicy +setIamPolicy
project_iam_custom_role                 iam.roles get +create +undelete +update
project_iam_member                      resourcemanager.projects getIamPolicy +setIamPolicy -setIamPolicy
project_service                         serviceusage.operations +get
project_service                         serviceusage.services get +enable
secret_manager_secret                   secretmanager.secrets get +create +update -delete -update
secret_manager_secret_iam_member        secretmanager.secrets getIamPolicy +setIamPolicy -setIamPolicy
service_account                         iam.serviceAccounts get +create +update -delete
service_account_iam_member              iam.serviceAccounts getIamPolicy +setIamPolicy -setIamPolicy
sql_database_instance                   cloudsql.instances get +create +update -delete -update
sql_database_instance                   cloudsql.users +list +delete
storage_bucket                          storage.buckets get +create +update -delete -update
storage_bucket_iam_member               storage.buckets getIamPolicy +setIamPolicy -setIamPolicy
storage_managed_folder                  storage.managedFolders get +create -delete
storage_managed_folder_iam_member       storage.managedFolders getIamPolicy +setIamPolicy -setIamPolicy
"""

# What the commands that run jobs and move secrets call beside a deploy; a restore holds the environment's lock.
_JOBS = frozenset({"run.executions.get", "run.jobs.get", "run.jobs.run", "run.jobs.runWithOverrides"})
_JOBS |= {"storage.objects.get", "storage.objects.list"}
_SHOWN = frozenset({"cloudsql.backupRuns.list", "cloudsql.instances.get"})
_RESTORE = frozenset(f"storage.objects.{verb}" for verb in ("create", "delete"))
_RESTORE |= {"run.executions.list", "run.services.get", "secretmanager.secrets.get", "secretmanager.versions.list"}
_OF_A_MOMENT = frozenset(
    f"cloudsql.instances.{verb}" for verb in ("clone", "create", "delete", "export", "get", "list")
)
_OF_A_MOMENT |= {"cloudsql.backupRuns.list", "cloudsql.instances.update"}
_OF_A_MOMENT |= {f"storage.managedFolders.{verb}" for verb in ("create", "delete", "setIamPolicy")}
_LOOKED_AT = ("cloudsql.instances.get", "compute.instances.list", "monitoring.alertPolicies.list", "run.jobs.list")
_STATUS = (
    _SHOWN | {"cloudsql.instances.list"} | {*_LOOKED_AT, "monitoring.alerts.list", "run.jobs.get", "run.revisions.get"}
)
_STATUS |= {"run.executions.get", "run.executions.list"}
_STATUS |= {"run.services.get"}
_STATUS |= {f"secretmanager.{verb}" for verb in ("secrets.get", "versions.get", "versions.list")}
_STATUS |= {f"storage.{verb}" for verb in ("buckets.get", "objects.get", "objects.list")}
_LOCK = frozenset(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))
_ROTATE = _JOBS | _LOCK | {"secretmanager.secrets.get", "secretmanager.versions.list"}
_ROTATE |= {"run.executions.list", "run.revisions.get", "run.services.get"}

DELETES_DATA = frozenset(
    {
        "artifactregistry.repositories.delete", "cloudsql.backupRuns.delete", "cloudsql.databases.delete",
        "cloudsql.instances.delete", "compute.disks.delete", "compute.snapshots.delete", "logging.buckets.delete",
        "secretmanager.secrets.delete", "secretmanager.versions.destroy", "storage.buckets.delete",
    }
)  # fmt: skip
"""What takes records, documents, keys or passwords away for good. Objects are left to each bucket's own policy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """An identity of a pipeline: what it is for, and the commands that it runs (keys of `needed`)."""

    purpose: str
    commands: tuple[str, ...]

    @property
    def permissions(self) -> frozenset[str]:
        """On the project. Objects are not among them: of those each bucket has a policy of its own."""
        every = frozenset[str]().union(*(needed()[command] for command in self.commands))
        return frozenset(permission for permission in every if not permission.startswith("storage.objects."))


ROLES: Mapping[str, Role] = {
    "planner": Role(purpose="reads, to show what a deploy would change", commands=("plan", "status")),
    "deployer": Role(
        purpose="changes this environment and deletes no data",
        commands=("redeploy", "backup", "restore", "rotate", "upgrade", "status", "logs"),
    ),
    "destroyer": Role(purpose="takes this environment down", commands=("destroy", "backup")),
}
"""By its name. Whoever runs `bootstrap` makes them, and none of them can."""


@functools.cache
def needed() -> Mapping[str, frozenset[str]]:
    """Command → permissions. `redeploy` is a deploy on a foundation that is there already, and is left as it is.

    A deploy also takes away what its file names no more, or what is made anew, unless it holds data.
    """
    foundation, above = types_of("foundation"), types_of("platform") | types_of("clinic") | {"*"}
    plan, destroy = _marked("", types_of_the_stack() | {"*"}), _marked("-", above)
    redeploy = plan | _marked("+", above) | (destroy - DELETES_DATA)
    bootstrap = plan | _marked("+", foundation | {"state"}) | _LOCK
    return {
        "plan": plan,
        "bootstrap": bootstrap,
        "deploy": bootstrap | redeploy,
        "redeploy": redeploy,
        "backup": _JOBS | _SHOWN,
        "restore": _JOBS | _RESTORE,
        "point-in-time": _JOBS | _RESTORE | _OF_A_MOMENT,
        "recover": bootstrap | redeploy | _JOBS | {"secretmanager.versions.access"},
        "rotate": _ROTATE,
        "upgrade": redeploy | _JOBS,
        "destroy": plan | destroy,
        "destroy-foundation": plan | destroy | _marked("-", foundation | {"state"}),
        "status": _STATUS,
        "logs": frozenset({"logging.logEntries.list"}),
    }


@functools.cache
def types_of(root: str) -> Set[str]:
    """The resource types, without `google_`, of a root of terraform/: its own and those of the modules it wires."""
    folder = asset("terraform")
    wired = re.findall(r"module\('([\w-]+)'\)", (folder / root / "main.tf.j2").read_text(encoding="utf-8"))
    files = [
        *(folder / root).glob("*.tf*"),
        *(file for name in wired for file in (folder / "modules" / name).glob("*.tf")),
    ]
    texts = (file.read_text(encoding="utf-8") for file in files)
    return frozenset(found for text in texts for found in re.findall(r'^resource "google_(\w+)"', text, re.MULTILINE))


def types_of_the_stack() -> Set[str]:
    return types_of("foundation") | types_of("platform") | types_of("clinic")


def types_with_a_row() -> Set[str]:
    return frozenset(line.split()[0] for line in _TABLE.strip().splitlines())


def _marked(mark: str, kinds: Set[str]) -> frozenset[str]:
    rows = [line.split() for line in _TABLE.strip().splitlines()]
    return frozenset(
        f"{collection}.{verb.removeprefix(mark)}"
        for kind, collection, *verbs in rows
        if kind in kinds
        for verb in verbs
        if (verb[0] if verb[0] in "+-" else "") == mark
    )
