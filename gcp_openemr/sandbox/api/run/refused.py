"""What Cloud Run refuses in a service or a job, as rows.

Requests that cannot be are told with the field ("Violation in CreateServiceRequest.service.…"), and every number that
has a least and a most is a `Limit`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.refusals import Refusal, refusals, refuse

__all__ = ["LIMITS", "NAME_PATTERN", "Limit", "check_limit", "violation"]

NAME_PATTERN = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?"
_DOCS = "https://cloud.google.com/run/docs/"
_SCHEMA = "https://run.googleapis.com/$discovery/rest?version=v2"
_HELD = {"status": "FAILED_PRECONDITION", "reason": "failedPrecondition"}


@dataclasses.dataclass(frozen=True)
class Limit:
    """A number of the API's `field` from `least` to `most`; its refusal is `run.{id}`."""

    id: str
    field: str
    least: int
    most: int
    source: str


_ROWS = (
    Limit("service-timeout", "timeout", 1, 3600, f"{_DOCS}configuring/request-timeout"),
    Limit("concurrency", "max_instance_request_concurrency", 1, 1000, f"{_DOCS}about-concurrency"),
    Limit("task-count", "task_count", 1, 10_000, f"{_DOCS}quotas"),
    Limit("task-timeout", "timeout", 1, 168 * 3600, f"{_DOCS}configuring/task-timeout"),
    Limit("retries", "max_retries", 0, 10, f"{_DOCS}configuring/max-retries"),
    Limit("port", "ports.container_port", 1, 65535, _SCHEMA),
    Limit("startup-delay", "startup_probe.initial_delay_seconds", 0, 240, _SCHEMA),
    Limit("startup-period", "startup_probe.period_seconds", 1, 240, _SCHEMA),
    Limit("startup-timeout", "startup_probe.timeout_seconds", 1, 240, _SCHEMA),
    Limit("startup-threshold", "startup_probe.failure_threshold", 1, 10_000, _SCHEMA),
    Limit("liveness-delay", "liveness_probe.initial_delay_seconds", 0, 3600, _SCHEMA),
    Limit("liveness-period", "liveness_probe.period_seconds", 1, 3600, _SCHEMA),
    Limit("liveness-timeout", "liveness_probe.timeout_seconds", 1, 3600, _SCHEMA),
    Limit("liveness-threshold", "liveness_probe.failure_threshold", 1, 10_000, _SCHEMA),
    Limit("readiness-delay", "readiness_probe.initial_delay_seconds", 0, 0, f"{_DOCS}configuring/healthchecks"),
    Limit("readiness-period", "readiness_probe.period_seconds", 1, 3600, _SCHEMA),
    Limit("readiness-timeout", "readiness_probe.timeout_seconds", 1, 3600, _SCHEMA),
    Limit("readiness-threshold", "readiness_probe.failure_threshold", 1, 10_000, f"{_DOCS}configuring/healthchecks"),
)
LIMITS = {row.id: row for row in _ROWS}

refusals(*(Refusal(f"run.{row.id}", 400, f"must be between {row.least} and {row.most}.", row.source) for row in _ROWS))
refusals(
    Refusal(
        "run.name",
        400,
        "Violation in Create{kind}Request.{snake}: only lowercase, digits, and hyphens; must begin with letter, and "
        "cannot end with hyphen; must be less than 50 characters.",
        "https://github.com/pulumi/pulumi-gcp/issues/3166",
    ),
    Refusal(
        "run.required",
        400,
        "required field not present.",
        "https://github.com/googleapis/google-cloud-java/issues/11101",
    ),
    Refusal(
        "run.ports",
        400,
        "ports should contain 0 or 1 port.",
        "https://github.com/GoogleCloudPlatform/magic-modules/pull/10173",
    ),
    Refusal(
        "run.tag-length",
        400,
        "traffic tag '{tag}' and service name '{service}' together are too long. Combined traffic tag and service name "
        "cannot exceed {most} characters.",
        "https://github.com/PolicyEngine/policyengine-api/issues/3729",
    ),
    Refusal(
        "run.memory",
        400,
        "Invalid value specified for container memory. For {cpu:g} CPU, memory must be between {least}Mi and {most}Mi "
        "inclusive.",
        "https://github.com/google/osv.dev/pull/2800",
    ),
    Refusal(
        "run.memory-unthrottled",
        400,
        "Invalid value specified for memory. Total memory < 512 Mi is not supported with gen2 execution environment "
        "with cpu always allocated (unthrottled).",
        "https://github.com/oboapp/oboapp/pull/449",
    ),
    Refusal(
        "run.revision-exists",
        409,
        "Revision named '{revision}' with different configuration already exists.",
        "https://github.com/googleapis/google-cloud-python/issues/14259",
        reason="alreadyExists",
    ),
    Refusal(
        "run.image",
        400,
        "Image '{image}' not found.",
        "https://github.com/google-github-actions/deploy-cloudrun/issues/465",
        **_HELD,
    ),
    Refusal(
        "run.secret-denied",
        403,
        "Permission denied on secret: {secret} for Revision service account {email}. The service account used must be "
        "granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project "
        "or higher level.",
        "https://github.com/terraform-google-modules/terraform-docs-samples/pull/168",
    ),
    Refusal(
        "run.secret-missing",
        404,
        "Secret {secret} was not found",
        "https://github.com/hashicorp/terraform-provider-google/issues/10846",
    ),
)
refusals(
    Refusal("run.secret-state", 400, "Secret Version [{secret}] is in {state} state.", **_HELD),
    source="https://github.com/google-github-actions/get-secretmanager-secrets/issues/268",
)
refusals(
    Refusal(
        "run.cpu", 400, "Invalid value specified for container cpu. Must be equal to one of [.08-1], 1, 2, 4, 6, 8"
    ),
    Refusal("run.cpu-concurrency", 400, "must be 1 when less than 1 CPU is requested."),
    Refusal("run.quantity", 400, "{value} is not a valid quantity.", _SCHEMA),
    source=f"{_DOCS}configuring/services/cpu",
)
refusals(
    Refusal("run.env-name", 400, "the name of a variable has 1 to 32768 characters and no '='.", _SCHEMA),
    Refusal("run.env-value", 400, "the value of {name} is longer than 32768 bytes.", _SCHEMA),
    Refusal("run.env-count", 400, "a container has at most {most} variables.", f"{_DOCS}quotas"),
    Refusal("run.env-twice", 400, "duplicate variable {name}."),
    Refusal(
        "run.env-reserved",
        400,
        "The following reserved env names were provided: {name}. These values are automatically set by the system.",
    ),
    source=f"{_DOCS}configuring/services/environment-variables",
)
refusals(
    Refusal("run.volume-name", 400, "volume {name} is declared twice or has no name."),
    Refusal("run.volume-kind", 400, "volume {name} needs exactly one source."),
    Refusal("run.volume-missing", 400, "volume {name} is not declared in template.volumes."),
    Refusal("run.mount-path", 400, "{path} cannot be mounted to: it must be absolute, without ':', and used once."),
    Refusal(
        "run.mount-system",
        400,
        "{path} cannot be mounted to.",
        "https://cloud.google.com/run/docs/configuring/services/nfs-volume-mounts",
    ),
    source=_SCHEMA,
)
refusals(
    Refusal("run.probe-kind", 400, "exactly one of httpGet, tcpSocket, or grpc must be specified."),
    Refusal("run.probe-timeout", 400, "timeout_seconds must not exceed period_seconds."),
    Refusal(
        "run.startup-window",
        400,
        "failure_threshold times period_seconds must not exceed 240.",
        f"{_DOCS}configuring/jobs/healthchecks",
    ),
    Refusal("run.duration", 400, "Illegal duration format; duration must end with 's': {value}"),
    Refusal(
        "run.ingress-containers", 400, "Revision template should contain exactly one container with an exposed port."
    ),
    Refusal("run.scaling", 400, "min_instance_count must not exceed max_instance_count."),
    Refusal("run.label", 400, "{label} is reserved for the system."),
    Refusal("run.interfaces", 400, "only a single network interface is supported."),
    Refusal("run.interface", 400, "a network or subnetwork is required."),
    Refusal("run.interface-network", 400, "VPC subnetwork {subnetwork} does not belong to network {network}."),
    source=_SCHEMA,
)
refusals(
    Refusal("run.network", 400, "VPC network {network} was not found."),
    Refusal("run.subnetwork", 400, "VPC subnetwork {subnetwork} was not found in region {region}."),
    Refusal("run.subnetwork-size", 400, "VPC subnetwork {subnetwork} has the range {range}: it must be /26 or larger."),
    source=f"{_DOCS}configuring/vpc-direct-vpc",
)
refusals(
    Refusal("run.account", 400, "Service account {email} was not found."),
    source=f"{_DOCS}configuring/services/service-identity",
)
refusals(
    Refusal("run.revision-name", 400, "{revision} must start with the service's name and a dash."),
    Refusal("run.traffic-kind", 400, "a revision is given exactly when the type is REVISION."),
    Refusal("run.traffic-sum", 400, "Traffic targets must sum to 100 percent, not {total}."),
    Refusal("run.traffic-tag", 400, "tag {tag} is not valid or is used twice."),
    Refusal(
        "run.traffic-revision",
        400,
        "Revision '{revision}' does not exist or is deleted. Update all traffic to route to currently available "
        "revisions.",
        **_HELD,
    ),
    Refusal(
        "run.revision-serving", 400, "Revision {id} is serving traffic or has a tag and cannot be deleted.", **_HELD
    ),
    Refusal("run.revision-latest", 400, "Revision {id} is the latest created revision and cannot be deleted.", **_HELD),
    source=f"{_DOCS}rollouts-rollbacks-traffic-migration",
)
refusals(
    Refusal("run.job-running", 400, "Job {id} has running executions: cancel them or wait for their end.", **_HELD),
    Refusal("run.execution-running", 400, "Execution {id} is running and cannot be deleted.", **_HELD),
    Refusal("run.execution-done", 400, "Execution {id} has already completed.", **_HELD),
    Refusal("run.job-not-ready", 400, "Job {id} is not ready: {problem}", **_HELD),
    Refusal("run.override-container", 400, "there is no container {name}."),
    source=f"{_DOCS}managing/job-executions",
)


def violation(call: Call, refusal: str, field: str, **values: Any) -> ApiError:
    """The error of a row, told with the field of the request that is at fault (`template.containers[0].image`)."""
    error = refuse(refusal, **values)
    kind = {"services": "Service", "jobs": "Job"}.get(call.collection.rsplit(".", 1)[1], "Service")
    verb = {"create": "Create", "run": "Run"}.get(call.verb, "Update")
    where = f"{verb}{kind}Request.{kind.lower()}.{field}" if verb != "Run" else f"RunJobRequest.{field}"
    error.details = [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": f"Violation in {where}", "description": error.message}],
        }
    ]
    error.message = f"Violation in {where}: {error.message}"
    return error


def check_limit(call: Call, limit: str, value: float, where: str = "template.") -> None:
    """Raise 400 for a number outside of a row of LIMITS."""
    row = LIMITS[limit]
    if not row.least <= value <= row.most:
        raise violation(call, f"run.{limit}", where + row.field)
