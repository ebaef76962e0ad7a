"""May this identity do what the commands do? Asked of IAM, without doing any of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from google.api_core.exceptions import BadRequest, Forbidden, NotFound

from gcp_openemr.doctor.model import Finding, Subject, failed, not_visible, ok, warning
from gcp_openemr.errors import GcpOpenemrError
from gcp_openemr.needed import needed

__all__ = ["permissions"]

_OBJECTS = "storage.objects."
_AT_ONCE = 100  # https://cloud.google.com/iam/docs/testing-permissions


def permissions(subject: Subject) -> Iterator[Finding]:
    """One finding for each command; what the caller does not want to run is a warning at most."""
    asked = sorted(frozenset[str]().union(*needed().values()))
    held: set[str] = set()
    unknown: set[str] = set()
    for start in range(0, len(asked), _AT_ONCE):
        _ask(subject, asked[start : start + _AT_ONCE], held, unknown)
    held.update(_in_the_state_bucket(subject, [one for one in asked if one.startswith(_OBJECTS) and one not in held]))
    for verb, wanted in needed().items():
        missing = sorted(wanted - held - unknown)
        if missing:
            found = failed if verb in subject.verbs else warning
            yield found(f"{verb}: {len(missing)} of {len(wanted)} are missing", do=_do(subject), items=missing)
        else:
            yield ok(f"{verb}: all {len(wanted - unknown)}")
    if unknown:
        yield not_visible(f"Google does not tell of {', '.join(sorted(unknown))} for a project")


def _in_the_state_bucket(subject: Subject, asked: list[str]) -> Collection[str]:
    """A pipeline's identities have no rights on all of the project's objects, but in the environment's own buckets."""
    if not asked or isinstance(subject.environment_or, GcpOpenemrError):
        return ()
    path = f"storage/v1/b/{subject.environment.names.state_bucket}/iam/testPermissions"
    try:
        found: list[str] = subject.cloud.ask("storage", path, permissions=asked).get("permissions", [])
    except (Forbidden, NotFound):
        return ()
    return found


def _ask(subject: Subject, asked: list[str], held: set[str], unknown: set[str]) -> None:
    """Sort permissions into held and unknown. One that a project cannot have refuses the whole question: halve it."""
    path = f"v3/projects/{subject.project}:testIamPermissions"
    try:
        answer = subject.cloud.ask("cloudresourcemanager", path, body={"permissions": asked})
    except BadRequest:
        if len(asked) == 1:
            unknown.update(asked)
            return
        middle = len(asked) // 2
        _ask(subject, asked[:middle], held, unknown)
        _ask(subject, asked[middle:], held, unknown)
        return
    held.update(answer.get("permissions", ()))


def _do(subject: Subject) -> str:
    return (
        "Ask the project's administrator for a role that holds them (gcloud projects add-iam-policy-binding "
        f"{subject.project} --member=… --role=…); --json lists all."
    )
