"""What Cloud Run fills into a template, and what it refuses in one at once.

Requests that cannot be are told with the field ("Violation in CreateServiceRequest.service.…"), and every number that
has a least and a most is a `Limit` (`limits.json`).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.api.names import id_of, project_number, segment
from gcp_openemr.sandbox.api.refusals import Refusal, refusals
from gcp_openemr.sandbox.api.rules import ApiError, Call, Json, Record, beyond_if, fill, refuse, refuse_if

__all__ = [
    "LIMITS", "NAME_PATTERN", "Limit", "check_labels", "check_limit", "check_template", "check_variables", "cpus",
    "fill_containers", "fill_identity", "violation", "violation_if",
]  # fmt: skip

NAME_PATTERN = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?"
_ENV_NAME = re.compile(r"[^=\0]{1,32768}")
_LONGEST_VALUE, _MOST_VARIABLES = 32768, 1000
_RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
_RESERVED_IN_JOBS = {"CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT",
                     "CLOUD_RUN_TASK_COUNT"}  # fmt: skip
_CLOSED_MOUNTS = ("/dev", "/proc", "/sys")
_SOURCES = ("secret", "cloudSqlInstance", "emptyDir", "nfs", "gcs")
_CPU = {"0.08", "1", "2", "4", "6", "8"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(k|Ki|M|Mi|G|Gi)?")
_UNITS = {None: 1, "k": 10**3, "Ki": 2**10, "M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
_MI, _GI = 2**20, 2**30
# CPUs to the least and the most memory (https://cloud.google.com/run/docs/configuring/services/memory-limits).
_MEMORY = {0.08: (128 * _MI, 512 * _MI), 1: (128 * _MI, 4 * _GI), 2: (128 * _MI, 8 * _GI), 4: (2 * _GI, 16 * _GI),
           6: (4 * _GI, 24 * _GI), 8: (4 * _GI, 32 * _GI)}  # fmt: skip
_LEAST_UNTHROTTLED = 512 * _MI
_PROBES = ("startup", "liveness", "readiness")
_PROBE_KINDS = ("httpGet", "tcpSocket", "grpc")
_STARTUP_WINDOW = 240
_SMALLEST_SUBNETWORK = 26  # bits of the prefix
_RESERVED_LABELS = re.compile(r"(run|cloud)\.googleapis\.com/|serving\.knative\.dev/|autoscaling\.knative\.dev/")


@dataclasses.dataclass(frozen=True)
class Limit:
    """A number of the API's `field` from `least` to `most`; its refusal is `run.{id}`."""

    id: str
    field: str
    least: int
    most: int
    source: str


LIMITS = {
    limit: Limit(limit, **row)
    for limit, row in json.loads(Path(__file__).with_name("limits.json").read_text(encoding="utf-8")).items()
}
refusals(
    *(
        Refusal(f"run.{row.id}", 400, f"must be between {row.least} and {row.most}.", row.source)
        for row in LIMITS.values()
    )
)


def violation(call: Call, refusal: str, field: str, **values: Any) -> ApiError:
    """The error of a row, told with the field of the request that is at fault (`template.containers[0].image`)."""
    error = refuse(refusal, **values)
    kind = {"services": "Service", "jobs": "Job"}.get(call.collection.rsplit(".", 1)[1], "Service")
    verb = {"create": "Create", "run": "Run"}.get(call.verb, "Update")
    where = f"{verb}{kind}Request.{kind.lower()}.{field}" if verb != "Run" else f"RunJobRequest.{field}"
    error.details = [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": f"Violation in {where}", "description": error.message}],
        }
    ]
    error.message = f"Violation in {where}: {error.message}"
    return error


def violation_if(condition: object, call: Call, refusal: str, field: str, **values: Any) -> None:
    """Raise the error of a row, told with its field, when `condition` holds."""
    if condition:
        raise violation(call, refusal, field, **values)


def check_limit(call: Call, limit: str, value: float, where: str = "template.") -> None:
    """Raise 400 for a number outside of a row of LIMITS."""
    row = LIMITS[limit]
    violation_if(not row.least <= value <= row.most, call, f"run.{limit}", where + row.field)


def fill_identity(template: Json, project: str) -> None:
    """Without an account of its own a container runs as the project's default one."""
    template["serviceAccount"] = (
        template.get("serviceAccount") or f"{project_number(project)}-compute@developer.gserviceaccount.com"
    )


def fill_containers(template: Json, *, service: bool) -> None:
    """Resources, port and probes as Cloud Run sets them."""
    for container in template.get("containers") or ():
        resources = container.setdefault("resources", {})
        if service and not resources:
            resources["cpuIdle"] = True
        limits = resources.setdefault("limits", {})
        fill(limits, cpu="1000m", memory="512Mi")
        for probe in _PROBES:
            if container.get(f"{probe}Probe"):
                _fill_probe(container[f"{probe}Probe"], container)
    if service:
        _fill_ingress(template.get("containers") or [])


def _fill_ingress(containers: list[Json]) -> None:
    """The one container that takes requests has a port; it gets one when it is alone."""
    ingress = next((found for found in containers if found.get("ports")), None)
    if ingress is None and len(containers) == 1:
        ingress = containers[0]
        ingress["ports"] = [{"name": "http1", "containerPort": 8080}]
    if ingress is None:
        return
    port = ingress["ports"][0]
    fill(port, name="http1", containerPort=8080)
    if not ingress.get("startupProbe"):
        ingress["startupProbe"] = {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": {}}
        ingress["startupProbe"]["tcpSocket"]["port"] = port["containerPort"]


def _fill_probe(probe: Json, container: Json) -> None:
    ports = container.get("ports") or [{}]
    fill(probe, timeoutSeconds=1, periodSeconds=10, failureThreshold=3)
    for kind in _PROBE_KINDS:
        if kind in probe:
            probe[kind].setdefault("port", ports[0].get("containerPort", 8080))
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")


def check_template(call: Call, template: Json, *, service: bool) -> None:
    """Refuse at once what no revision can have: identity, sizes, variables, volumes, networks, probes.

    Raises:
        ApiError: with Cloud Run's sentence.
    """
    containers = template.get("containers") or []
    violation_if(not containers, call, "run.required", "template.containers")
    email = str(template["serviceAccount"])
    refuse_if(not call.app.service_account_exists(email), "run.account", email=email)
    volumes = _volumes(call, template)
    for place, container in enumerate(containers):
        where = f"template.containers[{place}]"
        violation_if(not container.get("image"), call, "run.required", f"{where}.image")
        _check_resources(call, container, where, service=service)
        check_variables(call, container, where, service=service)
        _check_mounts(call, container, volumes, where)
        for kind in _PROBES:
            if container.get(f"{kind}Probe"):
                _check_probe(call, container[f"{kind}Probe"], kind, where)
        violation_if(len(container.get("ports") or ()) > 1, call, "run.ports", f"{where}.ports")
    if service:
        _check_ingress(call, containers)
    _check_network(call, template.get("vpcAccess") or {})


def check_labels(call: Call, *labels: Mapping[str, str] | None) -> None:
    for label in (name for given in labels for name in given or ()):
        violation_if(_RESERVED_LABELS.match(label), call, "run.label", "labels", label=label)


def cpus(container: Json) -> float:
    """CPUs of a container's limit (`500m`, `2`); 0 for what is no number."""
    cpu = str(container["resources"]["limits"]["cpu"])
    whole = cpu.removesuffix("m")
    if not re.fullmatch(r"\d+(\.\d+)?", whole):
        return 0.0
    return float(whole) / (1000 if cpu.endswith("m") else 1)


def _check_resources(call: Call, container: Json, where: str, *, service: bool) -> None:
    count = cpus(container)
    refuse_if(not (0.08 <= count < 1 or f"{count:g}" in _CPU), "run.cpu")
    given = container["resources"]["limits"]["memory"]
    found = _SIZE.fullmatch(str(given))
    if found is None:
        raise violation(call, "run.quantity", f"{where}.resources.limits.memory", value=given)
    memory = float(found[1]) * _UNITS[found[2]]
    least, most = _MEMORY[count if count in _MEMORY else 0.08]
    refuse_if(not least <= memory <= most, "run.memory", cpu=count, least=least // _MI, most=most // _MI)
    if memory < _LEAST_UNTHROTTLED and not (service and container["resources"].get("cpuIdle")):
        raise refuse("run.memory-unthrottled")


def check_variables(call: Call, container: Json, where: str, *, service: bool) -> None:
    """Refuse names that are none, stand twice or are Cloud Run's own, and values that are too long."""
    reserved = _RESERVED if service else _RESERVED | _RESERVED_IN_JOBS
    where = f"{where}.env"
    variables = container.get("env") or ()
    violation_if(len(variables) > _MOST_VARIABLES, call, "run.env-count", where, most=_MOST_VARIABLES)
    seen: set[str] = set()
    for variable in variables:
        name = str(variable.get("name") or "")
        violation_if(not _ENV_NAME.fullmatch(name), call, "run.env-name", where)
        refuse_if(name in reserved, "run.env-reserved", name=name)
        violation_if(name in seen, call, "run.env-twice", where, name=name)
        if len(str(variable.get("value") or "").encode()) > _LONGEST_VALUE:
            raise violation(call, "run.env-value", where, name=name)
        seen.add(name)


def _volumes(call: Call, template: Json) -> set[str]:
    names: set[str] = set()
    for volume in template.get("volumes") or ():
        name = str(volume.get("name") or "")
        violation_if(not name or name in names, call, "run.volume-name", "template.volumes", name=name)
        if len([kind for kind in _SOURCES if kind in volume]) != 1:
            raise violation(call, "run.volume-kind", "template.volumes", name=name)
        names.add(name)
    return names


def _check_mounts(call: Call, container: Json, volumes: set[str], where: str) -> None:
    where, used = f"{where}.volume_mounts", set()
    for mount in container.get("volumeMounts") or ():
        name, path = str(mount.get("name") or ""), str(mount.get("mountPath") or "")
        violation_if(name not in volumes, call, "run.volume-missing", where, name=name)
        violation_if(not path.startswith("/") or ":" in path or path in used, call, "run.mount-path", where, path=path)
        if any(path == root or path.startswith(f"{root}/") for root in _CLOSED_MOUNTS):
            raise violation(call, "run.mount-system", where, path=path)
        used.add(path)


def _check_probe(call: Call, probe: Json, kind: str, where: str) -> None:
    period, timeout, threshold = (int(probe[f]) for f in ("periodSeconds", "timeoutSeconds", "failureThreshold"))
    check_limit(call, f"{kind}-delay", int(probe.get("initialDelaySeconds") or 0), f"{where}.")
    check_limit(call, f"{kind}-period", period, f"{where}.")
    check_limit(call, f"{kind}-timeout", timeout, f"{where}.")
    check_limit(call, f"{kind}-threshold", threshold, f"{where}.")
    where = f"{where}.{kind}_probe"
    violation_if(timeout > period, call, "run.probe-timeout", where)
    violation_if(kind == "startup" and threshold * period > _STARTUP_WINDOW, call, "run.startup-window", where)
    violation_if(len([action for action in _PROBE_KINDS if action in probe]) > 1, call, "run.probe-kind", where)


def _check_ingress(call: Call, containers: list[Json]) -> None:
    with_port = [container for container in containers if container.get("ports")]
    refuse_if(len(with_port) != 1, "run.ingress-containers")
    check_limit(call, "port", int(with_port[0]["ports"][0]["containerPort"]), "template.containers.")


def _check_network(call: Call, access: Json) -> None:
    where = "template.vpc_access.network_interfaces"
    interfaces = access.get("networkInterfaces") or []
    beyond_if(access.get("connector"), "The sandbox stands in for direct VPC egress, not for connectors.")
    violation_if(len(interfaces) > 1, call, "run.interfaces", where)
    for interface in interfaces:
        subnetwork, network = str(interface.get("subnetwork") or ""), str(interface.get("network") or "")
        violation_if(not (subnetwork or network), call, "run.interface", where)
        if network and _compute(call, network, "global/networks") is None:
            raise refuse("run.network", network=network)
        _check_subnetwork(call, subnetwork or id_of(network), network, where)


def _check_subnetwork(call: Call, subnetwork: str, network: str, where: str) -> None:
    region = segment(call.name, "locations")
    found = _compute(call, subnetwork, f"regions/{region}/subnetworks")
    if found is None:
        raise refuse("run.subnetwork", subnetwork=subnetwork, region=region)
    if network and id_of(str(found.body["network"])) != id_of(network):
        raise violation(call, "run.interface-network", where, subnetwork=subnetwork, network=network)
    area = str(found.body["ipCidrRange"])
    if ipaddress.ip_network(area).prefixlen > _SMALLEST_SUBNETWORK:
        raise refuse("run.subnetwork-size", subnetwork=subnetwork, range=area)


def _compute(call: Call, given: str, collection: str) -> Record | None:
    project = segment(given, "projects") or call.project
    return call.store.get(f"compute.googleapis.com/projects/{project}/{collection}/{id_of(given)}")
