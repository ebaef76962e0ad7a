"""From a revision's or task's template to a container: image, environment, secrets, volumes, network, identity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import certifi

from gcp_openemr.sandbox.interfaces import Refused
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.images import Image
from gcp_openemr.sandbox.runtime.network import Identity, Interface
from gcp_openemr.sandbox.runtime.processes import Bind, File, Spec, python_binds
from gcp_openemr.sandbox.runtime.resources import (
    cpus_of,
    last,
    memory_of,
    network_name,
    only_container,
    part,
)

__all__ = ["EXPORT", "Exports", "container_spec"]

EXPORT = "/share"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# https://cloud.google.com/run/docs/configuring/services/memory-limits and …/cpu: what a container has unless told.
_DEFAULT_LIMITS = {"memory": "512Mi", "cpu": "1"}

Exports = Callable[[str, str], Path | None]
"""(network, address) → the directory that a machine there exports, or None."""


def container_spec(
    host: Host, exports: Exports, template: Mapping[str, Any], *, name: str, parent: str, environment: Mapping[str, str]
) -> Spec:
    """Everything a container of this template needs. Its network address is reserved: start it, or give it back.

    `parent` is the service's or job's name (`projects/p/locations/l/…`), `environment` what Cloud Run itself sets.

    Raises:
        Refused: image, secret, volume or address cannot be had, in Cloud Run's words.
    """
    project, region = part(parent, "projects"), part(parent, "locations")
    container = only_container(template)
    image = host.images.find(str(container.get("image", "")))
    account = template.get("serviceAccount") or _default_account(host, project)
    secrets = _Secrets(host, project, f"serviceAccount:{account}")
    network = _network(template, project)
    mounts, files = _volumes(template, container, exports, network, secrets, image.user[0])
    limits = {**_DEFAULT_LIMITS, **(container.get("resources") or {}).get("limits", {})}
    memory, cpus = memory_of(limits["memory"]), cpus_of(limits["cpu"])
    variables = {
        "HOME": "/",
        **image.environment,
        **environment,
        **_environment(container.get("env", []), secrets),
    }
    return Spec(
        name=name,
        command=_command(container, image),
        environment=variables,
        overlays=host.alpine.overlays(host.images.layer_paths(image)),
        binds=[*_basics(host), *mounts],
        files=[*_limit_files(memory, cpus), *files],
        interface=_interface(host, template, network, Identity(account=account, project=project, region=region)),
        uid=image.user[0],
        gid=image.user[1],
        directory=container.get("workingDir") or image.directory,
        memory=memory,
        cpus=cpus,
    )


def _default_account(host: Host, project: str) -> str:
    found = host.access.get(f"cloudresourcemanager.googleapis.com/projects/{project}") or {}
    return f"{last(str(found.get('name', project)))}-compute@developer.gserviceaccount.com"


def _command(container: Mapping[str, Any], image: Image) -> list[str]:
    """As in Kubernetes: a `command` of its own makes the container forget the image's arguments."""
    command = list(container.get("command") or image.entrypoint)
    arguments = container.get("args") or ([] if container.get("command") else image.command)
    if not command and not arguments:
        raise Refused("The image has no entrypoint and no command.", code=3)
    return [*command, *arguments]


class _Secrets:
    """Secret Manager as one service account may read it."""

    def __init__(self, host: Host, project: str, member: str) -> None:
        self._access = host.access
        self._project = project
        self._member = member

    def read(self, reference: str, version: str) -> str:
        name = reference if "/" in reference else f"projects/{self._project}/secrets/{reference}"
        return self._access.secret(name, version or "latest", member=self._member)


def _environment(entries: Sequence[Mapping[str, Any]], secrets: _Secrets) -> dict[str, str]:
    values: dict[str, str] = {}
    for entry in entries:
        source = (entry.get("valueSource") or {}).get("secretKeyRef")
        value = secrets.read(source["secret"], source.get("version", "")) if source else entry.get("value", "")
        values[entry["name"]] = value
    return values


def _network(template: Mapping[str, Any], project: str) -> str:
    interfaces = (template.get("vpcAccess") or {}).get("networkInterfaces") or []
    if not interfaces:
        return ""
    return network_name(interfaces[0].get("network") or interfaces[0].get("subnetwork", ""), project)


def _interface(host: Host, template: Mapping[str, Any], network: str, identity: Identity) -> Interface:
    if not network:
        return host.networks.reserve(network="", identity=identity)
    wanted = template["vpcAccess"]["networkInterfaces"][0].get("subnetwork", "")
    subnetworks = [
        body
        for full, body in host.access.list("compute.googleapis.com/")
        if "/subnetworks/" in full
        and network_name(str(body.get("network", ""))) == network
        and (not wanted or last(full) == last(wanted))
        and part(full, "regions") == identity.region
    ]
    if not subnetworks:
        raise Refused(f"The subnetwork {last(wanted)} of {network} was not found in region {identity.region}.", code=5)
    return host.networks.reserve(
        network=network,
        identity=identity,
        ranges=[str(body["ipCidrRange"]) for body in subnetworks],
        taken={str(body["address"]) for _, body in host.access.list("compute.googleapis.com/") if "address" in body},
    )


def _volumes(
    template: Mapping[str, Any],
    container: Mapping[str, Any],
    exports: Exports,
    network: str,
    secrets: _Secrets,
    uid: int,
) -> tuple[list[Bind], list[File]]:
    volumes = {volume["name"]: volume for volume in template.get("volumes") or []}
    binds: list[Bind] = []
    files: list[File] = []
    for mount in container.get("volumeMounts") or []:
        volume = volumes[mount["name"]]
        if "nfs" in volume:
            binds.append(_nfs(volume["nfs"], mount, exports, network))
        elif "secret" in volume:
            files.extend(_secret_files(volume["secret"], mount["mountPath"], secrets, uid))
        else:
            kinds = ", ".join(sorted(set(volume) - {"name"}))
            raise Refused(f"The sandbox cannot mount volume {volume['name']} ({kinds}).", code=12)
    return binds, files


def _nfs(volume: Mapping[str, Any], mount: Mapping[str, Any], exports: Exports, network: str) -> Bind:
    """Cloud Run mounts before the container starts; a mount that fails fails the instance."""
    server, path = volume["server"], os.path.normpath("/" + volume.get("path", "").lstrip("/"))
    source = f"{server}:{path}"
    exported = exports(network, server) if network else None
    if exported is None:
        raise Refused(f"Mounting volume {mount['name']} failed: mount.nfs: {source}: Connection timed out.", code=4)
    inside = os.path.relpath(path, EXPORT)
    directory = (exported / inside / mount.get("subPath", "").lstrip("/")).resolve()
    if inside.startswith("..") or not directory.is_dir() or not directory.is_relative_to(exported.resolve()):
        message = f"mount.nfs: mounting {source} failed, reason given by server: No such file or directory."
        raise Refused(f"Mounting volume {mount['name']} failed: {message}", code=5)
    return Bind(source=str(directory), target=mount["mountPath"], read_only=bool(volume.get("readOnly")))


def _secret_files(volume: Mapping[str, Any], path: str, secrets: _Secrets, uid: int) -> Iterator[File]:
    name = volume["secret"]
    for item in volume.get("items") or [{"path": last(name), "version": "latest"}]:
        mode = item.get("mode") or volume.get("defaultMode") or 0o444
        text = secrets.read(name, item.get("version", "latest"))
        yield File(path=f"{path}/{item['path']}", text=text, mode=mode, uid=uid)


def _limit_files(memory: int, cpus: int) -> list[File]:
    """Programs read their limits here, as under cgroups version 2."""
    folder = "/sys/fs/cgroup"
    values = {"memory.max": f"{memory}\n", "cpu.max": f"{cpus * 100000} 100000\n"}
    return [File(path=f"{folder}/{name}", text=text, mode=0o444) for name, text in values.items()]


def _basics(host: Host) -> list[Bind]:
    """Python with its packages, which trust the same authorities as the rest of the container."""
    bundle = str(host.alpine.directory / "root") + _BUNDLE
    python = python_binds()
    return [*python, Bind(source=bundle, target=certifi.where())] if python else []
