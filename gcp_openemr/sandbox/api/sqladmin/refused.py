"""What the Cloud SQL Admin API refuses, as rows."""

from __future__ import annotations

from gcp_openemr.sandbox.api.refusals import Refusal, refusals

__all__: list[str] = []

_DOCS = "https://cloud.google.com/sql/docs/mysql"
_ISSUES = "https://github.com/hashicorp/terraform-provider-google/issues"
_BAD = "invalid"

refusals(
    Refusal("sqladmin.name", 400, "Invalid request: instance name ({id}).", f"{_ISSUES}/10871", reason=_BAD),
    Refusal(
        "sqladmin.name-length",
        400,
        "Invalid request: the instance name must be at most {most} characters with its project.",
        reason=_BAD,
    ),
    Refusal("sqladmin.required", 400, "Missing parameter: {field}.", reason="required"),
    Refusal("sqladmin.version", 400, "Invalid value for: {value} is not a valid value.", reason=_BAD),
    Refusal("sqladmin.tier", 400, "Invalid request: Tier ({tier}).", reason=_BAD),
    Refusal("sqladmin.disk-size", 400, "Invalid request: Invalid data disk size ({size} GB).", reason=_BAD),
    source=f"{_DOCS}/instance-settings",
)
refusals(
    Refusal(
        "sqladmin.tier-edition",
        400,
        "Invalid request: Invalid Tier ({tier}) for ({edition}) Edition. Use a predefined Tier like {like} instead.",
        f"{_ISSUES}/20498",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.disk-shrink",
        400,
        "Invalid request: The disk size cannot be reduced from {old} GB to {size} GB.",
        "https://github.com/hashicorp/terraform-provider-google/pull/1684",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.connectivity",
        400,
        "Invalid request: At least one of Public IP, Private IP or PSC connectivity must be enabled.",
        f"{_DOCS}/configure-private-service-connect",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.flag",
        400,
        "Value requested is not valid. Failed to set {name}: {value} was not an expected {kind}.",
        "https://github.com/wandb/terraform-google-wandb/pull/183",
        reason="invalidFlagValue",
    ),
    Refusal(
        "sqladmin.flag-name",
        400,
        "Invalid request: Invalid flag name ({name}).",
        f"{_DOCS}/flags",
        reason="invalidFlagName",
    ),
    Refusal(
        "sqladmin.binary-log",
        400,
        "Invalid request: Binary log must be disabled when backup is disabled or the instance must be a replica "
        "instance with a MySQL 5.7 or above version.",
        "https://github.com/GoogleCloudPlatform/k8s-config-connector/issues/792",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.regional",
        400,
        "Invalid request: Regional availability requires backups and binary logging to be enabled.",
        f"{_ISSUES}/5022",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.log-days",
        400,
        "Invalid request: The number of transaction log retention days must be between 1 and {most}.",
        "https://github.com/langfuse/langfuse-terraform-gcp/issues/8",
        reason=_BAD,
    ),
    Refusal(
        "sqladmin.stale",
        412,
        "Condition does not match.",
        f"{_DOCS}/admin-api/rest/v1/instances#Settings.FIELDS.settings_version",
        reason="staleData",
    ),
    Refusal(
        "sqladmin.protected",
        400,
        "The instance is protected. Please disable the deletion protection and try again. To disable deletion "
        "protection, update the instance settings with deletionProtectionEnabled set to false.",
        f"{_DOCS}/deletion-protection",
        reason="invalidRequest",
    ),
    Refusal(
        "sqladmin.stopped",
        400,
        "Invalid request: Invalid request since instance is not running: {name}.",
        f"{_ISSUES}/8218",
        reason="invalidRequest",
    ),
    Refusal(
        "sqladmin.busy",
        409,
        "Operation failed because another operation was already in progress. Try your request after the current "
        "operation is complete.",
        f"{_ISSUES}/4370",
        reason="operationInProgress",
    ),
    Refusal(
        "sqladmin.not-regional",
        400,
        "Invalid request: Only an instance with regional availability can fail over.",
        f"{_DOCS}/high-availability",
        reason="invalidRequest",
    ),
)
refusals(
    Refusal("sqladmin.user", 404, "User '{user}'@'{host}' does not exist.", reason="userDoesNotExist"),
    Refusal("sqladmin.password", 400, "Invalid request: Password is required to create user.", reason=_BAD),
    Refusal("sqladmin.dual-version", 400, "Invalid request: Dual passwords need MySQL 8.0.", reason=_BAD),
    Refusal(
        "sqladmin.dual-password",
        400,
        "Invalid request: A dual password is kept when the password changes: give a new password.",
        reason=_BAD,
    ),
    Refusal("sqladmin.server", 400, "Invalid request: {message}", reason=_BAD),
    source=f"{_DOCS}/manage-users",
)
refusals(
    Refusal("sqladmin.database", 404, "The Cloud SQL database does not exist.", reason="databaseDoesNotExist"),
    Refusal("sqladmin.database-exists", 409, "The Cloud SQL database already exists.", reason="databaseAlreadyExists"),
    source=f"{_DOCS}/create-manage-databases",
)
refusals(
    Refusal("sqladmin.backup", 404, "The Cloud SQL backup does not exist.", reason="backupRunDoesNotExist"),
    Refusal("sqladmin.backup-state", 400, "Invalid request: The backup is not successful.", reason="invalidRequest"),
    Refusal(
        "sqladmin.no-log",
        400,
        "Invalid request: Point-in-time recovery is not enabled for the source instance.",
        reason="invalidRequest",
    ),
    Refusal("sqladmin.moment", 400, "Invalid request: Invalid point in time ({moment}).", reason="invalidRequest"),
    source=f"{_DOCS}/backup-recovery/pitr",
)
