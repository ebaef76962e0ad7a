"""What the file says against what is deployed: what no deploy can change is told before Terraform is asked.

Read from the states of the roots, and, for a project that has none, from the working directory of an earlier run.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from google.api_core.exceptions import Forbidden

from gcp_openemr.commands import releases, roots, state
from gcp_openemr.commands.context import Context
from gcp_openemr.environment import Environment
from gcp_openemr.errors import EnvironmentInvalid, UsageError

__all__ = ["allowances", "check", "check_place"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fixed:
    """A key of the file that no deploy can change: where the deployed value stands, and whether the file's fits it.

    `do`: what to do instead, beside changing the file back.
    """

    key: str
    type: str
    there: Callable[[Mapping[str, Any]], Any]
    wanted: Callable[[Environment], Any]
    fits: Callable[[Any, Any], bool]
    do: str


_ANEW = "To have the clinics there: write another environment file, with another name, and run"
_RECOVER = _ANEW + " gcp-openemr -e OTHER.toml recover --from-bucket {bucket}"
_GROWS = "A disk can only grow."


def _same(there: Any, wanted: Any) -> bool:
    return bool(there == wanted)


def _inside(there: str, wanted: str) -> bool:
    return ipaddress.IPv4Network(there).subnet_of(ipaddress.IPv4Network(wanted))


_FIXED = (
    _Fixed(
        key="[environment] region",
        type="google_artifact_registry_repository",
        there=lambda values: values["location"],
        wanted=lambda environment: environment.region,
        fits=_same,
        do=_RECOVER,
    ),
    _Fixed(
        key="[environment] zone",
        type="google_compute_disk",
        there=lambda values: values["zone"].rpartition("/")[2],
        wanted=lambda environment: environment.zone,
        fits=_same,
        do=_RECOVER,
    ),
    _Fixed(
        key="[database] database_type",
        type="google_sql_database_instance",
        there=lambda values: values["database_version"],
        wanted=lambda environment: environment.database.database_type,
        fits=_same,
        do=_RECOVER,
    ),
    _Fixed(
        key="[files] disk_size_gb",
        type="google_compute_disk",
        there=lambda values: values["size"],
        wanted=lambda environment: environment.files.disk_size_gb,
        fits=lambda there, wanted: bool(wanted >= there),
        do=_GROWS,
    ),
    _Fixed(
        key="[network] cidr",
        type="google_compute_subnetwork",
        there=lambda values: values["ip_cidr_range"],
        wanted=lambda environment: environment.network.cidr,
        fits=_inside,
        do=f"A range that holds the deployed one is taken. {_RECOVER}",
    ),
)

_PLACE = ("[environment] region", "[environment] zone")


def check(context: Context, *, upgrade: bool = False) -> tuple[str, ...]:
    """What to know before a deploy, one sentence each; `upgrade` as it takes it.

    Raises:
        EnvironmentInvalid: the file asks for what no deploy can change, with every such key and what to do instead.
    """
    if not state.exists(context):
        _check_project(context)
        return _others(context)
    _refuse(context, {**_differences(context, _FIXED), **dict(releases.problems(context, upgrade=upgrade))})
    return tuple(
        f"Clinic '{clinic}' is deployed and stands no more in the file: it stays as it is."
        for clinic in state.known_clinics(context)
        if clinic not in context.environment.clinics
    )


def check_place(context: Context) -> None:
    """Where the file looks for the environment is where it stands.

    Raises:
        EnvironmentInvalid: it stands in another region or zone.
    """
    _refuse(context, _differences(context, [row for row in _FIXED if row.key in _PLACE]))


def _differences(context: Context, rows: Iterable[_Fixed]) -> dict[str, str]:
    """What the file has otherwise than what is deployed, and what to do."""
    resources = [(full.partition(".")[2], values) for full, values in state.deployed(context)]
    return {
        f"{row.key} is {wanted}, and deployed is {there}": row.do
        for row in rows
        for address, values in resources
        if f".{row.type}." in f".{address}"
        and not row.fits(there := row.there(values), wanted := row.wanted(context.environment))
    }


def allowances(context: Context, given: Collection[str]) -> frozenset[str]:
    """The resources whose loss was allowed, as `ROOT:ADDRESS`; the root may be left out where only one has the address.

    Raises:
        UsageError: nothing of that address is deployed, or several roots have it.
    """
    if not given:
        return frozenset()
    known = sorted(full.replace(".", ":", 1) for full, _ in state.deployed(context)) if state.exists(context) else []
    return frozenset(_allowance(context, text, known) for text in given)


def _allowance(context: Context, text: str, known: list[str]) -> str:
    matching = [one for one in known if text in (one, one.partition(":")[2])]
    if len(matching) == 1:
        return matching[0]
    name = context.environment.name
    if matching:
        raise UsageError(
            f"--allow-data-loss: {text} is in several states of '{name}'.", do=f"Name one: {' or '.join(matching)}"
        )
    near = difflib.get_close_matches(text, [*known, *(one.partition(":")[2] for one in known)], n=1)
    raise UsageError(
        f"--allow-data-loss: '{name}' has no {text}, so nothing was changed.",
        do=f"Did you mean {near[0]}?" if near else "See what would be lost: gcp-openemr plan",
    )


def _refuse(context: Context, problems: Mapping[str, str]) -> None:
    if not problems:
        return
    bucket = context.environment.names.backup_bucket
    ways = dict.fromkeys(do.format(bucket=bucket) for do in problems.values())
    raise EnvironmentInvalid(
        f"'{context.environment.name}' is deployed, and no deploy can change this:\n"
        + "\n".join(f"  {problem}" for problem in problems),
        do="\n".join(["Change the file back.", *ways]),
    )


def _check_project(context: Context) -> None:
    """An earlier run from this folder had another project for this environment."""
    before = _rendered_project(context)
    environment = context.environment
    if before and before != environment.project:
        old = environment.names.backup_bucket.replace(environment.project, before, 1)
        raise EnvironmentInvalid(
            f"'{environment.name}' was deployed from here to project {before}, and [environment] project is "
            f"{environment.project} now. Nothing moves by itself.",
            do=f"To have its clinics there: gcp-openemr recover --from-bucket {old}\n"
            "To begin with nothing there: put the file into a folder of its own.",
        )


def _rendered_project(context: Context) -> str:
    try:
        values = json.loads((context.workspace / roots.FOUNDATION.path / "terraform.tfvars.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(values.get("project", ""))


def _others(context: Context) -> tuple[str, ...]:
    """That the project has other environments, for whoever meant to rename one."""
    names = sorted(_environments(context))
    if not names:
        return ()
    environment = context.environment
    old = environment.names.backup_bucket.replace(f"-{environment.name}-", f"-{names[0]}-", 1)
    return (
        f"'{environment.name}' is new in project {environment.project}, which has {', '.join(names)} already. "
        f"An environment cannot be renamed; to begin with its data: gcp-openemr recover --from-bucket {old}",
    )


def _environments(context: Context) -> Iterator[str]:
    own = context.environment.names.state_bucket
    before, _, after = own.rpartition(f"-{context.environment.name}-")
    try:
        for bucket in context.cloud.storage.list_buckets(prefix=f"{before}-"):
            if bucket.name.endswith(f"-{after}") and bucket.name != own:
                yield bucket.name.removeprefix(f"{before}-").removesuffix(f"-{after}")
    except Forbidden:
        return
