"""Bootstrap: the foundation by itself, and with it the identities that a pipeline takes without any key.

An administrator runs it, once and whenever `[ci]` or the clinics change. It can die anywhere: everything it does looks
first, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcp_openemr.commands import foundation, state
from gcp_openemr.commands.context import Context, changing
from gcp_openemr.environment import Environment
from gcp_openemr.needed import ROLES

__all__ = ["bootstrap", "settings", "told"]

_PLACES = {
    "github": "GitHub: Settings → Secrets and variables → Actions → Variables (or: gh variable set NAME --body VALUE)",
    "gitlab": "GitLab: Settings → CI/CD → Variables (not masked, not protected: none of them is a secret)",
    "cloudbuild": "Cloud Build: one trigger for each account (gcloud builds triggers create … --service-account=…)",
}

_NUMBERS = {"github": "gh api repos/{} --jq .id", "gitlab": "the Project ID of {}, on its page"}


def bootstrap(context: Context) -> None:
    """Make what outlives every teardown, and say what to paste into the pipeline's settings."""
    environment = context.environment
    context.agree(f"Make the foundation of '{environment.name}' in project {environment.project}?")
    with context.console.step("APIs and state bucket"):
        state.ensure_apis(context)
        state.ensure_bucket(context)
    with changing(context, "bootstrap"):
        outputs = foundation.bring_about(context, ())
    context.console.result(_values(environment, outputs), told(environment, outputs))


def settings(environment: Environment, outputs: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a pipeline by what the foundation's state says; empty without `[ci]`."""
    made = outputs.get("ci")
    if not made:
        return {}
    names = {"PROVIDER": made["provider"], **{name.upper(): email for name, email in made["accounts"].items()}}
    return {f"OPENEMR_{environment.name.upper()}_{word}": value for word, value in names.items() if value}


def told(environment: Environment, outputs: Mapping[str, Any]) -> str:
    """For people: what there is now, what to paste, who may do what, and what is theirs to do."""
    return "\n".join(_lines(environment, outputs))


def _values(environment: Environment, outputs: Mapping[str, Any]) -> dict[str, Any]:
    made, ci = outputs.get("ci"), environment.ci
    pipeline = (
        {
            "provider": ci.provider,
            "settings": settings(environment, outputs),
            "accounts": made["accounts"],
            "runs": made["runs"],
            "roles": {
                name: {
                    "account": made["accounts"][name],
                    "purpose": role.purpose,
                    "commands": list(role.commands),
                    "permissions": sorted(role.permissions),
                }
                for name, role in ROLES.items()
            },
        }
        if ci and made
        else None
    )
    return {
        "environment": environment.name,
        "project": environment.project,
        "foundation": {name: value for name, value in outputs.items() if name != "ci"},
        "ci": pipeline,
    }


def _lines(environment: Environment, outputs: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"The foundation of '{environment.name}' is there: states in gs://{outputs['state_bucket']}, backups in "
        f"gs://{outputs['backup_bucket']}, images in {outputs['registry']}."
    )
    ci, made = environment.ci, outputs.get("ci")
    if ci is None or not made:
        yield "For a pipeline, write [ci] into the environment file and run bootstrap again."
        return
    yield f"\nPaste into {_PLACES[ci.provider]}:"
    yield from (f"  {name}={value}" for name, value in settings(environment, outputs).items())
    yield "\nWho they are:"
    for name, role in ROLES.items():
        yield f"  {name:9}  {role.purpose}; {_taken_by(environment, name)}; {len(role.permissions)} permissions"
    if ci.provider != "cloudbuild":
        waiting = " and ".join(filter(None, (ci.environment, ci.destroy_environment)))
        yield (
            f"\nProtect the branch {ci.branch}, and let runs in {waiting} wait "
            "for an approval: whoever gets a run through there is the deployer, or the destroyer."
        )
        if not ci.repository_id:
            yield (
                f'Write repository_id = "NUMBER" into [ci], and run bootstrap again: a repository that takes over the '
                f"name {ci.repository} stays out then. The number: {_NUMBERS[ci.provider].format(ci.repository)}"
            )


def _taken_by(environment: Environment, name: str) -> str:
    ci = environment.ci
    assert ci is not None  # noqa: S101 - tells the checker
    if ci.provider == "cloudbuild":
        return "taken by the trigger that runs as it"
    if name == "planner":
        return f"taken by every run of {ci.repository}"
    place = ci.environment if name == "deployer" else ci.destroy_environment
    return f"taken by runs of branch {ci.branch} " + (f"in environment {place}" if place else "in no environment")
