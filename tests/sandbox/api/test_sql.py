"""Cloud SQL: databases, passwords, backups, clones and what is left of an instance."""

from __future__ import annotations

import copy
import gzip
import time
from typing import Any

import pytest

from gcp_openemr.sandbox.api.names import timestamp
from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.support import PROJECT, REGION, Answer, Cloud

ROOT = f"v1/projects/{PROJECT}"
NAME = f"sqladmin.googleapis.com/projects/{PROJECT}/instances/oe-prod-sql"
INSTANCE: dict[str, Any] = {
    "name": "oe-prod-sql",
    "region": REGION,
    "databaseVersion": "MYSQL_8_0",
    "settings": {
        "tier": "db-custom-2-7680",
        "availabilityType": "REGIONAL",
        "backupConfiguration": {"enabled": True, "binaryLogEnabled": True, "transactionLogRetentionDays": 7},
        "databaseFlags": [{"name": "local_infile", "value": "off"}],
        "ipConfiguration": {"ipv4Enabled": False, "pscConfig": {"pscEnabled": True}},
    },
}


def sql(cloud: Cloud, method: str, path: str, body: Any = None) -> Answer:
    return cloud.call(method, "sqladmin", f"{ROOT}/instances{path}", body)


def done(cloud: Cloud, answer: Answer) -> dict[str, Any]:
    operation = cloud.wait(answer)
    assert operation["error"] is None, operation["error"]
    return operation


@pytest.fixture
def instance(cloud: Cloud) -> dict[str, Any]:
    done(cloud, sql(cloud, "POST", "", INSTANCE))
    found: dict[str, Any] = sql(cloud, "GET", "/oe-prod-sql").body
    return found


def changed(**settings: Any) -> dict[str, Any]:
    body = copy.deepcopy(INSTANCE)
    body["settings"] |= settings
    return body


def test_databases_are_the_servers_schemas(cloud: Cloud, instance: dict[str, Any]) -> None:
    body = {"name": "oe_main", "charset": "utf8mb4"}
    done(cloud, sql(cloud, "POST", "/oe-prod-sql/databases", body))
    assert sql(cloud, "POST", "/oe-prod-sql/databases", body).status == 409
    items = sql(cloud, "GET", "/oe-prod-sql/databases").body["items"]
    assert [(item["name"], item["charset"]) for item in items] == [("oe_main", "utf8mb4")]
    done(cloud, sql(cloud, "DELETE", "/oe-prod-sql/databases/oe_main"))
    assert sql(cloud, "GET", "/oe-prod-sql/databases/oe_main").status == 404


def test_the_old_password_is_retained_until_it_is_discarded(cloud: Cloud, instance: dict[str, Any]) -> None:
    users = "/oe-prod-sql/users"
    done(cloud, sql(cloud, "POST", users, {"name": "oe", "host": "%", "password": "first password"}))
    place = f"{users}?name=oe&host=%25"
    done(cloud, sql(cloud, "PUT", place, {"password": "second", "dualPasswordType": "DUAL_PASSWORD"}))
    done(cloud, sql(cloud, "PUT", place, {"dualPasswordType": "NO_DUAL_PASSWORD"}))
    assert [call for call in cloud.runtime.calls if call[0] == "set_database_password"] == [
        ("set_database_password", NAME, "oe", "%", "retain"),
        ("set_database_password", NAME, "oe", "%", "discard"),
    ]
    assert sql(cloud, "PUT", place, {"dualPasswordType": "DUAL_PASSWORD"}).status == 400
    stored = str(cloud.app.store.query("SELECT body FROM operations"))
    assert "first password" not in stored


def test_a_backup_is_made_and_restored(cloud: Cloud, instance: dict[str, Any]) -> None:
    begun = sql(cloud, "POST", "/oe-prod-sql/backupRuns", {"description": "before"})
    done(cloud, begun)
    number = begun.body["backupContext"]["backupId"]
    found = sql(cloud, "GET", f"/oe-prod-sql/backupRuns/{number}").body
    assert (found["status"], found["type"], found["description"]) == ("SUCCESSFUL", "ON_DEMAND", "before")
    body = {"restoreBackupContext": {"backupRunId": number, "instanceId": "oe-prod-sql"}}
    done(cloud, sql(cloud, "POST", "/oe-prod-sql/restoreBackup", body))
    backup = f"{NAME}/backupRuns/{number}"
    assert [call for call in cloud.runtime.calls if call[0] == "copy_database"] == [
        ("copy_database", NAME, backup, ""),
        ("copy_database", backup, NAME, ""),
    ]
    assert cloud.runtime.names()[-3:] == ["stop_database", "copy_database", "start_database"]
    done(cloud, sql(cloud, "DELETE", f"/oe-prod-sql/backupRuns/{number}"))
    assert cloud.runtime.calls[-1] == ("delete_database", backup)
    assert (
        "items" not in sql(cloud, "GET", "/oe-prod-sql/backupRuns").body
        or not sql(cloud, "GET", "/oe-prod-sql/backupRuns").body["items"]
    )


def test_a_failed_restore_brings_the_server_back(cloud: Cloud, instance: dict[str, Any]) -> None:
    begun = sql(cloud, "POST", "/oe-prod-sql/backupRuns", {})
    done(cloud, begun)
    cloud.runtime.refuse["copy_database"] = Refused("The disk is full.", code=9)
    body = {"restoreBackupContext": {"backupRunId": begun.body["backupContext"]["backupId"]}}
    failed = cloud.wait(sql(cloud, "POST", "/oe-prod-sql/restoreBackup", body))
    assert failed["error"]["message"] == "The disk is full."
    assert cloud.runtime.names()[-1] == "start_database"


def test_a_clone_has_the_data_of_a_moment_and_names_of_its_own(cloud: Cloud, instance: dict[str, Any]) -> None:
    context = {"destinationInstanceName": "oe-prod-was", "pointInTime": timestamp(time.time())}
    done(cloud, sql(cloud, "POST", "/oe-prod-sql/clone", {"cloneContext": context}))
    assert cloud.runtime.calls[-2][:3] == ("copy_database", NAME, NAME.replace("-sql", "-was"))
    found = sql(cloud, "GET", "/oe-prod-was").body
    assert (found["state"], found["settings"]["tier"]) == ("RUNNABLE", "db-custom-2-7680")
    assert found["dnsName"] != instance["dnsName"]
    again = sql(cloud, "POST", "/oe-prod-sql/clone", {"cloneContext": context})
    assert again.status == 409


def test_an_export_is_written_in_the_name_of_the_instances_account(cloud: Cloud, instance: dict[str, Any]) -> None:
    cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": "exported"})
    context = {"fileType": "SQL", "uri": "gs://exported/main.sql.gz", "databases": ["oe_main"]}
    refused = sql(cloud, "POST", "/oe-prod-sql/export", {"exportContext": context})
    assert (refused.status, "does not have the required permissions" in refused.message) == (403, True)
    member = f"serviceAccount:{instance['serviceAccountEmailAddress']}"
    policy = {"bindings": [{"role": "roles/storage.objectAdmin", "members": [member]}]}
    assert cloud.call("PUT", "storage", "storage/v1/b/exported/iam", policy).status == 200
    for _ in range(2):
        done(cloud, sql(cloud, "POST", "/oe-prod-sql/export", {"exportContext": context}))
    assert cloud.runtime.calls[-1][:3] == ("export_database", NAME, "oe_main")
    (found,) = cloud.app.objects.list("exported")
    assert gzip.decompress(cloud.app.objects.path(found).read_bytes()) == b"-- the dump\n"


def test_backups_outlive_their_instance_as_the_settings_say(cloud: Cloud) -> None:
    kept = changed(retainBackupsOnDelete=True, finalBackupConfig={"enabled": True, "retentionDays": 30})
    done(cloud, sql(cloud, "POST", "", kept))
    done(cloud, sql(cloud, "POST", "/oe-prod-sql/backupRuns", {}))
    done(cloud, sql(cloud, "DELETE", "/oe-prod-sql"))
    backups = cloud.call("GET", "sqladmin", f"{ROOT}/backups").body["backups"]
    assert sorted(item["type"] for item in backups) == ["FINAL", "ON_DEMAND"]
    assert "delete_database" in cloud.runtime.names()
    done(cloud, sql(cloud, "POST", "", INSTANCE))  # the name is free again
    for item in backups:
        done(cloud, sql(cloud, "POST", "/oe-prod-sql/restoreBackup", {"backup": item["name"]}))
    for item in backups:
        done(cloud, cloud.call("DELETE", "sqladmin", f"v1/{item['name']}"))
    assert not cloud.call("GET", "sqladmin", f"{ROOT}/backups").body["backups"]


def test_one_operation_at_a_time(cloud: Cloud, instance: dict[str, Any]) -> None:
    cloud.runtime.hold.clear()
    begun = sql(cloud, "POST", "/oe-prod-sql/restart")
    refused = [
        sql(cloud, "POST", "/oe-prod-sql/users", {"name": "x", "password": "y"}),
        sql(cloud, "PATCH", "/oe-prod-sql", {"settings": {"userLabels": {"a": "b"}}}),
        sql(cloud, "DELETE", "/oe-prod-sql"),
        sql(cloud, "POST", "/oe-prod-sql/backupRuns", {}),
    ]
    reasons = {(answer.status, answer.body["error"]["errors"][0]["reason"]) for answer in refused}
    assert reasons == {(409, "operationInProgress")}
    cloud.runtime.hold.set()
    done(cloud, begun)
    assert cloud.runtime.names()[-2:] == ["stop_database", "start_database"]
    done(cloud, sql(cloud, "POST", "/oe-prod-sql/failover"))
