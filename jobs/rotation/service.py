"""The clinic's Cloud Run service: which secret versions a revision is pinned to, a new revision, its health, traffic.

A change is read back from the service, not from its operation: that says the same after an interruption. Bodies are
passed through as JSON, so that nothing of a template that this code does not know is lost.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from jobs import log, rest
from jobs.errors import CloudRefused, Refused, Unreachable

__all__ = [
    "NEW",
    "Service",
    "ask_health",
    "find",
    "give_traffic",
    "holds",
    "make_revision",
    "pins_of",
    "revision_pins",
    "served_like",
]

NEW = "next"
"""The tag under which a revision can be asked, with or without traffic."""

_BY_NAME = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
_OPEN = "INGRESS_TRAFFIC_ALL"
# Both a template and a revision have these (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions);
# labels and annotations, which both have too, change nothing of how requests are served.
_CONFIGURATION = (
    "containers",
    "encryptionKey",
    "encryptionKeyRevocationAction",
    "encryptionKeyShutdownDuration",
    "executionEnvironment",
    "gpuZonalRedundancyDisabled",
    "maxInstanceRequestConcurrency",
    "nodeSelector",
    "scaling",
    "serviceAccount",
    "serviceMesh",
    "sessionAffinity",
    "timeout",
    "volumes",
    "vpcAccess",
)
_ATTEMPTS = 5
_CHANGE_SECONDS = 900.0
_HEALTH_SECONDS = 180.0
_POLL_SECONDS = 2.0

Pins = Mapping[str, int]
"""Secret's full name → version, of the secrets that a container has in its environment."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A service as Cloud Run tells it. `revision` is the newest one; `problem` why that is not ready, or ''."""

    name: str
    body: Mapping[str, Any]

    @property
    def revision(self) -> str:
        return _short(self.body.get("latestCreatedRevision", ""))

    @property
    def problem(self) -> str:
        if self.revision == _short(self.body.get("latestReadyRevision", "")):
            return ""
        condition = self.body.get("terminalCondition", {})
        return str(condition.get("message") or "the revision is not ready")

    @property
    def settled(self) -> bool:
        seen = self.body.get("observedGeneration") == self.body.get("generation")
        return bool(seen and not self.body.get("reconciling"))

    @property
    def uri(self) -> str:
        return str(self.body.get("uri", ""))

    @property
    def reachable(self) -> bool:
        """Whether a job's request, which comes from outside, is let in."""
        return bool(self.body.get("ingress", _OPEN) == _OPEN)

    @property
    def request_seconds(self) -> int:
        """The longest that a request may take."""
        return int(float(str(self.body["template"].get("timeout", "300s")).removesuffix("s")))

    @property
    def pins(self) -> Pins:
        """Of the template, which is the newest revision's."""
        return pins_of(self.body["template"], self.name)

    @property
    def serving(self) -> dict[str, int]:
        """Revision → percent of the requests."""
        shares = [target for target in self.body.get("traffic", []) if target.get("percent")]
        ready = _short(self.body.get("latestReadyRevision", ""))
        return {str(share.get("revision") or ready): int(share["percent"]) for share in shares}

    def address_of(self, revision: str) -> str:
        """The address of a revision under our tag; '' where it has none."""
        found = [s for s in self.body.get("trafficStatuses", []) if s.get("tag") == NEW]
        return next((str(s.get("uri", "")) for s in found if s.get("revision") == revision), "")

    @property
    def is_tagged(self) -> bool:
        return any(target.get("tag") == NEW for target in self.body.get("traffic", []))


def find(name: str) -> Service | None:
    try:
        return Service(name=name, body=rest.call("GET", "run", f"v2/{name}"))
    except rest.NotFound:
        return None


def pins_of(template: Mapping[str, Any], service: str) -> Pins:
    """The pins in a template, or in a revision, which has the same containers; 0 is no number, such as `latest`."""
    project = service.split("/locations/", maxsplit=1)[0]
    versions = {_full(project, reference): str(reference.get("version", "")) for reference in _references(template)}
    return {secret: int(version) if version.isdigit() else 0 for secret, version in versions.items()}


def holds(present: Pins, wanted: Pins) -> bool:
    """Whether pins are the wanted ones, for those secrets that there are in both."""
    return all(wanted.get(secret, version) == version for secret, version in present.items())


def revision_pins(service: Service, revision: str) -> Pins:
    return pins_of(_revision(service, revision), service.name)


def served_like(service: Service, secrets: Collection[str]) -> str:
    """The revision whose configuration all requests are served with, whatever it has of these secrets; '' for none.

    Raises:
        Refused: requests are shared out among several configurations.
    """
    serving = sorted(service.serving, key=lambda revision: -service.serving[revision])
    first, *others = [_revision(service, revision) for revision in serving] or [{}]
    if any(_differences(service.name, first, other, secrets) for other in others):
        told = ", ".join(f"{revision} {service.serving[revision]} %" for revision in serving)
        raise Refused(
            f"Requests to {_short(service.name)} are shared out among revisions that differ: {told}. A rotation makes "
            "one revision for all of them, which would end that.",
            do=f"Give them all to one (gcloud run services update-traffic {_short(service.name)} "
            "--to-revisions=REVISION=100), then run gcp-openemr rotate.",
        )
    return serving[0] if serving else ""


def make_revision(name: str, pins: Pins, *, like: str = "") -> Service:
    """Have a newest revision with these pins, which differs from `like` in nothing else and gets no traffic.

    Without `like` it is as the newest one. Where the newest one is so already, it is that. Returns the service when
    Cloud Run has finished with it, whether the revision is ready or not.
    """
    for _ in range(_ATTEMPTS):
        service = _settled(name)
        # the name of a revision is given once; Cloud Run makes the next one
        present = {part: value for part, value in service.body["template"].items() if part != "revision"}
        template = copy.deepcopy(present)
        if like and like != service.revision:
            wanted = _revision(service, like)
            for part in _differences(name, wanted, _revision(service, service.revision), pins):
                template = {**template, part: wanted.get(part)}
        template = {part: value for part, value in template.items() if value is not None}
        _pin(name, template, pins)
        if template == present:
            return service
        _change(service, {"template": template, "traffic": _by_name(service)})
    raise CloudRefused(f"The template of {name} is changed by another all the time.", do="Run the same command again.")


def give_traffic(service: Service, shares: Mapping[str, int], *, shown: str = "") -> Service:
    """Send the requests to revisions (name → percent). Others' tags stay; ours goes to `shown`, or away."""
    targets = [_target(revision, percent=percent) for revision, percent in shares.items()]
    tags = [_target(t["revision"], tag=t["tag"]) for t in _by_name(service) if t.get("tag")]
    ours = [_target(shown, tag=NEW)] if shown else []
    return _with_traffic(service, [*targets, *tags, *ours])


def ask_health(service: Service, uri: str) -> str:
    """Ask /health/ready until it answers well or the time is over. Returns the last complaint, or ''."""
    deadline = time.monotonic() + _HEALTH_SECONDS
    while True:
        complaint = _asked(uri, _identity(service.uri))
        if not complaint or time.monotonic() + _POLL_SECONDS > deadline:
            return complaint
        log.info("Not ready yet", revision=service.revision, reason=complaint)
        time.sleep(_POLL_SECONDS)


def _asked(uri: str, token: str) -> str:
    headers = {"X-Serverless-Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{uri}/health/ready", headers=headers, timeout=20)
    except requests.RequestException as error:
        return f"no answer ({type(error).__name__})"
    if answer.status_code == 200:
        return ""
    if answer.status_code in (401, 403):
        return f"status {answer.status_code}: the job's account may not call the service (roles/run.invoker)"
    try:
        checks = answer.json().get("checks", {})
    except (ValueError, AttributeError):
        checks = {}
    bad = ", ".join(part for part, state in checks.items() if state != "ok")
    return f"status {answer.status_code}" + (f", not ready: {bad}" if bad else "")


def _identity(audience: str) -> str:
    """Whom a service that is not open to everybody asks for; '' where this identity has no such token."""
    try:
        return str(id_token.fetch_id_token(Request(), audience))
    except GoogleAuthError:
        return ""


def _with_traffic(service: Service, targets: Sequence[Mapping[str, Any]]) -> Service:
    for _ in range(_ATTEMPTS):
        service = _settled(service.name)
        if _as_set(service.body.get("traffic", [])) == _as_set(targets):
            return service
        _change(service, {"traffic": list(targets)})
    raise CloudRefused(f"The traffic of {service.name} is changed by another.", do="Run the same command again.")


def _change(service: Service, changes: Mapping[str, Any]) -> None:
    """One conditional write; whoever calls looks whether it is done."""
    body = {"name": service.name, "etag": service.body.get("etag", ""), **changes}
    try:
        rest.call("PATCH", "run", f"v2/{service.name}", body=body, query={"updateMask": ",".join(changes)})
    except rest.Conflict as error:
        log.info("Looking at the service again", reason=error.what)


def _settled(name: str) -> Service:
    """The service when Cloud Run has finished with its last change."""
    deadline = time.monotonic() + _CHANGE_SECONDS
    delay = 0.2
    while True:
        service = Service(name=name, body=rest.call("GET", "run", f"v2/{name}"))
        if service.settled:
            return service
        if time.monotonic() > deadline:
            raise Unreachable(f"Cloud Run does not finish with {name}.", do="Run the same command again.")
        time.sleep(delay)
        delay = min(delay * 1.5, _POLL_SECONDS)


def _by_name(service: Service) -> list[dict[str, Any]]:
    """The traffic as it is, by revisions' names, so that a new revision gets none of it; without our tag."""
    ready = _short(service.body.get("latestReadyRevision", ""))
    targets = []
    for found in service.body.get("traffic", []):
        target = {**found}
        if target.get("type", _LATEST) == _LATEST and not target.get("revision"):
            target |= {"type": _BY_NAME, "revision": ready}
        if target.get("tag") == NEW:
            del target["tag"]
        if target.get("tag") or target.get("percent"):
            targets.append(target)
    return targets


def _target(revision: str, **share: Any) -> dict[str, Any]:
    return {"type": _BY_NAME, "revision": revision, **share}


def _as_set(targets: Sequence[Mapping[str, Any]]) -> frozenset[tuple[Any, ...]]:
    return frozenset((t.get("type"), t.get("revision"), t.get("percent") or 0, t.get("tag") or "") for t in targets)


def _revision(service: Service, revision: str) -> dict[str, Any]:
    return rest.call("GET", "run", f"v2/{service.name}/revisions/{revision}")


def _differences(name: str, one: Mapping[str, Any], other: Mapping[str, Any], secrets: Collection[str]) -> list[str]:
    """In which parts of their configuration two revisions differ, beside the versions of these secrets."""
    unpinned = [copy.deepcopy({part: body.get(part) for part in _CONFIGURATION}) for body in (one, other)]
    for body in unpinned:
        _pin(name, body, dict.fromkeys(secrets, 0))
    return [part for part in _CONFIGURATION if unpinned[0][part] != unpinned[1][part]]


def _pin(name: str, template: Mapping[str, Any], pins: Pins) -> None:
    project = name.split("/locations/", maxsplit=1)[0]
    for reference in _references(template):
        if _full(project, reference) in pins:
            reference["version"] = str(pins[_full(project, reference)])


def _references(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    variables = [one for container in template.get("containers") or () for one in container.get("env", [])]
    found = [one.get("valueSource", {}).get("secretKeyRef") for one in variables]
    return [reference for reference in found if reference]


def _full(project: str, reference: Mapping[str, Any]) -> str:
    secret = str(reference["secret"])
    return secret if "/" in secret else f"{project}/secrets/{secret}"


def _short(name: str) -> str:
    return str(name).rpartition("/")[2]
