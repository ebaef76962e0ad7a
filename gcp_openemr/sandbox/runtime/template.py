"""From a revision's or task's template to a container: image, environment, secrets, volumes, network, identity."""

from __future__ import annotations

import dataclasses
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
from gcp_openemr.sandbox.runtime.resources import cpus_of, last, memory_of, network_name, only_container, part
from gcp_openemr.sandbox.runtime.vpc import internet, subnetworks

__all__ = ["Exports", "container_spec"]

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# https://cloud.google.com/run/docs/configuring/services/memory-limits and …/cpu: what a container has unless told.
_DEFAULT_LIMITS = {"memory": "512Mi", "cpu": "1"}

Exports = Callable[[Interface, str, str], Path]
"""(client, server's address, path) → the directory a machine exports there. Raises Refused with mount.nfs's words."""


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
    limits = {**_DEFAULT_LIMITS, **(container.get("resources") or {}).get("limits", {})}
    memory, cpu = memory_of(limits["memory"]), cpus_of(limits["cpu"])
    variables = {
        "HOME": "/",
        **image.environment,
        **environment,
        **_environment(container.get("env", []), secrets),
    }
    interface = _interface(host, template, Identity(account=account, project=project, region=region))
    try:
        volumes = _volumes(template, container, exports, interface, secrets, image.user[0])
    except Refused:
        host.networks.release(interface)
        raise
    return Spec(
        name=name,
        command=_command(container, image),
        environment=variables,
        overlays=host.alpine.overlays(host.images.layer_paths(image)),
        binds=[*_basics(host), *volumes.binds],
        files=[*_limit_files(memory, cpu), *volumes.files],
        memory_volumes=volumes.memory,
        interface=interface,
        uid=image.user[0],
        gid=image.user[1],
        directory=container.get("workingDir") or image.directory,
        memory=memory,
        cpu=cpu,
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


# Without Private Google Access and Cloud NAT, what goes through the VPC does not reach Google:
# https://cloud.google.com/vpc/docs/configure-private-google-access
def _interface(host: Host, template: Mapping[str, Any], identity: Identity) -> Interface:
    described = template.get("vpcAccess") or {}
    wished = (described.get("networkInterfaces") or [{}])[0]
    network = network_name(wished.get("network") or wished.get("subnetwork", ""), identity.project)
    if not network:
        return host.networks.reserve(network="", identity=identity)
    found = subnetworks(host.access, network, identity.region, wished.get("subnetwork", ""))
    everything = described.get("egress") == "ALL_TRAFFIC"
    private_access = all(body.get("privateIpGoogleAccess") for body in found)
    return host.networks.reserve(
        network=network,
        identity=identity,
        ranges=[str(body["ipCidrRange"]) for body in found],
        taken={str(body["address"]) for _, body in host.access.list("compute.googleapis.com/") if "address" in body},
        tags=tuple(wished.get("tags") or ()),
        everything=everything,
        google=not everything or private_access or internet(host.access, network, identity.region),
    )


@dataclasses.dataclass(kw_only=True)
class _Volumes:
    binds: list[Bind] = dataclasses.field(default_factory=list)
    files: list[File] = dataclasses.field(default_factory=list)
    memory: dict[str, int] = dataclasses.field(default_factory=dict)


def _volumes(
    template: Mapping[str, Any],
    container: Mapping[str, Any],
    exports: Exports,
    interface: Interface,
    secrets: _Secrets,
    uid: int,
) -> _Volumes:
    volumes = {volume["name"]: volume for volume in template.get("volumes") or []}
    found = _Volumes()
    for mount in container.get("volumeMounts") or []:
        volume = volumes[mount["name"]]
        if "nfs" in volume:
            found.binds.append(_nfs(volume["nfs"], mount, exports, interface))
        elif "secret" in volume:
            found.files.extend(_secret_files(volume["secret"], mount["mountPath"], secrets, uid))
        elif "emptyDir" in volume and volume["emptyDir"].get("medium", "MEMORY") == "MEMORY":
            found.memory[mount["mountPath"]] = memory_of(volume["emptyDir"].get("sizeLimit") or "1Gi")
        else:
            kinds = ", ".join(sorted(set(volume) - {"name"}))
            raise Refused(f"The sandbox has nothing that stands in for volume {volume['name']} ({kinds}).", code=12)
    return found


def _nfs(volume: Mapping[str, Any], mount: Mapping[str, Any], exports: Exports, interface: Interface) -> Bind:
    """Cloud Run mounts before the container starts; a mount that fails fails the instance."""
    path = os.path.normpath("/" + volume.get("path", "").lstrip("/"))
    try:
        exported = exports(interface, volume["server"], path)
        directory = (exported / mount.get("subPath", "").lstrip("/")).resolve()
        if not directory.is_dir() or not directory.is_relative_to(exported.resolve()):
            raise Refused(f"{volume['server']}:{path}/{mount['subPath']}: No such file or directory", code=5)
    except Refused as error:
        message = f"Mounting volume {mount['name']} failed: mount.nfs: {error.message}."
        raise Refused(message, code=error.code) from error
    return Bind(
        source=str(directory),
        target=mount["mountPath"],
        read_only=bool(volume.get("readOnly")),
        share=f"{interface.network} {volume['server']}:{path}/{mount.get('subPath', '').lstrip('/')}",
    )


def _secret_files(volume: Mapping[str, Any], path: str, secrets: _Secrets, uid: int) -> Iterator[File]:
    name = volume["secret"]
    for item in volume.get("items") or [{"path": last(name), "version": "latest"}]:
        mode = item.get("mode") or volume.get("defaultMode") or 0o444
        text = secrets.read(name, item.get("version", "latest"))
        yield File(path=f"{path}/{item['path']}", text=text, mode=mode, uid=uid)


def _limit_files(memory: int, cpu: float) -> list[File]:
    """Programs read their limits here, as under cgroups version 2."""
    folder = "/sys/fs/cgroup"
    values = {"memory.max": f"{memory}\n", "cpu.max": f"{round(cpu * 100000)} 100000\n"}
    return [File(path=f"{folder}/{name}", text=text, mode=0o444) for name, text in values.items()]


def _basics(host: Host) -> list[Bind]:
    """Python with its packages, which trust the same authorities as the rest of the container."""
    bundle = str(host.alpine.directory / "root") + _BUNDLE
    python = python_binds()
    return [*python, Bind(source=bundle, target=certifi.where())] if python else []
