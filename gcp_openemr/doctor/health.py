"""A deployed environment: does every part run, and does what is pinned exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.api_core.exceptions import NotFound

from gcp_openemr import cloud_run, secret_store
from gcp_openemr.commands import rotations, state
from gcp_openemr.commands.context import Context
from gcp_openemr.doctor.model import Absent, Finding, Subject, failed, not_visible, ok, warning
from gcp_openemr.environment import Clinic
from gcp_openemr.errors import CloudRefused

__all__ = ["clinics", "database", "files", "pins", "rotation", "secrets"]

_DEPLOY = "Run: gcp-openemr deploy"
_RESTORING = "https://cloud.google.com/sql/docs/mysql/backup-recovery/restoring"


def _deployed(subject: Subject, root: str = "platform") -> Context:
    """Raises Absent where that root was never applied."""
    context = subject.context
    if not state.exists(context) or state.outputs(context, root) is None:
        raise Absent("not deployed yet")
    return context


def database(subject: Subject) -> Iterator[Finding]:
    environment = _deployed(subject).environment
    name = environment.names.database_instance
    try:
        found = subject.cloud.ask("sqladmin", f"v1/projects/{environment.project}/instances/{name}")
    except NotFound:
        do = f"A deploy would make an empty one. Bring it back first from the backups that it left: {_RESTORING}"
        yield failed(f"{name} is gone", do=f"{do} The clinics' own sets: gcp-openemr backup list")
        return
    if found["settings"].get("activationPolicy") == "NEVER":
        start = f"gcloud sql instances patch {name} --activation-policy=ALWAYS --project={environment.project}"
        yield failed(f"{name} is stopped", do=f"Run: {start}")
    elif found["state"] != "RUNNABLE":
        page = f"https://console.cloud.google.com/sql/instances/{name}/overview?project={environment.project}"
        found_in = warning if found["state"] == "MAINTENANCE" else failed
        yield found_in(f"{name} is {found['state']}", do=f"See why: {page}")
    else:
        yield ok(f"{name} is RUNNABLE ({found.get('databaseInstalledVersion', found['databaseVersion'])})")


def files(subject: Subject) -> Iterator[Finding]:
    """The machine that exports the share; a group of machines puts a suffix to its name."""
    environment = _deployed(subject).environment
    wanted, zone = environment.names.files_instance, environment.zone
    listed = subject.cloud.ask("compute", f"compute/v1/projects/{environment.project}/zones/{zone}/instances")
    machines = [found for found in listed.get("items", ()) if found["name"].startswith(wanted)]
    if not machines:
        yield failed(f"{zone} has no machine {wanted}", do=_DEPLOY)
    for machine in machines:
        if machine["status"] == "RUNNING":
            yield ok(f"{machine['name']} is RUNNING")
        else:
            start = f"gcloud compute instances start {machine['name']} --zone={zone} --project={environment.project}"
            yield failed(f"{machine['name']} is {machine['status']}", do=f"Run: {start}")


def secrets(subject: Subject) -> Iterator[Finding]:
    """Every secret has a version in force."""
    context = _deployed(subject)
    fine = []
    for name in _secret_names(context):
        try:
            version = secret_store.find_version(context.cloud, name)
        except CloudRefused as error:
            yield failed(error.what, do=error.do)
            continue
        if version is None:
            yield failed(f"Secret {name} has no version", do=_DEPLOY)
        else:
            fine.append(f"{name} {version}")
    if fine:
        yield ok(f"in force: {', '.join(fine)}")


def _secret_names(context: Context) -> list[str]:
    tables = [context.environment.names.as_tfvars()]
    tables += [context.environment.clinic_names(clinic).as_tfvars() for clinic in state.known_clinics(context)]
    return [name for table in tables for attribute, name in table.items() if attribute.endswith("_secret")]


def pins(subject: Subject) -> Iterator[Finding]:
    """What services and jobs are pinned to can be read, and is what is in force."""
    context = _deployed(subject)
    environment = context.environment
    root = f"v2/projects/{environment.project}/locations/{environment.region}"
    count = 0
    for collection, name in _containers(context):
        try:
            found = subject.cloud.ask("run", f"{root}/{collection}/{name}")
        except NotFound:
            continue
        for secret, version in sorted(set(_pinned(found["template"]))):
            count += 1
            yield from _pin(context, f"{collection[:-1]} {name}", secret, version)
    if count:
        yield ok(f"{count} secrets were looked at where services and jobs pin them")


def _containers(context: Context) -> Iterator[tuple[str, str]]:
    yield "jobs", context.environment.names.provision_job
    for clinic in state.known_clinics(context):
        names = context.environment.clinic_names(clinic)
        yield "services", names.service
        yield "jobs", names.nfs_init_job


def _pinned(value: Any) -> Iterator[tuple[str, str]]:
    """Every `secretKeyRef` and secret volume below a template: secret and version."""
    if isinstance(value, list):
        for item in value:
            yield from _pinned(item)
    elif isinstance(value, dict):
        reference = value.get("secretKeyRef")
        if reference:
            yield _short(reference), str(reference.get("version", "latest"))
        volume = value.get("secret")
        if isinstance(volume, dict):
            for item in volume.get("items", ()):
                yield _short(volume), str(item.get("version", "latest"))
        for inside in value.values():
            yield from _pinned(inside)


def _short(reference: Mapping[str, Any]) -> str:
    return str(reference["secret"]).rpartition("/")[2]


def _pin(context: Context, who: str, secret: str, version: str) -> Iterator[Finding]:
    path = f"v1/projects/{context.environment.project}/secrets/{secret}/versions/{version}"
    pinned = f"{who} is pinned to {secret} version {version}, which is"
    try:
        found = context.cloud.ask("secretmanager", path)
    except NotFound:
        yield failed(f"{pinned} not there", do=_DEPLOY)
        return
    if found["state"] == "DISABLED":
        ends = found.get("scheduledDestroyTime", "")
        enable = f"gcloud secrets versions enable {version} --secret={secret} --project={context.environment.project}"
        do = f"Run: {enable}; then gcp-openemr deploy"
        yield failed(f"{pinned} disabled" + (f" and will be destroyed at {ends}" if ends else ""), do=do)
    elif found["state"] != "ENABLED":
        yield failed(f"{pinned} {found['state'].lower()}", do=_DEPLOY)
    current = _current(context, secret)
    if current and current != version:
        yield warning(f"{who} is pinned to {secret} version {version}, in force is {current}", do=_DEPLOY)


def _current(context: Context, secret: str) -> str:
    """'' where `secrets` says what is wrong with it."""
    try:
        return str(secret_store.find_version(context.cloud, secret) or "")
    except CloudRefused:
        return ""


def rotation(subject: Subject) -> Iterator[Finding]:
    """Passwords that are half-way, too old, or other than the last rotation left them; a version in force that cannot
    be read is for `secrets` to tell.
    """
    context = _deployed(subject)
    for clinic in context.environment.clinics.values():
        found = rotations.ask(context, clinic)
        for complaint in found.complaints:
            if not any(stands and stands.problem == complaint for stands in found.secrets.values()):
                yield warning(f"{clinic.name}: {complaint}", do="Run: gcp-openemr rotate")
        if not found.complaints:
            yield ok(f"{clinic.name}: every password is at rest and younger than {found.every_days} days")


def clinics(subject: Subject) -> Iterator[Finding]:
    """Every clinic's service: revision, traffic, and each part of its own report."""
    context = _deployed(subject)
    for clinic in context.environment.clinics.values():
        yield from _clinic(context, clinic)


def _clinic(context: Context, clinic: Clinic) -> Iterator[Finding]:
    seen = cloud_run.service_state(context.cloud, context.service_name(clinic))
    if seen is None:
        yield warning(f"{clinic.name} is not deployed yet", do=_DEPLOY)
        return
    if seen.problem:
        yield failed(f"{clinic.name}: {seen.problem}", do=_DEPLOY)
        return
    if seen.traffic != {seen.created_revision: 100}:
        shown = ", ".join(f"{percent} % {revision}" for revision, percent in seen.traffic.items())
        yield warning(f"{clinic.name}: newest is {seen.created_revision}, traffic goes to {shown}", do=_DEPLOY)
    if not clinic.is_reachable:
        yield not_visible(f"{clinic.name}: ingress_settings closes it to callers from here", do="Look from inside.")
        return
    yield _health(clinic, seen.uri, cloud_run.ask_health(context.cloud, seen.uri))


def _health(clinic: Clinic, uri: str, health: cloud_run.Health) -> Finding:
    if health.healthy:
        return ok(f"{clinic.name}: {uri} is ready")
    bad = [f"{part}: {answer}" for part, answer in health.parts.get("checks", {}).items() if answer != "ok"]
    told = f"answers {health.status}" if health.status else "does not answer"
    return failed(f"{clinic.name}: {uri} {told}", do="See its log: gcp-openemr logs", items=bad)
