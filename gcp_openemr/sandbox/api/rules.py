"""What a collection of resources is, as data: one `Collection` per row, small functions for what data cannot say.

Here are all the words that an API's rows and functions are written in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.messages import Response
from gcp_openemr.sandbox.api.names import singular
from gcp_openemr.sandbox.api.operations import Operation, WorkTable
from gcp_openemr.sandbox.api.refusals import beyond_if, demand, missing, refuse, refuse_if
from gcp_openemr.sandbox.api.shapes import shape
from gcp_openemr.sandbox.api.store import Record, Store
from gcp_openemr.sandbox.interfaces import Json, Refused

if TYPE_CHECKING:
    from gcp_openemr.sandbox.api.app import App
else:
    App = "App"  # its module imports those that are written in these words

__all__ = [
    "CHORES", "COLLECTIONS", "HANDLERS", "WORK", "ApiError", "App", "Call", "Change", "Collection", "Handler", "Json",
    "Operation", "Record", "Refused", "Store", "beyond_if", "demand", "fill", "handles", "load_tables", "marking",
    "missing", "only", "refuse", "refuse_if", "shape", "without",
]  # fmt: skip
COLLECTIONS: dict[str, Collection] = {}
_ALL_VERBS = ("create", "insert", "get", "list", "aggregatedList", "patch", "update", "delete")
HANDLERS: dict[str, Handler] = {}
WORK = WorkTable()
# What Google does by itself, about once a second.
CHORES: list[Callable[[App], None]] = []


@dataclasses.dataclass(kw_only=True)
class Change:
    """A resource on its way into the store. `old` is None when it is new; `hidden` is what only the sandbox knows."""

    call: Call
    name: str
    new: Json
    old: Json | None
    hidden: Json


@dataclasses.dataclass(frozen=True)
class Collection:
    """How one collection behaves. Making a row puts it into COLLECTIONS.

    `key` is the methods' id without the verb, and `also` are others that mean the same. `kind` is the word for one in
    messages, `permission` what IAM calls the collection; both are made from the key when they are not given.
    `id_parameter` is the query parameter that names a new resource, "" when the body's `name` does;
    a name that is no `id_pattern` is refused by the row `id_refusal` with {kind} {field} {snake} {id} {pattern}.
    `message` is the protobuf type that operations return, `metadata` that of their metadata ("" = the resource).
    `complete` fills what the server sets and refuses what it must, inside the transaction; `deletable` refuses a
    delete; `created`, `updated` and `deleted` name work that the operation does. `shown` is the resource as
    answered. `deleted_response` false: a delete answers Empty.
    `assigned` makes the id of a new resource from its body, where the caller does not choose it.
    `expires` is the field with the moment after which the resource is gone.
    """

    key: str
    _: dataclasses.KW_ONLY
    also: Sequence[str] = ()
    kind: str = ""
    permission: str = ""
    id_parameter: str = ""
    id_pattern: str = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
    id_refusal: str = "google.name"
    message: str = ""
    metadata: str = ""
    complete: Callable[[Change], None] = lambda _change: None
    deletable: Callable[[Call, Record], None] = lambda _call, _record: None
    shown: Callable[[Call, Json], Json] = lambda _call, body: body
    created: str = ""
    updated: str = ""
    deleted: str = ""
    deleted_response: bool = True
    parent_kind: str = ""
    immutable: Sequence[str] = ()
    expires: str = ""
    assigned: Callable[[Json], str] | None = None
    verbs: Sequence[str] = _ALL_VERBS

    def __post_init__(self) -> None:
        api, word = self.key.split(".")[0], self.key.rsplit(".", 1)[-1]
        object.__setattr__(self, "kind", self.kind or singular(word))
        object.__setattr__(self, "permission", self.permission or f"{api}.{word}")
        COLLECTIONS.update(dict.fromkeys((self.key, *self.also), self))


Handler = Callable[[Call], "Json | Response"]


def fill(resource: Json, **fields: Any) -> None:
    """Set the fields that are not given."""
    for field, value in fields.items():
        resource.setdefault(field, value)


def without(resource: Json, *fields: str) -> Json:
    """A copy that lacks some fields."""
    return {key: value for key, value in resource.items() if key not in fields}


def only(resource: Json, fields: Iterable[str]) -> Json:
    """A copy that has some fields, as far as they are given."""
    return {field: resource[field] for field in fields if field in resource}


def handles(*method_ids: str, needs: str = "", of_parent: bool = False) -> Callable[[Handler], Handler]:
    """Answer methods that are no plain create, get, list, update or delete.

    `needs` is the permission that the caller must have on the call's resource or its parent, with {verb}; what the
    method asks for beside it is asked for with it.
    """

    def add(function: Handler) -> Handler:
        @functools.wraps(function)
        def permitted(call: Call) -> Json | Response:
            if needs:
                call.authorize(needs.format(verb=call.verb), call.name.rsplit("/", 1)[0] if of_parent else "")
                call.app.authorize_uses(call, call.name, {})
            return function(call)

        HANDLERS.update(dict.fromkeys(method_ids, permitted))
        return function

    return add


@contextlib.contextmanager
def marking(app: App, name: str, **fields: Any) -> Iterator[None]:
    """Write fields of a resource when the runtime refuses what is done meanwhile."""
    try:
        yield
    except Refused:
        app.store.update(name, fields)
        raise


def load_tables() -> None:
    """Import every API's module, which adds to COLLECTIONS, HANDLERS, WORK and CHORES; once is enough."""
    package = importlib.import_module("gcp_openemr.sandbox.api")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
