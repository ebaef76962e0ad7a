"""What Compute Engine refuses, as rows."""

from __future__ import annotations

from gcp_openemr.sandbox.api.refusals import Refusal, refusals

__all__: list[str] = []

_DOCS = "https://cloud.google.com/compute/docs"
_VPC = "https://cloud.google.com/vpc/docs"
_PROVIDER = "https://github.com/hashicorp/terraform-provider-google"
_FIELD = "Invalid value for field 'resource.{field}': '{value}'. "
_USED = "resourceInUseByAnotherResource"
_UNMET = "conditionNotMet"

refusals(
    Refusal("compute.required", 400, "Invalid value for field 'resource.{field}': ''. {why}", reason="required"),
    source=f"{_DOCS}/reference/rest/v1/instances/insert",
)
refusals(
    Refusal("compute.in-use", 400, "The {kind} resource '{name}' is already being used by '{user}'", reason=_USED),
    source="https://github.com/terraform-google-modules/terraform-google-vm/issues/45",
)
refusals(
    Refusal("compute.held", 400, "The subnetwork resource '{name}' is already being used by '{user}'", reason=_USED),
    source="https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet",
)
refusals(
    Refusal(
        "compute.ip-in-use",
        400,
        "IP '{address}' is already being used by another resource.",
        reason="ipInUseByAnotherResource",
    ),
    Refusal("compute.ip-exhausted", 400, "IP space of '{name}' is exhausted.", reason="ipSpaceExhausted"),
    Refusal("compute.ip-invalid", 400, "Invalid value for field 'resource.address': '{address}'.", reason="invalid"),
    Refusal(
        "compute.ip-outside",
        400,
        "Requested internal IP address {address} is outside the subnetwork CIDR range {range}.",
        reason="invalid",
    ),
    source=f"{_DOCS}/ip-addresses/reserve-static-internal-ip-address",
)
refusals(
    Refusal("compute.cidr", 400, _FIELD + "Must be a valid CIDR range.", reason="invalid"),
    Refusal("compute.cidr-size", 400, _FIELD + "The prefix must be /{widest} to /{narrowest}.", reason="invalid"),
    Refusal(
        "compute.cidr-overlap",
        400,
        "Invalid IPCidrRange: {range} conflicts with existing subnetwork '{other}' in region '{region}'.",
        reason="invalid",
    ),
    Refusal(
        "compute.cidr-grow", 400, _FIELD + "The new range must contain the existing range {range}.", reason="invalid"
    ),
    source=f"{_VPC}/subnets#valid-ranges",
)
refusals(
    Refusal(
        "compute.firewall-rules",
        400,
        "Exactly one of fields 'allowed' or 'denied' must be specified.",
        f"{_VPC}/using-firewalls",
        reason="invalid",
    ),
    Refusal(
        "compute.endpoint-subnetwork",
        400,
        "The network '{name}' has no subnetwork in this region.",
        f"{_VPC}/configure-private-service-connect-services",
        reason="invalid",
    ),
    Refusal(
        "compute.quota",
        403,
        "Quota '{metric}' exceeded.  Limit: {limit} globally.",
        "https://github.com/trailofbits/algo/issues/1520",
        reason="quotaExceeded",
    ),
)
refusals(
    Refusal("compute.disk-size", 400, _FIELD + "Disk size cannot be smaller than {least} GB.", reason="invalid"),
    Refusal(
        "compute.disk-shrink",
        400,
        "Invalid value for field 'sizeGb': '{size}'. New disk size '{size}' GB must be larger than existing size "
        "'{old}' GB.",
        reason="invalid",
    ),
    source=f"{_DOCS}/disks/resize-persistent-disk",
)
refusals(
    Refusal("compute.schedule", 400, _FIELD + "{why}", reason="invalid"),
    Refusal(
        "compute.schedule-second",
        400,
        "The disk '{name}' already has a snapshot schedule resource policy attached.",
        reason="invalid",
    ),
    Refusal(
        "compute.schedule-region",
        400,
        "The resource policy '{policy}' must be in the region of the disk '{name}'.",
        reason="invalid",
    ),
    source=f"{_DOCS}/disks/scheduled-snapshots",
)
refusals(
    Refusal(
        "compute.labels-changed",
        412,
        "Labels fingerprint either invalid or resource labels have changed",
        f"{_DOCS}/labeling-resources",
        reason=_UNMET,
    ),
    Refusal(
        "compute.fingerprint",
        412,
        "Supplied fingerprint does not match current {what} fingerprint.",
        f"{_PROVIDER}/pull/221",
        reason=_UNMET,
    ),
    Refusal(
        "compute.protected",
        400,
        "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion. "
        "resource.deletion_protection'.",
        f"{_DOCS}/instances/preventing-accidental-vm-deletion",
        reason="invalid",
    ),
    Refusal(
        "compute.not-stopped",
        400,
        "Invalid value for field 'resource.status': '{status}'. The instance must be stopped (TERMINATED) first.",
        f"{_DOCS}/instances/changing-machine-type-of-stopped-instance",
        reason="invalid",
    ),
    Refusal(
        "compute.account",
        400,
        "The resource '{email}' of type 'serviceAccount' was not found.",
        f"{_DOCS}/access/create-enable-service-accounts-for-instances",
        reason="notFound",
    ),
)
refusals(
    Refusal(
        "compute.surge",
        400,
        _FIELD + "maxSurge must be equal to 0 when replacement method is set to RECREATE",
        f"{_PROVIDER}/pull/14991",
        reason="invalid",
    ),
    Refusal(
        "compute.no-room",
        400,
        _FIELD + "maxSurge and maxUnavailable cannot both be 0.",
        f"{_DOCS}/instance-groups/updating-migs#max_unavailable",
        reason="invalid",
    ),
    Refusal(
        "compute.substitute",
        400,
        _FIELD + "A stateful group needs replacement method RECREATE.",
        "https://github.com/terraform-google-modules/terraform-google-vm/issues/187",
        reason="invalid",
    ),
    Refusal(
        "compute.stateful-disk",
        400,
        _FIELD + "The instance template defines no disk with this device name.",
        f"{_DOCS}/instance-groups/configuring-stateful-disks-in-migs",
        reason="invalid",
    ),
    Refusal(
        "compute.member",
        400,
        "Invalid value for field 'instances': '{value}'. The instance is not a member of '{group}'.",
        f"{_DOCS}/reference/rest/v1/instanceGroupManagers/recreateInstances",
        reason="invalid",
    ),
    Refusal(
        "compute.health-check",
        400,
        "Invalid value for field 'resource.type': '{type}'. Exactly the check of this type must be given.",
        f"{_DOCS}/reference/rest/v1/healthChecks",
        reason="invalid",
    ),
    Refusal(
        "compute.health-timeout",
        400,
        _FIELD + "timeoutSec must not be greater than checkIntervalSec.",
        f"{_DOCS}/reference/rest/v1/healthChecks",
        reason="invalid",
    ),
)
