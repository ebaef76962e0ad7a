"""What an instance's settings must be, and what Google fills in."""

from __future__ import annotations

import hashlib
import re

from gcp_openemr.environment.values import tier_fault
from gcp_openemr.sandbox.api.envelopes import SQL_ROOT
from gcp_openemr.sandbox.api.names import etag_of, id_of, now, project_number, project_of
from gcp_openemr.sandbox.api.rules import ApiError, Change, Json, refuse, refuse_if

__all__ = ["complete"]

_VERSION = re.compile(r"MYSQL_(5_7|8_0(_\d+)?|8_4)")
_LONGEST_NAME = 98  # of project and instance together (https://cloud.google.com/sql/docs/mysql/instance-settings)
_SMALLEST_DISK, _LARGEST_DISK = 10, 65_536  # GB
_LIKE = {"ENTERPRISE": "db-custom-*", "ENTERPRISE_PLUS": "db-perf-optimized-N-*"}
_LOG_DAYS = {"ENTERPRISE": 7, "ENTERPRISE_PLUS": 35}
# What is filled in when it is not given.
_DEFAULTS: Json = {
    "settingsVersion": "1",
    "activationPolicy": "ALWAYS",
    "availabilityType": "ZONAL",
    "dataDiskType": "PD_SSD",
    "dataDiskSizeGb": "10",
    "pricingPlan": "PER_USE",
    "replicationType": "SYNCHRONOUS",
    "storageAutoResize": True,
    "storageAutoResizeLimit": "0",
    "deletionProtectionEnabled": False,
    "connectorEnforcement": "NOT_REQUIRED",
}
# Flags of MySQL 8.0 by the form of their value: https://cloud.google.com/sql/docs/mysql/flags
_SWITCH, _NUMBER, _TEXT = r"(?i)on|off", r"-?\d+(\.\d+)?", r".+"
_FLAGS = {
    _SWITCH: (
        "autocommit|automatic_sp_privileges|binlog_rows_query_log_events|cloudsql_iam_authentication|cloudsql_mysql_audit|"
        "cloudsql_vector|completion_type|default_password_lifetime|end_markers_in_json|event_scheduler|"
        "explicit_defaults_for_timestamp|flush|general_log|innodb_adaptive_hash_index|innodb_cmp_per_index_enabled|"
        "innodb_ddl_log_crash_reset_debug|innodb_disable_sort_file_cache|innodb_ft_enable_stopword|innodb_optimize_fulltext_only|"
        "innodb_print_all_deadlocks|innodb_stats_auto_recalc|innodb_stats_on_metadata|innodb_stats_persistent|innodb_table_locks|"
        "keep_files_on_create|local_infile|log_bin_trust_function_creators|log_queries_not_using_indexes|"
        "log_slow_admin_statements|log_slow_extra|log_slow_replica_statements|low_priority_updates|mysqlx_enabled|"
        "old_alter_table|performance_schema|session_track_gtids|session_track_schema|show_create_table_verbosity|"
        "skip_show_database|slow_query_log|sql_generate_invisible_primary_key|windowing_use_high_precision"
    ),
    _NUMBER: (
        "auto_increment_increment|auto_increment_offset|back_log|binlog_cache_size|binlog_group_commit_sync_delay|"
        "binlog_stmt_cache_size|bulk_insert_buffer_size|connect_timeout|cte_max_recursion_depth|eq_range_index_dive_limit|"
        "group_concat_max_len|histogram_generation_max_mem_size|innodb_buffer_pool_size|innodb_flush_log_at_trx_commit|"
        "innodb_ft_max_token_size|innodb_ft_min_token_size|innodb_io_capacity|innodb_io_capacity_max|"
        "innodb_lock_wait_timeout|innodb_log_buffer_size|innodb_log_file_size|innodb_lru_scan_depth|"
        "innodb_online_alter_log_max_size|innodb_page_cleaners|innodb_read_io_threads|innodb_sort_buffer_size|"
        "innodb_stats_persistent_sample_pages|innodb_thread_concurrency|innodb_write_io_threads|interactive_timeout|"
        "join_buffer_size|lock_wait_timeout|log_throttle_queries_not_using_indexes|long_query_time|lower_case_table_names|"
        "max_allowed_packet|max_connect_errors|max_connections|max_digest_length|max_error_count|max_execution_time|"
        "max_heap_table_size|max_join_size|max_prepared_stmt_count|max_sort_length|max_user_connections|"
        "min_examined_row_limit|net_buffer_length|net_read_timeout|net_retry_count|net_write_timeout|"
        "optimizer_search_depth|preload_buffer_size|query_alloc_block_size|range_optimizer_max_mem_size|read_buffer_size|"
        "read_rnd_buffer_size|sort_buffer_size|sync_binlog|table_definition_cache|table_open_cache|thread_cache_size|"
        "tmp_table_size|wait_timeout"
    ),
    _TEXT: (
        "binlog_expire_logs_seconds|binlog_row_image|character_set_client|character_set_connection|character_set_results|"
        "character_set_server|collation_connection|collation_server|default_authentication_plugin|default_time_zone|"
        "ft_query_expansion_limit|init_connect|innodb_autoinc_lock_mode|innodb_ft_server_stopword_table|internal_tmp_mem_storage_engine|"
        "log_output|optimizer_switch|optimizer_trace|session_track_system_variables|sql_mode|tls_version|transaction_isolation"
    ),
}  # fmt: skip
_KINDS = {_SWITCH: "boolean", _NUMBER: "number", _TEXT: "string"}


def complete(change: Change) -> None:
    """Refuse what does not fit together, then fill in."""
    new = change.new
    settings = new.setdefault("settings", {})
    if change.old is not None:
        _check_growth(change.old["settings"], settings)
    _check(change, settings)
    _fill(settings)
    project = project_of(change.name)
    if change.old is None:
        new |= _computed(change, project)
        new["state"] = "PENDING_CREATE"
    else:
        settings["settingsVersion"] = str(int(change.old["settings"].get("settingsVersion", "1")) + 1)
        for field in _computed(change, project):
            new.setdefault(field, change.old.get(field))
        new["state"] = change.old["state"]
    new["etag"] = etag_of(change.name, now(), settings["settingsVersion"]).strip('"')
    new |= _endpoints(change, project, new)


def _check_growth(old: Json, settings: Json) -> None:
    refuse_if(settings.get("settingsVersion", old["settingsVersion"]) != old["settingsVersion"], "sqladmin.stale")
    before, size = int(old["dataDiskSizeGb"]), int(settings.get("dataDiskSizeGb") or old["dataDiskSizeGb"])
    refuse_if(size < before, "sqladmin.disk-shrink", old=before, size=size)


def _check(change: Change, settings: Json) -> None:
    new = change.new
    refuse_if(not settings.get("tier"), "sqladmin.required", field="tier")
    version = str(new.get("databaseVersion") or "")
    refuse_if(not _VERSION.fullmatch(version), "sqladmin.version", value=version or "databaseVersion")
    if change.old is None and len(f"{project_of(change.name)}:{id_of(change.name)}") > _LONGEST_NAME:
        raise refuse("sqladmin.name-length", most=_LONGEST_NAME)
    if new.pop("rootPassword", ""):
        raise ApiError(501, "The sandbox sets no root password with an instance: update the user root afterwards.")
    _check_connectivity(settings.get("ipConfiguration") or {})
    # MySQL 8.0 is ENTERPRISE unless it says otherwise, later versions ENTERPRISE_PLUS.
    edition = settings.setdefault("edition", "ENTERPRISE_PLUS" if version == "MYSQL_8_4" else "ENTERPRISE")
    fault = tier_fault(settings["tier"], edition)
    if fault is not None and fault.related:
        raise refuse("sqladmin.tier-edition", tier=settings["tier"], edition=edition, like=_LIKE.get(edition, ""))
    refuse_if(fault is not None, "sqladmin.tier", tier=settings["tier"])
    size = int(settings.get("dataDiskSizeGb") or _SMALLEST_DISK)
    refuse_if(not _SMALLEST_DISK <= size <= _LARGEST_DISK, "sqladmin.disk-size", size=size)
    _check_backups(settings, edition)
    for flag in settings.get("databaseFlags") or ():
        _check_flag(str(flag.get("name") or ""), str(flag.get("value") or ""))


def _check_connectivity(addresses: Json) -> None:
    if addresses.get("ipv4Enabled", True):
        raise ApiError(501, "The sandbox has no public addresses: set ipv4Enabled to false.")
    if addresses.get("privateNetwork"):
        raise ApiError(501, "The sandbox stands in for Private Service Connect, not for private services access.")
    refuse_if(not (addresses.get("pscConfig") or {}).get("pscEnabled"), "sqladmin.connectivity")


def _check_backups(settings: Json, edition: str) -> None:
    backup = settings.get("backupConfiguration") or {}
    refuse_if(backup.get("binaryLogEnabled") and not backup.get("enabled"), "sqladmin.binary-log")
    if settings.get("availabilityType") == "REGIONAL" and not backup.get("binaryLogEnabled"):
        raise refuse("sqladmin.regional")
    days = backup.get("transactionLogRetentionDays")
    most = _LOG_DAYS.get(edition, 0)
    refuse_if(days is not None and not 1 <= days <= most, "sqladmin.log-days", most=most)


def _check_flag(name: str, value: str) -> None:
    form = next((form for form, names in _FLAGS.items() if name in names.split("|")), "")
    refuse_if(not form, "sqladmin.flag-name", name=name)
    refuse_if(not re.fullmatch(form, value), "sqladmin.flag", name=name, value=value, kind=_KINDS[form])


def _fill(settings: Json) -> None:
    for field, value in _DEFAULTS.items():
        settings.setdefault(field, value)
    settings["kind"] = "sql#settings"
    backup = settings.setdefault("backupConfiguration", {})
    backup |= {"kind": "sql#backupConfiguration", "enabled": bool(backup.get("enabled"))}
    addresses = settings["ipConfiguration"]
    addresses.setdefault("serverCaMode", "GOOGLE_MANAGED_INTERNAL_CA")
    addresses.setdefault("sslMode", "ALLOW_UNENCRYPTED_AND_ENCRYPTED")
    addresses["requireSsl"] = addresses["sslMode"] == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"


def _computed(change: Change, project: str) -> Json:
    new = change.new
    instance = id_of(change.name)
    region = str(new.get("region") or "us-central1")
    number = project_number(project)
    installed = {"MYSQL_8_0": "MYSQL_8_0_44"}.get(new["databaseVersion"], new["databaseVersion"])
    return {
        "kind": "sql#instance",
        "name": instance,
        "project": project,
        "region": region,
        "backendType": "SECOND_GEN",
        "instanceType": "CLOUD_SQL_INSTANCE",
        "selfLink": f"{SQL_ROOT}projects/{project}/instances/{instance}",
        "connectionName": f"{project}:{region}:{instance}",
        "gceZone": (new["settings"].get("locationPreference") or {}).get("zone") or f"{region}-b",
        "createTime": now(),
        "databaseInstalledVersion": installed,
        "serviceAccountEmailAddress": f"p{number}-{_hash(change.name, 6)}@gcp-sa-cloud-sql.iam.gserviceaccount.com",
        "satisfiesPzi": True,
        "sqlNetworkArchitecture": "NEW_NETWORK_ARCHITECTURE",
    }


def _endpoints(change: Change, project: str, new: Json) -> Json:
    """Names and service attachment of Private Service Connect; a fresh instance of the same name gets others."""
    born = str(new["createTime"])
    first, second = _hash(f"{project}{born}", 12), _hash(f"{change.name}{born}", 12)
    name = f"{first}.{second}.{new['region']}.sql.goog."
    attachment = f"a-{second}-psc-service-attachment-{_hash(name, 16)}"
    tenant = f"projects/{_hash(project, 8)}-tp/regions/{new['region']}"
    return {
        "dnsName": name,
        "dnsNames": [
            {
                "name": name,
                "connectionType": "PRIVATE_SERVICE_CONNECT",
                "dnsScope": "INSTANCE",
                "recordManager": "CUSTOMER",
            }
        ],
        "pscServiceAttachmentLink": f"{tenant}/serviceAttachments/{attachment}",
    }


def _hash(text: str, length: int) -> str:
    """Letters and digits that begin with a letter."""
    return "s" + hashlib.sha256(text.encode()).hexdigest()[: length - 1]
