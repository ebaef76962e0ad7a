"""The provider's schemas against facts read from hashicorp/google's own source, where a copy of these is at hand.

GCP_OPENEMR_PROVIDER_FACTS names the file; by default it is looked for beside the project.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox.provider.datasources import READERS
from gcp_openemr.sandbox.provider.schema import Attribute, Block, data_schema, resource_schema
from gcp_openemr.sandbox.provider.types import served

_BESIDE = Path(__file__).resolve().parents[3] / "../shared/data/google-provider-facts.json.gz"
_FILE = Path(os.environ.get("GCP_OPENEMR_PROVIDER_FACTS") or _BESIDE)

pytestmark = pytest.mark.skipif(not _FILE.is_file(), reason="no facts about the provider's source are at hand")


@pytest.fixture(scope="module")
def facts() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(_FILE.read_bytes()))
    return found


@pytest.mark.parametrize("terraform_type", served())
def test_schema_agrees_with_the_source(terraform_type: str, facts: Mapping[str, Any]) -> None:
    theirs = _block_in(facts["resource"], terraform_type)
    ours = resource_schema(terraform_type)
    found = [*_differences(ours.block, theirs, "")]
    combined = {*map(_group, (*ours.exactly_one, *ours.at_least_one))}
    for path, kind, group in _combinations(theirs, ""):
        if kind in ("ExactlyOneOf", "AtLeastOneOf") and _group(group) not in combined:
            found.append(f"{path}: {kind} {group}")
        table = {"ConflictsWith": ours.conflicts, "RequiredWith": ours.required_with}.get(kind)
        if table is not None and not {*group} - {path} <= {*table.get(path, ())}:
            found.append(f"{path}: {kind} {group}")
    assert found == []


@pytest.mark.parametrize("terraform_type", READERS)
def test_data_source_agrees_with_the_source(terraform_type: str, facts: Mapping[str, Any]) -> None:
    theirs = _block_in(facts["data"], terraform_type)
    assert [*_differences(data_schema(terraform_type).block, theirs, "")] == []


def _block_in(facts: Mapping[str, Any], terraform_type: str) -> Mapping[str, Any]:
    if terraform_type not in facts:
        pytest.skip("the facts do not have this type")
    found: Mapping[str, Any] = facts[terraform_type]["block"]
    return found


def _group(paths: Any) -> tuple[str, ...]:
    return tuple(sorted(paths))


def _differences(ours: Block, theirs: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, said in theirs["attributes"].items():
        if name not in ours.attributes:
            yield f"{prefix}{name} is missing"
        else:
            yield from _attribute(ours.attributes[name], said, prefix + name)
    for name, said in theirs["block_types"].items():
        nested = ours.blocks.get(name)
        if nested is None:
            yield f"{prefix}{name} is missing"
            continue
        if said.get("force_new") and not nested.force_new:
            yield f"{prefix}{name} is ForceNew"
        for bound in ("min_items", "max_items"):
            if said[bound] != getattr(nested, bound):
                yield f"{prefix}{name} has {bound} {said[bound]}, not {getattr(nested, bound)}"
        yield from _differences(nested.block, said["block"], f"{prefix}{name}.")


def _attribute(ours: Attribute, said: Mapping[str, Any], path: str) -> Iterator[str]:
    for flag in ("required", "optional", "computed", "force_new", "sensitive", "write_only"):
        if said.get(flag) and not getattr(ours, flag):
            yield f"{path} is {flag}"
    if said.get("default") is not None and ours.default != said["default"]:
        yield f"{path} is {said['default']!r} by default, not {ours.default!r}"
    if said.get("enum") and not {*said["enum"]} - {""} <= {*ours.enum}:
        yield f"{path} is one of {said['enum']}, not {ours.enum}"
    if said.get("range") and ours.range != tuple(said["range"]):
        yield f"{path} is in {said['range']}, not {ours.range}"
    if said.get("regex") and (ours.pattern is None or ours.pattern.pattern != said["regex"]):
        yield f"{path} matches {said['regex']}"


def _combinations(block: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, list[str]]]:
    for name, said in (*block["attributes"].items(), *block["block_types"].items()):
        for kind in ("ExactlyOneOf", "AtLeastOneOf", "ConflictsWith", "RequiredWith"):
            if said.get(kind):
                yield prefix + name, kind, [re.sub(r"\.\d+\.", ".", path) for path in said[kind]]
        if "block" in said:
            yield from _combinations(said["block"], f"{prefix}{name}.")
