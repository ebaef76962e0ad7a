"""Extracts Terraform schemas from the prebuilt JavaScript bindings in the wheel of cdktn-provider-google.

    python -m gcp_openemr.sandbox.provider.extract_schema WHEEL OUT

The bindings are generated from `terraform providers schema -json`, so that each class says of every argument whether
it is computed, optional or required, and each `…ToHclTerraform` its nesting. They leave out what protocol 6 does not
carry either (ForceNew, defaults, validators): that is in `rules.json`.

Output (gzipped JSON, the same bytes for the same wheel): `{"source", "licence", "provider", "resource": {type: block},
"data": {type: block}}`, where a block is `{"attributes": {name: [type, flags]}, "blocks": {name: [nesting, min items,
max items, block]}}`, flags are letters of `r`equired, `o`ptional and `c`omputed, and 0 max items means unbounded.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["DATA_SOURCES", "RESOURCES", "extract", "main", "parse"]

RESOURCES = re.findall(
    r"\w+",
    """
google_artifact_registry_repository google_artifact_registry_repository_iam_member google_cloud_run_v2_job
google_cloud_run_v2_job_iam_member google_cloud_run_v2_service google_cloud_run_v2_service_iam_member
google_cloud_scheduler_job google_compute_address google_compute_disk google_compute_disk_resource_policy_attachment
google_compute_firewall google_compute_forwarding_rule google_compute_health_check google_compute_instance
google_compute_instance_group_manager google_compute_instance_template google_compute_network
google_compute_per_instance_config google_compute_resource_policy google_compute_router google_compute_router_nat
google_compute_subnetwork google_dns_managed_zone google_dns_record_set google_iam_workload_identity_pool
google_iam_workload_identity_pool_provider google_iap_tunnel_instance_iam_member google_logging_metric
google_logging_project_bucket_config google_logging_project_sink google_monitoring_alert_policy
google_monitoring_notification_channel google_monitoring_uptime_check_config google_project_iam_audit_config
google_project_iam_custom_role google_project_iam_member google_project_service google_secret_manager_secret
google_secret_manager_secret_iam_member google_service_account google_service_account_iam_member
google_sql_database_instance google_storage_bucket google_storage_bucket_iam_member google_storage_managed_folder
google_storage_managed_folder_iam_member
""",
)

DATA_SOURCES = ["google_client_config", "google_project"]

_CLASS = re.compile(r"^class (\w+) extends cdkt[fn]\.(\w+) \{\n(.*?)^\}", re.M | re.S)
_TO_HCL = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.M | re.S)
_FLAGS = re.compile(r"^    // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$", re.M)
_ARGUMENT = re.compile(
    r"^ +(\w+): \{\n +value: .*,\n +isBlock: (true|false),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"", re.M
)
_MEMBER = re.compile(r"= new (?:\w+\.)?(\w+)\(this, \"(\w+)\"(?:, (true|false))?\)")
_GETTER = re.compile(r"return (.*?)this\.get(\w+)Attribute\('(\w+)'\)")
_SCALARS = {"string": "string", "number": "number", "boolean": "bool"}

Block = dict[str, Any]


class _Binding:
    """The classes of one resource or data source."""

    def __init__(self, source: str) -> None:
        self.parents: dict[str, str] = {}
        self.bodies: dict[str, str] = {}
        for found in _CLASS.finditer(source):
            self.parents[found.group(1)] = found.group(2)
            self.bodies[found.group(1)] = found.group(3)
        self.functions = {found.group(1).lower(): found.group(2) for found in _TO_HCL.finditer(source)}

    def block(self, name: str) -> Block:
        """The block of the resource's class, or of a nested `…OutputReference`."""
        body = self.bodies[name]
        arguments_text = body[body.find("synthesizeHclAttributes") :]
        if name.endswith("OutputReference"):
            arguments_text = self.functions.get(name.removesuffix("OutputReference").lower(), "")
        arguments = {found.group(1): found.groups()[1:] for found in _ARGUMENT.finditer(arguments_text)}
        members = {found.group(2): (found.group(1), found.group(3) == "true") for found in _MEMBER.finditer(body)}
        getters = {found.group(3): (found.group(2), found.group(1)) for found in _GETTER.finditer(body)}
        attributes: Block = {}
        blocks: Block = {}
        for flags in _FLAGS.finditer(body):
            argument, *said = flags.groups()
            letters = "".join(letter for letter, value in zip("cor", said, strict=True) if value == "true")
            is_block, kind, storage = arguments.get(argument, ("false", "", ""))
            if is_block == "true":
                blocks[argument] = self._nested(members[argument][0], kind, required="r" in letters)
            elif argument in members:
                attributes[argument] = [self._object_type(*members[argument], kind), letters]
            elif storage:
                attributes[argument] = [_argument_type(storage, kind), letters]
            else:
                attributes[argument] = [_getter_type(*getters[argument]), letters]
        # `timeouts` carries no flags in some versions: it is always an optional single block.
        for argument, (_, kind, _) in arguments.items():
            if kind == "struct" and argument not in blocks:
                blocks[argument] = self._nested(members[argument][0], kind, required=False)
        return {"attributes": _by_name(attributes), "blocks": _by_name(blocks)}

    def _nested(self, member: str, kind: str, *, required: bool) -> list[Any]:
        nesting = "single" if kind == "struct" else kind
        unbounded = self.parents[member] == "ComplexList"
        return [nesting, int(required), 0 if unbounded or nesting == "single" else 1, self.block(self._element(member))]

    def _object_type(self, member: str, wraps_set: bool, kind: str) -> Any:
        """Type of an attribute that has a class: a map, or a list or set of objects."""
        simple = re.fullmatch(r"(String|Number|Boolean|Any)(Map|List|MapList)", member)
        if simple:
            element = {"String": "string", "Number": "number", "Boolean": "bool", "Any": "string"}[simple.group(1)]
            if simple.group(2) == "MapList":
                return ["list", ["map", element]]
            return ["map" if simple.group(2) == "Map" else "list", element]
        block = self.block(self._element(member))
        element_type = ["object", {name: attribute[0] for name, attribute in block["attributes"].items()}]
        return [kind or ("set" if wraps_set else "list"), element_type]

    def _element(self, member: str) -> str:
        if self.parents[member] in {"ComplexList", "ComplexMap"}:
            return re.sub(r"(List|Map)$", "OutputReference", member)
        return member


def parse(source: str) -> tuple[str, str, Block]:
    """Terraform type, "resource" or "data", and block of one binding's `index.js`."""
    found = re.search(r'static tfResourceType = "(\w+)"', source)
    if found is None:
        raise ValueError("no resource type in this binding")
    binding = _Binding(source)
    for name, parent in binding.parents.items():
        if parent in {"TerraformResource", "TerraformDataSource"}:
            return found.group(1), "resource" if parent == "TerraformResource" else "data", binding.block(name)
    raise ValueError(f"no class of {found.group(1)} in this binding")


def extract(wheel: Path) -> bytes:
    """The committed data for the types of this module, from a wheel of cdktn-provider-google."""
    schemas: dict[str, dict[str, Block]] = {"data": {}, "resource": {}}
    provider = ""
    for source in _bindings(wheel):
        terraform_type, kind, block = parse(source)
        schemas[kind][terraform_type] = block
        version = re.search(r"providerVersion: '([\d.]+)'", source)
        provider = version.group(1) if version else provider
    missing = {*RESOURCES} - {*schemas["resource"]} | {*DATA_SOURCES} - {*schemas["data"]}
    if missing:
        raise ValueError(f"the wheel has no {', '.join(sorted(missing))}")
    return _pack(
        {
            "source": f"{wheel.name}: lib/*/index.js, schema of hashicorp/google {provider}",
            "licence": "MPL-2.0 (Copyright HashiCorp, Inc. and the CDK Terrain authors); see NOTICE",
            "provider": provider,
            "resource": _by_name(schemas["resource"]),
            "data": _by_name(schemas["data"]),
        }
    )


def main(arguments: list[str]) -> int:
    """`WHEEL OUT`; exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m gcp_openemr.sandbox.provider.extract_schema WHEEL OUT\n")
        return 64
    Path(arguments[1]).write_bytes(extract(Path(arguments[0])))
    return 0


def _bindings(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        package = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        content = archive.read(package)
    folders = [name.removeprefix("google_").replace("_", "-") for name in RESOURCES]
    folders += ["data-" + name.replace("_", "-") for name in DATA_SOURCES]
    wanted = {f"package/lib/{folder}/index.js" for folder in folders}
    with tarfile.open(fileobj=io.BytesIO(content)) as bindings:
        for member in bindings:
            stream = bindings.extractfile(member) if member.name in wanted else None
            if stream is not None:
                yield stream.read().decode().partition("//# sourceMappingURL")[0]


def _argument_type(storage: str, kind: str) -> Any:
    if storage in _SCALARS:
        return _SCALARS[storage]
    found = re.fullmatch(r"(string|number|boolean)(List|Map)", storage)
    if found is None:
        raise ValueError(f"argument of unknown storage class {storage}")
    return [kind if found.group(2) == "List" else "map", _SCALARS[found.group(1)]]


def _getter_type(getter: str, wrapper: str) -> Any:
    scalars = {"String": "string", "Number": "number", "Boolean": "bool"}
    if getter in scalars:
        return scalars[getter]
    if getter == "List":
        return ["set" if "tolist" in wrapper else "list", "string"]
    found = re.fullmatch(r"(String|Number|Boolean|Any)(List|Map)", getter)
    if found is None:
        raise ValueError(f"attribute of unknown getter {getter}")
    element = scalars.get(found.group(1), "string")
    return [("set" if "tolist" in wrapper else "list") if found.group(2) == "List" else "map", element]


def _by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


def _pack(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
