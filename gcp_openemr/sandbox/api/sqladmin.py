"""Cloud SQL Admin v1 (and v1beta4): instances and their users.

What Google computes is computed here in Google's form; the server itself is the runtime's. Users are made while the
call waits, so that no password waits in an operation. Databases are made by SQL, as the product does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.envelopes import SQL_ROOT
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import etag_of, id_of, now, path_of, project_number, project_of
from gcp_openemr.sandbox.api.operations import Operation
from gcp_openemr.sandbox.api.rules import WORK, Change, Collection, collection, handles
from gcp_openemr.sandbox.api.store import Record
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App

__all__: list[str] = []

_VERSION = re.compile(r"MYSQL_(5_7|8_0(_\d+)?|8_4)")
_LONGEST_NAME = 98  # of project and instance together (https://cloud.google.com/sql/docs/mysql/instance-settings)
_ONLINE = {"ALWAYS", ""}


def _complete(change: Change) -> None:
    new = change.new
    settings = new.setdefault("settings", {})
    _check(change, settings)
    _fill_settings(settings)
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


def _check(change: Change, settings: Json) -> None:
    new = change.new
    if not settings.get("tier"):
        raise _invalid("Missing parameter: tier.")
    if not _VERSION.fullmatch(str(new.get("databaseVersion") or "")):
        raise _invalid(f"Invalid value for: {new.get('databaseVersion') or 'databaseVersion'} is not a valid value.")
    if change.old is None and len(f"{project_of(change.name)}:{id_of(change.name)}") > _LONGEST_NAME:
        raise _invalid(
            f"Invalid request: the instance name must be at most {_LONGEST_NAME} characters with its project."
        )
    addresses = settings.get("ipConfiguration") or {}
    private = addresses.get("privateNetwork")
    psc = (addresses.get("pscConfig") or {}).get("pscEnabled")
    if addresses.get("ipv4Enabled", True):
        raise ApiError(501, "The sandbox has no public addresses: set ipv4Enabled to false.")
    if private:
        raise ApiError(501, "The sandbox stands in for Private Service Connect, not for private services access.")
    if not psc:
        raise _invalid("Invalid request: At least one of Public IP, Private IP or PSC connectivity must be enabled.")


def _fill_settings(settings: Json) -> None:
    settings["kind"] = "sql#settings"
    settings.setdefault("settingsVersion", "1")
    settings.setdefault("activationPolicy", "ALWAYS")
    settings.setdefault("availabilityType", "ZONAL")
    settings.setdefault("dataDiskType", "PD_SSD")
    settings.setdefault("dataDiskSizeGb", "10")
    settings.setdefault("edition", "ENTERPRISE")
    settings.setdefault("pricingPlan", "PER_USE")
    settings.setdefault("replicationType", "SYNCHRONOUS")
    settings.setdefault("storageAutoResize", True)
    settings.setdefault("storageAutoResizeLimit", "0")
    settings.setdefault("deletionProtectionEnabled", False)
    settings.setdefault("connectorEnforcement", "NOT_REQUIRED")
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


def _deletable(_call: Call, record: Record) -> None:
    if record.body["settings"].get("deletionProtectionEnabled"):
        raise ApiError(
            400,
            "The instance is protected. Please disable the deletion protection and try again. To disable deletion "
            "protection, update the instance settings with deletionProtectionEnabled set to false.",
            reason="invalidRequest",
        )


INSTANCES = collection(
    Collection(
        key="sql.instances",
        kind="instance",
        permission="cloudsql.instances",
        complete=_complete,
        deletable=_deletable,
        id_pattern=r"[a-z]([-a-z0-9]{0,96}[a-z0-9])?",
        id_message="Invalid request: instance name ({id}).",
        created="sql.start",
        updated="sql.start",
        deleted="sql.delete",
        immutable=("region", "project", "instanceType"),
    )
)


@WORK.register("sql.start")
def start(app: App, operation: Operation) -> Json:
    """Bring the server to what its settings say."""
    record = app.store.get(operation.target)
    if record is None:
        return {}
    running = record.body["settings"].get("activationPolicy", "") in _ONLINE
    try:
        if running:
            app.runtime.start_database(record.body)
        else:
            app.runtime.stop_database(operation.target)
        certificate = app.runtime.database_certificate(record.body)
    except Refused:
        _put(app, operation.target, {"state": "FAILED"})
        raise
    authority = {"serverCaCert": _certificate(certificate, id_of(operation.target))} if certificate else {}
    # `STOPPED` is what the API calls RUNNABLE with activation policy NEVER.
    _put(app, operation.target, {"state": "RUNNABLE", **authority})
    return {}


@WORK.register("sql.delete")
def delete(app: App, operation: Operation) -> Json:
    app.runtime.delete_database(operation.target)
    with app.store.transaction():
        app.store.delete_below(operation.target + "/")
        app.store.delete(operation.target)
    return {}


def _put(app: App, name: str, fields: Json) -> None:
    with app.store.transaction():
        record = app.store.get(name)
        if record is not None:
            app.store.put(name, {**record.body, **fields})


def _certificate(pem: str, instance: str) -> Json:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return {
        "kind": "sql#sslCert",
        "cert": pem,
        "certSerialNumber": str(certificate.serial_number),
        "commonName": certificate.subject.rfc4514_string(),
        "createTime": certificate.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "expirationTime": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "sha1Fingerprint": certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 -- the API's field
        "instance": instance,
    }


@handles("sql.instances.restart")
def restart(call: Call) -> Json:
    call.authorize("cloudsql.instances.restart")
    record = _online(call, call.name)
    operation = crud.begin(call, INSTANCES, record.name, record.body, work="sql.start")
    return crud.finish(call, operation)


@handles("sql.users.insert", "sql.users.update")
def put_user(call: Call) -> Json:
    """Make a user, or give it another password. The password goes to the server and nowhere else."""
    verb = "create" if call.verb == "insert" else "update"
    instance = call.name.rsplit("/", 1)[0]
    call.authorize(f"cloudsql.users.{verb}", instance)
    record = _online(call, instance)
    user = str(call.body.get("name") or call.one("name"))
    host = str(call.body.get("host") or call.one("host") or "%")
    password = str(call.body.get("password") or "")
    if not user:
        raise _invalid("Missing parameter: name.")
    if call.body.get("type", "BUILT_IN") != "BUILT_IN":
        raise ApiError(501, "The sandbox stands in for built-in database users only.")
    if call.body.get("dualPasswordType") or call.body.get("retainedPassword"):
        raise ApiError(501, "The sandbox does not stand in for dual passwords through the Admin API.")
    known = {(found["name"], found["host"]) for found in call.app.runtime.list_database_users(instance)}
    if verb == "create" and not password:
        raise _invalid("Invalid request: Password is required to create user.")
    if verb == "update" and (user, host) not in known:
        raise ApiError(404, f"User '{user}'@'{host}' does not exist.", reason="userDoesNotExist")
    try:
        call.app.runtime.create_database_user(instance, user, host, password)
    except Refused as refused:
        raise _invalid(refused.message) from refused
    return _done(call, record, "CREATE_USER" if verb == "create" else "UPDATE_USER")


@handles("sql.users.delete")
def delete_user(call: Call) -> Json:
    instance = call.name.rsplit("/", 1)[0]
    call.authorize("cloudsql.users.delete", instance)
    record = _online(call, instance)
    user, host = call.one("name"), call.one("host") or "%"
    known = {(found["name"], found["host"]) for found in call.app.runtime.list_database_users(instance)}
    if (user, host) not in known:
        raise ApiError(404, f"User '{user}'@'{host}' does not exist.", reason="userDoesNotExist")
    try:
        call.app.runtime.delete_database_user(instance, user, host)
    except Refused as refused:
        raise _invalid(refused.message) from refused
    return _done(call, record, "DELETE_USER")


@handles("sql.users.list", "sql.users.get")
def list_users(call: Call) -> Json:
    instance = call.name.split("/users")[0]
    call.authorize(f"cloudsql.users.{call.verb}", instance)
    record = _online(call, instance)
    users = [_user(record, found["name"], found["host"]) for found in call.app.runtime.list_database_users(instance)]
    if call.verb == "list":
        return {"kind": "sql#usersList", "items": users}
    return _one_user(users, id_of(call.name), call.one("host"))


def _one_user(users: Sequence[Json], name: str, host: str) -> Json:
    for user in users:
        if user["name"] == name and host in {"", user["host"]}:
            return user
    raise ApiError(404, f"User '{name}' does not exist.", reason="userDoesNotExist")


def _user(instance: Record, name: str, host: str) -> Json:
    return {
        "kind": "sql#user",
        "name": name,
        "host": host,
        "instance": id_of(instance.name),
        "project": project_of(instance.name),
        "etag": etag_of(name, host).strip('"'),
    }


def _online(call: Call, name: str) -> Record:
    record = crud.existing(call, INSTANCES, name)
    running = record.body["settings"].get("activationPolicy", "") in _ONLINE
    if record.body["state"] != "RUNNABLE" or not running:
        message = f"Invalid request: Invalid request since instance is not running: {path_of(name)}."
        raise ApiError(400, message, reason="invalidRequest")
    return record


def _done(call: Call, record: Record, kind: str) -> Json:
    operation = crud.begin(call, INSTANCES, record.name, record.body, kind=kind)
    return crud.finish(call, operation)


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, reason="invalid")
