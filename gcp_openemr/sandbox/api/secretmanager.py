"""Secret Manager v1: secrets by the table of rules, versions here.

A version's payload stands only in the store's `payloads`; nothing else ever holds it.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence

import google_crc32c

from gcp_openemr.sandbox.api import crud
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.names import duration_seconds, etag_of, id_of, now, numbered, timestamp
from gcp_openemr.sandbox.api.refusals import demand, missing, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import ApiError, Call, Change, Collection, Json, handles, shape, without
from gcp_openemr.sandbox.api.store import Record, Store

__all__ = ["find_version", "read_version"]

_VERSION = "Secret Version"
_LARGEST_PAYLOAD = 65536  # bytes (https://cloud.google.com/secret-manager/quotas)
_MOST_ALIASES, _MOST_TOPICS = 50, 10
_ALIAS = re.compile(r"(?!latest$|NEW$)[A-Za-z][A-Za-z0-9_-]{0,62}")
_ROTATION = (3600, 3_153_600_000)  # seconds
_SHORTEST_DELAY = 86_400  # seconds of version_destroy_ttl


def _complete(change: Change) -> None:
    new = change.new
    new["name"] = numbered(change.name)
    replication = new.get("replication") or {}
    if change.old is None and not ({"automatic", "userManaged"} & replication.keys()):
        raise refuse("secretmanager.replication")
    refuse_if(change.old is not None and not change.call.mask(), "secretmanager.mask")
    refuse_if(len(new.get("topics") or ()) > _MOST_TOPICS, "secretmanager.topics", most=_MOST_TOPICS)
    if new.get("versionDestroyTtl") and duration_seconds(new["versionDestroyTtl"]) < _SHORTEST_DELAY:
        raise refuse("secretmanager.destroy-ttl", least=_SHORTEST_DELAY)
    _check_rotation(new)
    _set_expiry(new)
    aliases = new.get("versionAliases") or {}
    refuse_if(len(aliases) > _MOST_ALIASES, "secretmanager.aliases", most=_MOST_ALIASES)
    for alias, number in aliases.items():
        refuse_if(not _ALIAS.fullmatch(alias), "secretmanager.alias", alias=alias)
        if change.call.store.get(f"{change.name}/versions/{number}") is None:
            raise missing(f"{change.name}/versions/{number}", _VERSION)


def _check_rotation(secret: Json) -> None:
    rotation = secret.get("rotation")
    if not rotation:
        return
    period, (least, most) = rotation.get("rotationPeriod"), _ROTATION
    refuse_if(period and not rotation.get("nextRotationTime"), "secretmanager.rotation-time")
    refuse_if(
        period and not least <= duration_seconds(period) <= most,
        "secretmanager.rotation-period",
        least=least,
        most=most,
    )
    refuse_if(not secret.get("topics"), "secretmanager.rotation-topics")


def _set_expiry(secret: Json) -> None:
    """`ttl` is only for input: what stays is the moment. At that moment the secret is gone."""
    ttl = secret.pop("ttl", None)
    if ttl:
        twice = bool(secret.get("expireTime"))
        secret["expireTime"] = timestamp(time.time() + duration_seconds(ttl))
        refuse_if(twice, "secretmanager.expiry")
    refuse_if(secret.get("expireTime") and secret["expireTime"] <= now(), "secretmanager.expiry")


SECRETS = Collection(
    "secretmanager.projects.secrets",
    kind="Secret",
    id_parameter="secretId",
    id_pattern=r"[A-Za-z0-9_-]{1,255}",
    id_refusal="secretmanager.id",
    complete=_complete,
    immutable=("replication",),
    expires="expireTime",
)


@handles("secretmanager.projects.secrets.addVersion", needs="secretmanager.versions.add")
def add_version(call: Call) -> Json:
    payload = demand(call.body.get("payload"), "secretmanager.payload-missing")
    data = _decode(str(payload.get("data") or ""))
    refuse_if(not data, "secretmanager.empty")
    refuse_if(len(data) > _LARGEST_PAYLOAD, "secretmanager.payload", most=_LARGEST_PAYLOAD)
    given = payload.get("dataCrc32c")
    refuse_if(given is not None and int(given) != google_crc32c.value(data), "secretmanager.checksum")
    with call.store.transaction():
        crud.existing(call, SECRETS)
        number = 1 + max((int(id_of(record.name)) for record in _versions(call.store, call.name)), default=0)
        name = f"{call.name}/versions/{number}"
        checked = None if given is None else True
        version = shape(
            "secretmanager.version", name, numbered=numbered(name), etag=etag_of(name, now()), checked=checked
        )
        call.store.put(name, version)
        call.store.put_payload(name, data)
    return version


@handles("secretmanager.projects.secrets.versions.access", needs="secretmanager.versions.access")
def access(call: Call) -> Json:
    record, data = read_version(call.store, call.name.rsplit("/versions/", 1)[0], id_of(call.name))
    return {
        "name": record.body["name"],
        "payload": {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))},
    }


@handles("secretmanager.projects.secrets.versions.get", needs="secretmanager.versions.get")
def get_version(call: Call) -> Json:
    return find_version(call.store, call.name.rsplit("/versions/", 1)[0], id_of(call.name)).body


@handles("secretmanager.projects.secrets.versions.list")
def list_versions(call: Call) -> Json:
    """Newest first."""
    secret = call.name.rsplit("/", 1)[0]
    call.authorize("secretmanager.versions.list", secret)
    crud.existing(call, SECRETS, secret)
    ordered = sorted(
        ((f"{10**9 - int(id_of(record.name)):010}", record.body) for record in _versions(call.store, secret)),
        key=lambda item: item[0],
    )
    return {"totalSize": len(ordered), **listed(call, ordered, "versions", default_size=25000)}


@handles(
    "secretmanager.projects.secrets.versions.enable",
    "secretmanager.projects.secrets.versions.disable",
    "secretmanager.projects.secrets.versions.destroy",
)
def change_state(call: Call) -> Json:
    call.authorize(f"secretmanager.versions.{call.verb}")
    secret = call.name.rsplit("/versions/", 1)[0]
    with call.store.transaction():
        record = find_version(call.store, secret, id_of(call.name))
        version = record.body
        crud.check_etag(call, version, str(call.body.get("etag") or ""))
        if version["state"] == "DESTROYED":
            raise _wrong_state(version)
        version.pop("scheduledDestroyTime", None)
        if call.verb == "destroy":
            _destroy(call, secret, record)
        else:
            version["state"] = "ENABLED" if call.verb == "enable" else "DISABLED"
        version["etag"] = etag_of(record.name, now(), record.version)
        call.store.put(record.name, version)
    return version


def read_version(store: Store, secret: str, version: str) -> tuple[Record, bytes]:
    """A version by number, alias or `latest`, with its payload, for who may read it.

    Raises:
        ApiError: 404 when there is none, 400 FAILED_PRECONDITION when it is not enabled.
    """
    record = find_version(store, secret, version)
    data = store.payload(record.name)
    if record.body["state"] != "ENABLED" or data is None:
        raise _wrong_state(record.body)
    return record, data


def _destroy(call: Call, secret: str, record: Record) -> None:
    delay = crud.existing(call, SECRETS, secret).body.get("versionDestroyTtl")
    if delay:
        moment = time.time() + duration_seconds(delay)
        record.body.update(state="DISABLED", scheduledDestroyTime=timestamp(moment))
        return
    record.body.update(state="DESTROYED", destroyTime=now())
    call.store.delete_payload(record.name)


def find_version(store: Store, secret: str, version: str) -> Record:
    """A version by number, alias or `latest`, in any state. Raises ApiError 404."""
    parent = store.get(secret)
    if parent is None or crud.is_expired(SECRETS, parent):
        raise missing(secret, "Secret")
    number = version
    if version == "latest":
        number = max((id_of(record.name) for record in _versions(store, secret)), key=int, default="latest")
    elif not version.isdigit():
        number = str((parent.body.get("versionAliases") or {}).get(version, version))
    record = store.get(f"{secret}/versions/{number}")
    if record is None:
        raise missing(f"{secret}/versions/{number}", _VERSION)
    due = record.body.get("scheduledDestroyTime")
    if due and due <= now():
        body = without(record.body, "scheduledDestroyTime")
        with store.transaction():
            record = store.put(record.name, body | {"state": "DESTROYED", "destroyTime": due})
            store.delete_payload(record.name)
    return record


def _versions(store: Store, secret: str) -> Sequence[Record]:
    return store.list(f"{secret}/versions/")


def _wrong_state(version: Json) -> ApiError:
    return refuse("secretmanager.state", kind=_VERSION, name=version["name"], state=version["state"])


def _decode(data: str) -> bytes:
    return base64.b64decode(data.replace("-", "+").replace("_", "/") + "=" * (-len(data) % 4))
