"""What Google keeps for some days after its deletion under a name that nothing else can take meanwhile.

Terraform's provider brings custom roles back by itself; of what is here it finds the name taken, and fails.
"""

from __future__ import annotations

from google.api_core.exceptions import Forbidden, NotFound

from gcp_openemr.clients import Cloud
from gcp_openemr.environment import Environment

__all__ = ["bring_back"]

# API and path; the page of each API's `undelete` is its source.
_KEPT = (
    ("logging", "v2/projects/{project}/locations/{region}/buckets/{log_bucket}"),
    ("iam", "v1/projects/{project}/locations/global/workloadIdentityPools/{pool}"),
    ("iam", "v1/projects/{project}/locations/global/workloadIdentityPools/{pool}/providers/{provider}"),
)
_GONE = frozenset({"DELETED", "DELETE_REQUESTED"})


def bring_back(environment: Environment, cloud: Cloud) -> list[str]:
    """Undelete what a former destroy of the foundation left so. Returns the names."""
    names = environment.names
    values = {"project": environment.project, "region": environment.region, "log_bucket": names.log_bucket}
    values |= {"pool": names.ci_pool, "provider": environment.ci.provider if environment.ci else "github"}
    found = []
    for api, template in _KEPT:
        path = template.format(**values)
        try:
            seen = cloud.ask(api, path)
        except (NotFound, Forbidden):  # none, or its API is not enabled: then there is none either
            continue
        if _GONE & {seen.get("lifecycleState"), seen.get("state")}:
            cloud.ask(api, f"{path}:undelete", body={})
            found.append(path.rpartition("/")[2])
    return found
