"""Ways into the values of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.terraform.world import Resource

__all__ = ["block", "container", "variables_of"]


def block(value: Any) -> Any:
    """The one element of a block."""
    assert isinstance(value, list)
    assert len(value) == 1
    return value[0]


def container(resource: Resource) -> Any:
    template = block(resource.values["template"])
    inner = block(template["template"]) if resource.type.endswith("_job") else template
    return block(inner["containers"])


def variables_of(resource: Resource) -> Iterator[tuple[str, str, Any]]:
    """Name, plain value ("" when known only after apply) and secret reference of each environment variable."""
    for variable in container(resource)["env"]:
        source = variable["value_source"]
        yield variable["name"], variable.get("value", ""), block(block(source)["secret_key_ref"]) if source else None
