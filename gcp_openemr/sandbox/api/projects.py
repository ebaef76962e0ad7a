"""Projects: made at the operator's first use of their id, each with what Google makes beside it; their resource.

Cloud Resource Manager shows them in both versions' forms.
"""

from __future__ import annotations

from gcp_openemr.sandbox.api import names
from gcp_openemr.sandbox.api.iam import OPERATOR, Caller
from gcp_openemr.sandbox.api.listing import listed
from gcp_openemr.sandbox.api.rules import ApiError, Call, Collection, Json, Record, Store, handles, refuse_if, shape

__all__ = ["WITH_PROJECT", "ensure_project", "find_service_account", "project_by_number", "service_account_exists"]

# What each new project has from the start: full names and resources, with {project}.
WITH_PROJECT: dict[str, Json] = {}
_DEVELOPER = "-compute@developer.gserviceaccount.com"


def project_by_number(store: Store, given: str) -> str:
    """A project's id from its number; an id stays itself."""
    return store.fact(f"project-number/{given}") or given if given.isdigit() else given


def ensure_project(store: Store, caller: Caller, project: str) -> None:
    """Make the project when the operator names it for the first time.

    Raises:
        ApiError: somebody else names a project that does not exist, or the id is none.
    """
    if store.get(names.project_name(project)) is not None:
        return
    refuse_if(caller != OPERATOR or not names.PROJECT_ID.fullmatch(project), "google.project", project=project)
    number, name = names.project_number(project), names.project_name(project)
    email, unique = f"{number}{_DEVELOPER}", f"1{number}00000000"[:21]
    with store.transaction():
        store.put(name, shape("project", name, etag=names.etag_of(project, names.now())))
        store.put_fact(f"project-number/{number}", project)
        store.put_policy(name, shape("project.policy", name, owner=OPERATOR.member))
        account = shape("project.account", name, email=email, unique=unique)
        store.put(names.service_account_name(email, project), account)
        for place, resource in WITH_PROJECT.items():
            named = {key: value.format(project=project) if key == "name" else value for key, value in resource.items()}
            store.put(place.format(project=project), named)


def find_service_account(store: Store, email: str) -> Record | None:
    """A service account by address."""
    project = project_by_number(store, email.removesuffix(_DEVELOPER)) if email.endswith(_DEVELOPER) else ""
    return store.get(names.service_account_name(email, project))


def service_account_exists(store: Store, email: str) -> bool:
    """Whether a policy may name the account; Google's own are always there."""
    domain = email.partition("@")[2]
    owner = domain.removesuffix(".iam.gserviceaccount.com")
    users = (owner != domain and not owner.startswith("gcp-sa-")) or email.endswith(_DEVELOPER)
    return find_service_account(store, email) is not None if users else domain.endswith("gserviceaccount.com")


def _shown(call: Call, body: Json) -> Json:
    if call.discovery.version == "v3":
        return body
    return shape("project.v1", names.project_name(body["projectId"]), **body)


def _protected(_call: Call, _record: Record) -> None:
    raise ApiError(501, "The sandbox deletes no projects: `sandbox reset` forgets everything.")


Collection(
    "cloudresourcemanager.projects",
    permission="resourcemanager.projects",
    shown=_shown,
    deletable=_protected,
    verbs=("get", "delete"),
)


@handles("cloudresourcemanager.projects.list", "cloudresourcemanager.projects.search")
def list_(call: Call) -> Json:
    """Every project that the caller may see."""
    found = [
        (record.name, _shown(call, record.body))
        for record in call.store.list(names.project_name(""))
        if call.allowed("resourcemanager.projects.get", record.name)
    ]
    return listed(call, found, "projects")
