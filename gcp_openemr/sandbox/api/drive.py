"""Google Drive: a file is put there, shared and read, in somebody's My Drive or in a shared drive.

Drive asks no IAM. Who may do what stands in permissions by address: on a file, on the folders that it lies in, on its
shared drive. What a caller may not see is not there for him. The bytes lie beside those of Cloud Storage's objects.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable

from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import id_of, project_of
from gcp_openemr.sandbox.api.projects import find_service_account
from gcp_openemr.sandbox.api.refusals import duplicate
from gcp_openemr.sandbox.api.rules import (
    Call,
    Handler,
    Json,
    Record,
    beyond_if,
    demand,
    handles,
    only,
    refuse,
    refuse_if,
    shape,
)
from gcp_openemr.sandbox.api.serviceusage import require_enabled
from gcp_openemr.sandbox.api.storage.common import part
from gcp_openemr.sandbox.api.storage.objects import Keeping
from gcp_openemr.sandbox.api.storage.uploads import multipart, pieces
from gcp_openemr.sandbox.api.validation import accept

_ROOT = "drive.googleapis.com"
_FILES = f"{_ROOT}/files"
# Where the objects' table keeps the bytes: no bucket can have the name.
_SHELF = "/drive"
_FOLDER = "application/vnd.google-apps.folder"
_EDITORS = "application/vnd.google-apps."
# Roles: https://developers.google.com/workspace/drive/api/guides/ref-roles
_WRITERS = {"owner", "organizer", "fileOrganizer", "writer"}
_SHARERS = {"file": {"owner", "organizer", "writer"}, "drive": {"organizer"}}
_GRANTED = {"file": {"reader", "commenter", "writer"}, "drive": {"organizer", "fileOrganizer"}}
_WRITABLE = ("name", "mimeType", "description", "copyRequiresWriterPermission")
# What is answered when the call does not say which fields it wants.
_FIELDS = {
    "Drive": ("kind", "id", "name"),
    "File": ("kind", "id", "name", "mimeType"),
    "Permission": ("kind", "id", "type", "role"),
}


def _answers(method_id: str) -> Callable[[Handler], Handler]:
    """Answer a method for whoever's own project has the API, with the fields that he asks for."""

    def add(function: Callable[[Call], Json | Response]) -> Handler:
        @functools.wraps(function)
        def answer(call: Call) -> Json | Response:
            account = find_service_account(call.store, call.caller.email)
            require_enabled(call, project_of(account.name) if account else "")
            chosen = _chosen_fields(call)
            found = function(call)
            return found if isinstance(found, Response) or chosen is None else only(found, chosen)

        return handles(method_id)(answer)

    return add


def _chosen_fields(call: Call) -> list[str] | None:
    """The outermost names of a field mask, None for everything."""
    if call.one("fields") == "*":
        return None
    schema = call.method.response
    names = [re.split(r"[/(]", name)[0].strip() for name in re.sub(r"\([^)]*\)", "", call.one("fields")).split(",")]
    for name in filter(None, names):
        known = name in call.discovery.schema(schema)["properties"]
        refuse_if(not known, "drive.field", location=("parameter", "fields"), name=name)
    return [*filter(None, names)] or list(_FIELDS[schema])


def _place(file: str) -> str:
    return f"{_FILES}/{file}"


def _roles(call: Call, found: Record) -> set[str]:
    """What the caller is to an item, by its own permissions and those of everything it lies in."""
    roles: set[str] = set()
    place: Record | None = found
    while place is not None:
        for permission in call.store.list(f"{_ROOT}/permissions/{id_of(place.name)}/"):
            told = permission.body
            if told["type"] == "anyone" or told["emailAddress"].lower() == call.caller.email.lower():
                roles.add(told["role"])
        parents = place.body.get("parents")
        place = call.store.get(_place(parents[0])) if parents else None
    return roles


def _seen(call: Call, file: str) -> tuple[Record, set[str]]:
    """An item and what the caller is to it. Raises 404 also for one that he may not see."""
    found = call.store.get(_place(file))
    # Who does not say that he knows shared drives is told nothing of what lies there.
    if found is not None and "driveId" in found.body and not call.flag("supportsAllDrives"):
        found = None
    roles = _roles(call, found) if found is not None else set()
    if found is None or not roles:
        raise refuse("drive.not-found", location=("parameter", "fileId"), id=file)
    return found, roles


@_answers("drive.files.get")
def get(call: Call) -> Json | Response:
    found, roles = _seen(call, call.parameters["fileId"])
    body = found.body
    if call.one("alt") != "media":
        return body
    refuse_if(body["mimeType"].startswith(_EDITORS), "drive.editors", location=("parameter", "alt"))
    refuse_if(body.get("copyRequiresWriterPermission") and not roles & _WRITERS, "drive.download")
    content = demand(call.app.objects.live(_SHELF, body["id"]), "drive.not-found", id=body["id"])
    headers = {"Content-Type": body["mimeType"], "Accept-Ranges": "bytes"}
    return part(call, content, int(body["size"]), headers)


@_answers("drive.files.create")
def create(call: Call) -> Json:
    """At the upload address with its bytes, alone or after the metadata; elsewhere without: a folder, a document."""
    upload = call.one("uploadType", "media") if "/upload/drive/" in call.request.raw_path else ""
    beyond_if(upload not in {"", "media", "multipart"}, "The sandbox takes an upload to Drive in one request only.")
    given, media_type, data = _sent(call, upload)
    body = accept(call.discovery, "File", given)
    within = _parent(call, body)
    file = "1" + secrets.token_urlsafe(24)
    made = shape("drive.file", _place(file), name=body.get("name", "Untitled"), mime=body.get("mimeType", media_type))
    made |= only(body, _WRITABLE) | within
    if made["mimeType"].startswith(_EDITORS):
        beyond_if(upload, "The sandbox turns no file into a document of Google's.")
        _put(call, made)
        return made
    service = call.caller.email.endswith(".gserviceaccount.com")
    refuse_if(service and "driveId" not in made, "drive.no-quota")
    received = call.app.objects.receive(data)
    made |= {"size": str(received.size), "md5Checksum": base64.b64decode(received.md5).hex()}
    try:
        with call.store.transaction():
            _put(call, made)
            call.app.objects.insert(_SHELF, file, {}, received.file, Keeping(versions=False, soft_seconds=0))
    except BaseException:
        call.app.objects.discard(received.file)
        raise
    return made


def _sent(call: Call, upload: str) -> tuple[object, str, Iterable[bytes]]:
    """Metadata, media type and bytes of a new file."""
    usual = "application/octet-stream"
    if upload == "multipart":
        given, media_type, content = multipart(call.request)
        return given, media_type, (content,)
    if upload:
        return {}, call.request.headers.get("content-type", usual), pieces(call.request.body)
    return call.request.json(), usual, ()


def _parent(call: Call, body: Json) -> Json:
    """Where a new item lies: nothing for the top of My Drive."""
    parents = [parent for parent in body.get("parents") or () if parent != "root"]
    beyond_if(len(parents) > 1, "An item of Drive has one parent.")
    if not parents:
        return {}
    found, roles = _seen(call, parents[0])
    refuse_if(not roles & _WRITERS, "drive.parent-permission")
    return {"parents": parents, **only(found.body, ("driveId",))}


def _put(call: Call, made: Json) -> None:
    """Keep an item; what lies in a shared drive is the drive's, everything else its maker's."""
    with call.store.transaction():
        call.store.put(_place(made["id"]), made)
        if "driveId" not in made:
            _share(call, made["id"], {"type": "user", "role": "owner", "emailAddress": call.caller.email})


def _share(call: Call, file: str, given: Json) -> Json:
    """Keep who is what to an item; a grantee has one permission there."""
    address = str(given.get("emailAddress") or "")
    number = str(int.from_bytes(hashlib.sha256(address.lower().encode()).digest()[:8], "big")).zfill(20)
    name = f"{_ROOT}/permissions/{file}/{number if address else 'anyoneWithLink'}"
    told = {"type": given["type"], "role": given["role"], "address": address or None}
    return call.store.put(name, shape("drive.permission", name, **told)).body


def _needed(given: Json, field: str) -> str:
    place = ("other", f"permission.{field}")
    return str(demand(given.get(field) or None, "drive.permission-field", location=place, field=field))


@_answers("drive.permissions.create")
def share(call: Call) -> Json:
    file = call.parameters["fileId"]
    found, roles = _seen(call, file)
    kind = "drive" if found.body.get("driveId") == file else "file"
    given = call.body
    for field in ("type", "role"):
        _needed(given, field)
    beyond_if(given["type"] not in {"user", "anyone"}, "The sandbox shares with accounts by address, and with anyone.")
    beyond_if(given["role"] not in {*_GRANTED["file"], *_GRANTED[kind]}, "The sandbox does not give this role here.")
    refuse_if(not roles & _SHARERS[kind], "drive.file-permission")
    if given["type"] == "anyone":
        return _share(call, file, {**given, "emailAddress": ""})
    address = _needed(given, "emailAddress")
    service = address.endswith(".gserviceaccount.com")
    refuse_if(service and not call.app.service_account_exists(address), "drive.no-account", email=address)
    return _share(call, file, given)


@_answers("drive.drives.create")
def create_drive(call: Call) -> Json:
    """A shared drive, whose top folder has its id; the same request makes no second one."""
    wish = hashlib.sha256(f"{call.caller.email}/{call.one('requestId')}".encode()).digest()
    drive = "0A" + base64.urlsafe_b64encode(wish[:12]).decode() + "PVA"
    name = f"{_ROOT}/drives/{drive}"
    with call.store.transaction():
        if call.store.get(name) is not None:
            raise duplicate(name)
        made = shape("drive.drive", name, name=str(call.body.get("name") or "Untitled"))
        call.store.put(name, made)
        top = shape("drive.file", _place(drive), name=made["name"], mime=_FOLDER)
        call.store.put(_place(drive), {**top, "driveId": drive})
        _share(call, drive, {"type": "user", "role": "organizer", "emailAddress": call.caller.email})
    return made
