"""The shape of a row in the table of resource types."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gcp_openemr.sandbox import discovery
from gcp_openemr.sandbox.provider.rest import Client

__all__ = [
    "COMPUTE",
    "Change",
    "Json",
    "ResourceType",
    "Settings",
    "Timeouts",
    "compute_link",
    "expand",
    "network_link",
    "short",
]

Json = dict[str, Any]
State = dict[str, Any]

COMPUTE: Final = "https://www.googleapis.com/compute/v1/"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


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
# A read that is no single GET; None when the resource is gone: (state, settings) → state.
Reading = Callable[[Mapping[str, Any], Settings], State | None]
# Arguments from an import id of the type's own form; None when it has another: (id, settings) → arguments.
Importing = Callable[[str, Settings], State | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResourceType:
    """How one resource type speaks to its API.

    Templates hold Terraform names in braces: `{name}`. Paths are from the root of the API's host.
    """

    type: str
    title: str
    api: tuple[str, str]
    schema: str
    collection: str
    item: str
    id: str
    imports: tuple[str, ...] = ()
    wait: str = ""
    create_query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # "PATCH" sends what changed, "PATCH mask" says so in updateMask, "PATCH full" and "PUT" send all, "" cannot update.
    update: str = ""
    # Dotted Terraform path to dotted API path, relative to the block's own object; "" keeps it out of the API.
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Dotted paths of blocks that the API keeps as a map; encode and decode turn it into a list.
    maps: frozenset[str] = frozenset()
    # Dotted paths that the API takes and never shows again.
    input_only: frozenset[str] = frozenset()
    # Dotted path to kind of sameness.
    sameness: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Only these need no call when they change.
    local: frozenset[str] = frozenset()
    # Arguments (dotted paths, or whole blocks) that the row's functions carry.
    by_hand: frozenset[str] = frozenset()
    # Arguments that nothing here carries: a configuration that gives one is refused.
    unserved: frozenset[str] = frozenset()
    taint_failed_create: bool = False
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)
    encode: Encode | None = None
    decode: Decode | None = None
    settle: Settle | None = None
    on_plan: PlanHook | None = None
    before_create: Operation | None = None
    after_create: Operation | None = None
    create: Operation | None = None
    updating: Operation | None = None
    before_delete: Operation | None = None
    delete: Operation | None = None
    reading: Reading | None = None
    importing: Importing | None = None
    is_gone: Callable[[Json], bool] | None = None
    # Every argument is ForceNew.
    is_immutable: bool = False
    # Top-level arguments that are ForceNew beside those of rules.json.
    forced: frozenset[str] = frozenset()
    # Sentence that refuses a destroy while `deletion_protection` is set; "" when the API decides.
    protected: str = ""

    @property
    def host(self) -> str:
        return f"{self.api[0]}.googleapis.com"

    @property
    def version(self) -> str:
        return self.api[1]

    @functools.cached_property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the resource's schema in the discovery document."""
        found: Mapping[str, Any] = discovery.load(*self.api).schema(self.schema)["properties"]
        return found

    def schema_of(self, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """Properties of the object that a property's definition refers to; {} for anything else."""
        if "$ref" in definition:
            definition = discovery.load(*self.api).schema(definition["$ref"])
        found: Mapping[str, Any] = definition.get("properties", {})
        return found


def expand(template: str, state: Mapping[str, Any]) -> str:
    """Fill `{names}` with the state's values."""
    return _PLACEHOLDER.sub(lambda found: str(state.get(found.group(1)) or ""), template)


def network_link(network: str, settings: Settings) -> str:
    """The full link of a network given by name or link."""
    return compute_link(network, f"projects/{settings.project}/global/networks/")


def compute_link(given: str, collection: str) -> str:
    """The full link of a Compute Engine resource given by name, relative name or link."""
    if given.startswith("https://"):
        return given
    return f"{COMPUTE}{given}" if given.startswith("projects/") else f"{COMPUTE}{collection}{short(given)}"


def short(link: Any) -> str:
    """The last segment of a link or name."""
    return str(link or "").rsplit("/", 1)[-1]
