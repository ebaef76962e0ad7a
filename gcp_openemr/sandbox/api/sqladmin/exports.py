"""Schemas of an instance written as SQL into a bucket, in the name of the instance's own account."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from gcp_openemr.sandbox.api.iam import Caller
from gcp_openemr.sandbox.api.names import bucket_name
from gcp_openemr.sandbox.api.refusals import beyond_if, demand, refuse_if
from gcp_openemr.sandbox.api.rules import WORK, App, Call, Json, Operation, handles
from gcp_openemr.sandbox.api.sqladmin.instances import begin, online
from gcp_openemr.sandbox.api.storage import common

_GZIP = 31


@handles("sql.instances.export", needs="cloudsql.instances.export")
def export(call: Call) -> Json:
    record = online(call, call.name)
    context = call.body.get("exportContext") or {}
    beyond_if(context.get("fileType", "SQL") != "SQL", "The sandbox exports SQL, no other kind of file.")
    schemas = [str(schema) for schema in context.get("databases") or ()]
    beyond_if(not schemas, "The sandbox exports the databases that are named.")
    uri = str(context.get("uri") or "")
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    refuse_if(not (uri.startswith("gs://") and bucket and name), "sqladmin.required", field="uri")
    account = Caller(member=f"serviceAccount:{record.body['serviceAccountEmailAddress']}")
    full = f"{bucket_name(bucket)}/objects/{name}"
    there = call.app.objects.live(bucket, name) is not None
    for verb in ("create", "delete") if there else ("create",):
        refuse_if(not call.app.iam.allows(account, f"storage.objects.{verb}", full), "sqladmin.export-bucket")
    arguments = {"bucket": bucket, "name": name, "schemas": schemas}
    return begin(call, record, "EXPORT", work="sql.export", arguments=arguments)


@WORK.register("sql.export")
def export_work(app: App, operation: Operation) -> Json:
    bucket, name = str(operation.arguments["bucket"]), str(operation.arguments["name"])
    written = app.runtime.export_database(operation.target, list(operation.arguments["schemas"]))
    content = app.objects.receive(_packed(written) if name.endswith(".gz") else written)
    body = {"size": str(content.size), "crc32c": content.crc32c, "md5Hash": content.md5}
    with app.store.transaction():
        holder = demand(app.store.get(bucket_name(bucket)), "storage.bucket-missing").body
        body |= {"contentType": "application/octet-stream", "storageClass": holder["storageClass"]}
        _, free = app.objects.insert(bucket, name, body, content.file, common.keeping(holder))
    if free:
        app.objects.discard(free)
    return {}


def _packed(written: Iterable[bytes]) -> Iterator[bytes]:
    packing = zlib.compressobj(wbits=_GZIP)
    for piece in written:
        yield packing.compress(piece)
    yield packing.flush()
