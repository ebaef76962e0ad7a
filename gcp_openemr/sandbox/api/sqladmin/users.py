"""Users and databases: made while the call waits, so that no password waits in an operation."""

from __future__ import annotations

from collections.abc import Callable

from gcp_openemr.sandbox.api.names import etag_of, id_of
from gcp_openemr.sandbox.api.refusals import demand, refuse, refuse_if
from gcp_openemr.sandbox.api.rules import ApiError, Call, Json, Record, Refused, handles, shape
from gcp_openemr.sandbox.api.sqladmin.instances import begin, online

_OLD_PASSWORDS = {"DUAL_PASSWORD": "retain", "NO_DUAL_PASSWORD": "discard"}
_VERBS = {"insert": "create", "patch": "update"}


def _instance(call: Call, word: str) -> Record:
    """The running instance of the call, which the caller may use so."""
    instance = call.name.split(f"/{word}")[0]
    call.authorize(f"cloudsql.{word}.{_VERBS.get(call.verb, call.verb)}", instance)
    return online(call, instance)


def _done(call: Call, record: Record, kind: str, do: Callable[[], None]) -> Json:
    """Let the server do it; its refusal is the API's."""
    try:
        do()
    except Refused as refused:
        raise refuse("sqladmin.server", message=refused.message.removeprefix("Invalid request: ")) from refused
    return begin(call, record, kind)


def _known(call: Call, record: Record) -> list[tuple[str, str]]:
    return [(found["name"], found["host"]) for found in call.app.runtime.list_database_users(record.name)]


@handles("sql.users.insert")
def insert_user(call: Call) -> Json:
    record = _instance(call, "users")
    user, host, password = (str(call.body.get(field) or "") for field in ("name", "host", "password"))
    refuse_if(not user, "sqladmin.required", field="name")
    if call.body.get("type", "BUILT_IN") != "BUILT_IN":
        raise ApiError(501, "The sandbox stands in for built-in database users only.")
    refuse_if(not password, "sqladmin.password")
    runtime = call.app.runtime
    return _done(
        call, record, "CREATE_USER", lambda: runtime.create_database_user(record.name, user, host or "%", password)
    )


@handles("sql.users.update")
def update_user(call: Call) -> Json:
    """Another password; `dualPasswordType` says whether the present one stays valid beside it.

    https://cloud.google.com/sdk/gcloud/reference/sql/users/set-password
    """
    record = _instance(call, "users")
    user = str(call.one("name") or call.body.get("name") or "")
    host = str(call.one("host") or call.body.get("host") or "%")
    password, old = str(call.body.get("password") or ""), str(call.body.get("dualPasswordType") or "")
    refuse_if((user, host) not in _known(call, record) and user != "root", "sqladmin.user", user=user, host=host)
    if old in _OLD_PASSWORDS and not str(record.body["databaseVersion"]).startswith("MYSQL_8_0"):
        raise refuse("sqladmin.dual-version")
    refuse_if(old == "DUAL_PASSWORD" and not password, "sqladmin.dual-password")
    runtime, keep = call.app.runtime, _OLD_PASSWORDS.get(old, "")
    return _done(
        call,
        record,
        "UPDATE_USER",
        lambda: runtime.set_database_password(record.name, user, host, password, keep),
    )


@handles("sql.users.delete")
def delete_user(call: Call) -> Json:
    record = _instance(call, "users")
    user, host = call.one("name"), call.one("host") or "%"
    refuse_if((user, host) not in _known(call, record), "sqladmin.user", user=user, host=host)
    runtime = call.app.runtime
    return _done(call, record, "DELETE_USER", lambda: runtime.delete_database_user(record.name, user, host))


@handles("sql.users.list", "sql.users.get")
def list_users(call: Call) -> Json:
    record = _instance(call, "users")
    users = [
        shape("sql.user", record.name, user=user, host=host, etag=etag_of(user, host).strip('"'))
        for user, host in _known(call, record)
    ]
    if call.verb == "list":
        return {"kind": "sql#usersList", "items": users}
    name, host = id_of(call.name), call.one("host")
    for user in users:
        if user["name"] == name and host in {"", user["host"]}:
            return user
    raise refuse("sqladmin.user", user=name, host=host or "%")


def _databases(call: Call, record: Record) -> dict[str, Json]:
    """The schemas by name, as the server has them."""
    return {
        name: shape("sql.database", record.name, database=name, etag=etag_of(*found.values()).strip('"'), **found)
        for found in call.app.runtime.list_schemas(record.name)
        if (name := found["name"])
    }


def _database(call: Call, record: Record) -> Json:
    return demand(_databases(call, record).get(id_of(call.name)), "sqladmin.database")


@handles("sql.databases.insert", "sql.databases.patch", "sql.databases.update")
def put_database(call: Call) -> Json:
    record = _instance(call, "databases")
    name = str(call.body.get("name") or "") if call.verb == "insert" else _database(call, record)["name"]
    refuse_if(not name, "sqladmin.required", field="name")
    refuse_if(call.verb == "insert" and name in _databases(call, record), "sqladmin.database-exists")
    charset, collation = (str(call.body.get(field) or "") for field in ("charset", "collation"))
    kind = "CREATE_DATABASE" if call.verb == "insert" else "UPDATE_DATABASE"
    runtime = call.app.runtime
    return _done(call, record, kind, lambda: runtime.create_schema(record.name, name, charset, collation))


@handles("sql.databases.delete")
def delete_database(call: Call) -> Json:
    record = _instance(call, "databases")
    name = _database(call, record)["name"]
    return _done(call, record, "DELETE_DATABASE", lambda: call.app.runtime.delete_schema(record.name, name))


@handles("sql.databases.list", "sql.databases.get")
def show_databases(call: Call) -> Json:
    record = _instance(call, "databases")
    if call.verb == "get":
        return _database(call, record)
    return {"kind": "sql#databasesList", "items": list(_databases(call, record).values())}
