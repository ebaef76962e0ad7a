"""The shape of a row in the table of resource types."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from gcp_openemr.sandbox import discovery
from gcp_openemr.sandbox.provider.rest import Client

__all__ = [
    "APIS",
    "COMPUTE",
    "LINK",
    "STORAGE",
    "Api",
    "Change",
    "Hooks",
    "Json",
    "ResourceType",
    "Settings",
    "Step",
    "Timeouts",
    "compute_link",
    "expand",
    "import_forms",
    "links",
    "named_in",
    "network_link",
    "placeholders",
    "short",
]

Json = dict[str, Any]
State = dict[str, Any]

LINK: Final = "https://www.googleapis.com/compute/v1/"
_PLACES: Final = frozenset({"location", "region", "zone"})  # said in paths, not in bodies

_PLACEHOLDER = re.compile(r"\{(%?)(\w+)\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the provider block (and the environment) settled."""

    project: str
    region: str
    zone: str
    default_labels: Mapping[str, str]
    attribution_label: bool
    attribution_strategy: str
    client: Client


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds an operation may take."""

    create: float = 1200
    update: float = 1200
    delete: float = 1200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What a hook is told about a call: the row, the settings, and the state before (None on create)."""

    row: ResourceType
    settings: Settings
    prior: Mapping[str, Any] | None


# Adjusts a request body made from a planned state: (body, state, change) → body.
Encode = Callable[[Json, Mapping[str, Any], Change], Json]
# Adjusts the API's answer before it becomes state; sees the state before: (body, state, settings) → body.
Decode = Callable[[Json, Mapping[str, Any], Settings], Json]
# Fills in what only Terraform shows, after the answer became state: (state, body, settings).
Settle = Callable[[State, Json, Settings], None]
# The type's own decisions at plan time (CustomizeDiff): (state, prior, config, settings) changes the state and
# returns top-level arguments whose change replaces the resource.
PlanHook = Callable[[State, Mapping[str, Any] | None, Mapping[str, Any], Settings], Sequence[str]]
# A create, update or delete that is no single call, or something to do before or after one: (state, change).
Operation = Callable[[State, Change], None]
# The API's object when it is no single GET; None when the resource is gone: (state, settings) → body.
Fetch = Callable[[Mapping[str, Any], Settings], Json | None]
# Arguments from an import id of the type's own form; None when it has another: (id, settings) → arguments.
Importing = Callable[[str, Settings], State | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A method of its own for some arguments: `suffix` follows the resource's path.

    What is sent is what `body` makes of (state, resource now), else those fields of the row's own body that `sends`
    names, else all of it.
    """

    changes: Sequence[str]
    suffix: str
    method: str = "POST"
    sends: Sequence[str] | None = None
    body: Callable[[Mapping[str, Any], Json], Json] | None = None


@dataclasses.dataclass(frozen=True)
class Api:
    """One of Google's APIs. Paths are `root` and what ids say.

    `update` is how its resources are updated: "PATCH" sends what changed, "PATCH fingerprint" with the fingerprint of
    what it changes, "PATCH mask" says so in updateMask, "PATCH full" and "PUT" send all.
    """

    name: str
    version: str
    root: str
    update: str = "PATCH mask"

    @property
    def host(self) -> str:
        return f"{self.name}.googleapis.com"


APIS: Final = {
    api.name: api
    for api in (
        Api("artifactregistry", "v1", "/v1/"),
        Api("cloudresourcemanager", "v3", "/v3/"),
        Api("cloudscheduler", "v1", "/v1/", "PATCH full"),
        Api("compute", "v1", "/compute/v1/", "PATCH"),
        Api("dns", "v1", "/dns/v1/", "PATCH"),
        Api("iam", "v1", "/v1/"),
        Api("iap", "v1", "/v1/"),
        Api("logging", "v2", "/v2/"),
        Api("monitoring", "v3", "/v3/"),
        Api("run", "v2", "/v2/", "PATCH full"),
        Api("secretmanager", "v1", "/v1/"),
        Api("serviceusage", "v1", "/v1/"),
        Api("sqladmin", "v1", "/v1/", "PUT"),
        Api("storage", "v1", "/storage/v1/", "PATCH"),
    )
}
COMPUTE: Final = APIS["compute"]
STORAGE: Final = APIS["storage"]

# Compute Engine's labels have their own method, with a fingerprint against lost updates.
_LABELS: Final = Step(
    changes=("effective_labels", "labels", "terraform_labels"),
    suffix="/setLabels",
    body=lambda state, now: {
        "labels": dict(state.get("effective_labels") or {}),
        "labelFingerprint": now.get("labelFingerprint", ""),
    },
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a resource type does that no table says."""

    encode: Encode | None = None
    decode: Decode | None = None
    settle: Settle | None = None
    on_plan: PlanHook | None = None
    before_create: Operation | None = None
    after_create: Operation | None = None
    create: Operation | None = None
    steps: tuple[Step, ...] = ()
    updating: Operation | None = None
    after_update: Operation | None = None
    before_delete: Operation | None = None
    delete: Operation | None = None
    fetch: Fetch | None = None
    importing: Importing | None = None


@dataclasses.dataclass(frozen=True)
class ResourceType(Hooks):
    """How one resource type speaks to its API, as `table.toml` and its hooks say.

    `schema` is the resource's in the discovery document. Templates hold Terraform names in braces: `{name}`; `item` and
    `collection` follow from the id where they can.
    """

    type: str
    api: Api
    schema: str
    id: str
    _: dataclasses.KW_ONLY
    title: str = ""
    collection: str = ""
    item: str = ""
    imports: tuple[str, ...] = ()
    # Query parameter that names a new resource by the last part of its id (`serviceId`).
    named_by: str = ""
    create_query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    update: str | None = None
    update_query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delete_query: str = ""
    # Dotted Terraform path to dotted API path, relative to the block's own object; "" keeps it out of the API.
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Dotted paths of blocks that the API keeps as a map, and the argument that is its key.
    maps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Dotted paths that the API takes and never shows again.
    input_only: frozenset[str] = frozenset()
    # Dotted path to kind of sameness.
    sameness: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # The resource is an element of this list of the resource at `item`, which is read, changed and patched as a whole.
    element_of: str = ""
    # These need no call when they change.
    local: frozenset[str] = frozenset()
    # Arguments (dotted paths, or whole blocks) that the row's functions carry.
    by_hand: frozenset[str] = frozenset()
    # Arguments that nothing here carries: a configuration that gives one is refused.
    unserved: frozenset[str] = frozenset()
    # Fields of the API that hold links or full names and whose last part is Terraform's value.
    short: frozenset[str] = frozenset()
    # Fields of the API and their values in an answer that means that the resource is gone.
    gone: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    taint_failed_create: bool = False
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)
    # Every argument is ForceNew.
    is_immutable: bool = False
    # Top-level arguments that are ForceNew beside those of rules.json.
    forced: frozenset[str] = frozenset()
    # Sentence that refuses a destroy while `deletion_protection` is set; "" when the API decides.
    protected: str = ""

    def __post_init__(self) -> None:
        fill = functools.partial(object.__setattr__, self)
        fill("title", self.title or self.schema)
        fill("item", self.item or self.api.root + self.id)
        fill("collection", self.collection or self.item.rpartition("/")[0])
        fill("update", self.api.update if self.update is None else self.update)
        if self.named_by:
            fill("create_query", {self.named_by: "{" + self.id.rpartition("{")[2]})
        places = _PLACES if self.api is COMPUTE else _PLACES & {*placeholders(self.id)}
        fill("names", {**dict.fromkeys(places, ""), **self.names})
        fill("local", self.local | {"deletion_policy", *(["deletion_protection"] if self.protected else [])})

    @functools.cached_property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the resource's schema in the discovery document; none for a row that reads by hand."""
        if not self.schema:
            return {}
        found: Mapping[str, Any] = discovery.load(self.api.name, self.api.version).schema(self.schema)["properties"]
        return found

    @functools.cached_property
    def every_step(self) -> Sequence[Step]:
        """The steps of an update, in order."""
        return (_LABELS, *self.steps) if "labelFingerprint" in self.properties else self.steps

    def is_gone(self, body: Json) -> bool:
        """Whether an answer speaks of a resource that is no more."""
        return any(body.get(name) == value for name, value in self.gone.items())

    def schema_of(self, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """Properties of the object that a property's definition refers to; {} for anything else."""
        if "$ref" in definition:
            definition = discovery.load(self.api.name, self.api.version).schema(definition["$ref"])
        found: Mapping[str, Any] = definition.get("properties", {})
        return found

    def call(self, client: Client, method: str, path: str, body: Any = None, timeout: float = 1200) -> Json:
        """One call to the row's API, waited for when it answers with an operation; `path` may have a query."""
        answer = client.call(method, self.api.host, path, body)
        return client.wait(self.api.host, self.api.version, answer, timeout)


def links(*paths: str) -> dict[str, str]:
    """Sameness of arguments that hold a resource's link or name."""
    return dict.fromkeys(paths, "link")


def placeholders(template: str) -> list[str]:
    """The names in a template."""
    return [name for _, name in _PLACEHOLDER.findall(template)]


def import_forms(templates: Sequence[str]) -> Iterator[str]:
    """What ids may look like on import: whole, without their words, and without the provider's own places."""
    for template in templates:
        yield template
        names = ["{" + name + "}" for name in placeholders(template)]
        if "/" in template:
            yield "/".join(names)
        while names and names[0] in ("{project}", "{region}", "{zone}"):
            names = names[1:]
            if names:
                yield "/".join(names)


def named_in(given: str, templates: Sequence[str]) -> dict[str, str] | None:
    """The arguments in an import id; None when it has no form of the templates."""
    for form in import_forms(templates):
        *pieces, name, tail = re.split(r"\{(\w+)\}", form)
        head = "".join(f"(?P<{piece}>[^/]+)" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces))
        found = re.fullmatch(f"{head}(?P<{name}>.+){re.escape(tail)}", given)
        if found is not None:
            return found.groupdict()
    return None


def expand(template: str, state: Mapping[str, Any]) -> str:
    """Fill `{names}` with the state's values, `{%names}` with slashes encoded.

    After the name of a collection, a link is shortened to its last part.
    """

    def value(found: re.Match[str]) -> str:
        given = state.get(found.group(2))
        said = "" if given is None else str(given).lower() if isinstance(given, bool) else str(given)
        linked = said.startswith(("projects/", "https://")) and template[: found.start()].endswith("s/")
        return short(said) if linked else quote(said, safe="") if found.group(1) else said

    return _PLACEHOLDER.sub(value, template)


def network_link(network: str, settings: Settings) -> str:
    """The full link of a network given by name or link."""
    return compute_link(network, f"projects/{settings.project}/global/networks/")


def compute_link(given: str, collection: str) -> str:
    """The full link of a Compute Engine resource given by name, relative name or link."""
    if given.startswith("https://"):
        return given
    return f"{LINK}{given}" if given.startswith("projects/") else f"{LINK}{collection}{short(given)}"


def short(link: Any) -> str:
    """The last segment of a link or name."""
    return str(link or "").rsplit("/", 1)[-1]
