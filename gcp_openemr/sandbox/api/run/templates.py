"""What Cloud Run fills into a template, and what it refuses in one.

Limits: https://cloud.google.com/run/docs/reference/rest/v2 and https://cloud.google.com/run/quotas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.names import project_number, segment
from gcp_openemr.sandbox.interfaces import Json

__all__ = ["check_template", "check_variables", "fill_containers", "fill_identity", "invalid", "seconds"]

_ENV_NAME = re.compile(r"[^=\0]{1,32768}")
_RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
_RESERVED_IN_JOBS = {"CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT",
                     "CLOUD_RUN_TASK_COUNT"}  # fmt: skip
_CLOSED_MOUNTS = ("/dev", "/proc", "/sys")
_CPU = {"0.08", "1", "2", "4", "6", "8"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(m|k|Ki|M|Mi|G|Gi)?")
_UNITS = {None: 1, "k": 10**3, "Ki": 2**10, "M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
_MI, _GI = 2**20, 2**30
# CPUs to the least and the most memory (https://cloud.google.com/run/docs/configuring/services/memory-limits).
_MEMORY = {0.08: (128 * _MI, 512 * _MI), 1: (128 * _MI, 4 * _GI), 2: (128 * _MI, 8 * _GI), 4: (2 * _GI, 16 * _GI),
           6: (4 * _GI, 24 * _GI), 8: (4 * _GI, 32 * _GI)}  # fmt: skip
# Longest values of a probe in seconds, by kind.
_PROBE_LIMITS: Mapping[str, int] = {"startupProbe": 240, "livenessProbe": 3600, "readinessProbe": 3600}


def seconds(duration: object) -> float:
    """Seconds of a protobuf duration (`600s`)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(duration))
    if found is None:
        raise invalid(f"Illegal duration format; duration must end with 's': {duration}")
    return float(found[1])


def invalid(message: str) -> ApiError:
    return ApiError(400, message, reason="badRequest")


def fill_identity(template: Json, project: str) -> None:
    """Without an account of its own a container runs as the project's default one."""
    template["serviceAccount"] = (
        template.get("serviceAccount") or f"{project_number(project)}-compute@developer.gserviceaccount.com"
    )


def fill_containers(template: Json, *, service: bool) -> None:
    """Resources, port and startup probe as Cloud Run sets them."""
    for container in template.get("containers") or ():
        resources = container.setdefault("resources", {})
        if service and not resources:
            resources["cpuIdle"] = True
        limits = resources.setdefault("limits", {})
        limits.setdefault("cpu", "1000m")
        limits.setdefault("memory", "512Mi")
        for probe in _PROBE_LIMITS:
            if container.get(probe):
                _fill_probe(container[probe], container)
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
    port.setdefault("name", "http1")
    port.setdefault("containerPort", 8080)
    if not ingress.get("startupProbe"):
        ingress["startupProbe"] = {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": {}}
        ingress["startupProbe"]["tcpSocket"]["port"] = port["containerPort"]


def _fill_probe(probe: Json, container: Json) -> None:
    ports = container.get("ports") or [{}]
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("failureThreshold", 3)
    for kind in ("httpGet", "tcpSocket", "grpc"):
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
    if not containers:
        raise invalid("Violation in template.containers: at least one container is required.")
    email = str(template["serviceAccount"])
    if not call.app.service_account_exists(email):
        raise invalid(f"Service account {email} was not found.")
    call.app.authorize_act_as(call, email)
    volumes = {str(volume.get("name")): volume for volume in template.get("volumes") or ()}
    for place, container in enumerate(containers):
        where = f"template.containers[{place}]"
        if not container.get("image"):
            raise invalid(f"Violation in {where}.image: the image is required.")
        _check_resources(container, where)
        check_variables(container, where, service=service)
        _check_mounts(container, volumes, where)
        for probe, longest in _PROBE_LIMITS.items():
            if container.get(probe):
                _check_probe(container[probe], probe, longest, where)
    if service:
        _check_ingress(containers)
    _check_network(call, template.get("vpcAccess") or {})


def _check_resources(container: Json, where: str) -> None:
    limits = container["resources"]["limits"]
    cpu = str(limits["cpu"])
    count = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu) if re.fullmatch(r"[\d.]+", cpu) else 0.0
    if not (0.08 <= count < 1 or f"{count:g}" in _CPU):
        raise invalid(
            f"Invalid value specified for container cpu. Must be equal to one of [.08-1], 1, 2, 4, 6, 8: {cpu}"
        )
    found = _SIZE.fullmatch(str(limits["memory"]))
    if found is None or found[2] == "m":
        raise invalid(f"Violation in {where}.resources.limits.memory: {limits['memory']} is not a valid quantity.")
    memory = float(found[1]) * _UNITS[found[2]]
    least, most = _MEMORY[count if count in _MEMORY else 0.08]
    if not least <= memory <= most:
        message = (
            f"Invalid value specified for container memory. For {count:g} CPU, memory must be between {least // _MI}Mi "
            f"and {most // _MI}Mi inclusive."
        )
        raise invalid(message)


def check_variables(container: Json, where: str, *, service: bool) -> None:
    """Refuse names that are none, stand twice or are Cloud Run's own."""
    reserved = _RESERVED if service else _RESERVED | _RESERVED_IN_JOBS
    seen: set[str] = set()
    for variable in container.get("env") or ():
        name = str(variable.get("name") or "")
        if not _ENV_NAME.fullmatch(name):
            raise invalid(f"Violation in {where}.env: the name of a variable is required and must not contain '='.")
        if name in reserved:
            raise invalid(
                f"The following reserved env names were provided: {name}. These values are automatically set."
            )
        if name in seen:
            raise invalid(f"Violation in {where}.env: duplicate variable {name}.")
        seen.add(name)


def _check_mounts(container: Json, volumes: Mapping[str, Json], where: str) -> None:
    for mount in container.get("volumeMounts") or ():
        name, path = str(mount.get("name") or ""), str(mount.get("mountPath") or "")
        if name not in volumes:
            raise invalid(f"Violation in {where}.volumeMounts: volume {name} is not declared in template.volumes.")
        closed = any(path == root or path.startswith(f"{root}/") for root in _CLOSED_MOUNTS)
        if not path.startswith("/") or closed:
            raise invalid(f"Violation in {where}.volumeMounts: {path or 'an empty path'} cannot be mounted to.")


def _check_probe(probe: Json, kind: str, longest: int, where: str) -> None:
    period, timeout = int(probe["periodSeconds"]), int(probe["timeoutSeconds"])
    delay, threshold = int(probe.get("initialDelaySeconds") or 0), int(probe["failureThreshold"])
    name = f"{where}.{re.sub(r'([A-Z])', lambda found: '_' + found[1].lower(), kind)}"
    if not 0 <= delay <= longest:
        raise invalid(f"Violation in {name}.initial_delay_seconds: must be between 0 and {longest}.")
    if not 1 <= period <= longest:
        raise invalid(f"Violation in {name}.period_seconds: must be between 1 and {longest}.")
    if not 1 <= timeout <= longest or timeout > period:
        raise invalid(
            f"Violation in {name}.timeout_seconds: must be between 1 and {longest} and not exceed period_seconds."
        )
    if threshold < 1 or (kind == "startupProbe" and threshold * period > longest):
        raise invalid(f"Violation in {name}: failure_threshold times period_seconds must be between 1 and {longest}.")


def _check_ingress(containers: list[Json]) -> None:
    with_port = [container for container in containers if container.get("ports")]
    if len(with_port) != 1:
        raise invalid("Revision template should contain exactly one container with an exposed port.")
    port = int(with_port[0]["ports"][0]["containerPort"])
    if not 1 <= port <= 65535:
        raise invalid(f"Violation in template.containers.ports: container_port {port} must be between 1 and 65535.")


def _check_network(call: Call, access: Json) -> None:
    interfaces = access.get("networkInterfaces") or []
    if access.get("connector"):
        raise ApiError(501, "The sandbox stands in for direct VPC egress, not for connectors.")
    for interface in interfaces:
        subnetwork = str(interface.get("subnetwork") or "")
        network = str(interface.get("network") or "")
        if not (subnetwork or network):
            raise invalid("Violation in template.vpc_access.network_interfaces: a network or subnetwork is required.")
        region = segment(call.name, "locations")
        found = f"regions/{region}/subnetworks/{subnetwork.rsplit('/', 1)[-1]}"
        project = segment(subnetwork, "projects") or call.project
        if subnetwork and call.store.get(f"compute.googleapis.com/projects/{project}/{found}") is None:
            raise invalid(f"VPC subnetwork {subnetwork} was not found in region {region}.")
        project = segment(network, "projects") or call.project
        found = f"global/networks/{network.rsplit('/', 1)[-1]}"
        if network and call.store.get(f"compute.googleapis.com/projects/{project}/{found}") is None:
            raise invalid(f"VPC network {network} was not found.")
