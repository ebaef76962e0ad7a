"""Upgrade: a clinic from its line of OpenEMR to the one that the environment file names, and back.

Image of the new line → job `upgrade` beside the old jobs → backup set → maintenance page → backup set of what was
written meanwhile, to go back to → OpenEMR's own scripts → new revision without traffic → traffic → health → the page
ends → the job `upgrade` goes. While that job is there, deploy refuses; the same command again continues, and `--back`
restores the set under the old image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gcp_openemr import secret_store
from gcp_openemr.commands import deploy, roots
from gcp_openemr.commands.context import Context, changing, typed
from gcp_openemr.commands.releases import Standing, order
from gcp_openemr.commands.upgrade_work import (
    Work,
    check_still,
    end_page,
    ground,
    images_of,
    look,
    serve_and_end_page,
    work_on,
)
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import JobFailed, Unhealthy, UsageError
from gcp_openemr.image import Images
from gcp_openemr.lock import Held
from gcp_openemr.variables import Foundation, Release, SecretVersions, Upgrading, platform_variables

__all__ = ["rehearse", "upgrade"]


def upgrade(context: Context, *, to: str, clinic: str | None, drain: int) -> None:
    """Bring clinics to version `to`, which the environment file has to name.

    `drain` is for how many seconds the maintenance page stands before the first change.

    Raises:
        UsageError: the file names another version, or a clinic cannot come from its version to this one.
        JobFailed: the set could not be made, or the upgrade failed; the job's sentence says what to do.
        Unhealthy: the new revision does not serve; the old one has the traffic, and the maintenance page stands.
    """
    _check_file(context, to)
    standings = look(context, clinic)
    pending = [one for one in standings if one.upgrading or one.version != to]
    for one in pending:
        _check_way(one, to)
    if not pending:
        _report(context, to, {one.clinic: {"already": True} for one in standings})
        return
    told = ", ".join(f"'{one.clinic}' ({one.version})" for one in pending)
    context.console.say(f"OpenEMR {to} comes to {told}. Nobody can work there until it is done; a backup set is made.")
    context.agree(f"Upgrade in '{context.environment.name}'?")
    records: dict[str, Any] = {}
    with changing(context, typed("upgrade", {"--to": to, "--clinic": clinic})) as held:
        check_still(context, clinic, standings)
        foundation, platform = ground(context)
        images = images_of(context, foundation, to)
        for one in pending:
            held.check()
            work = work_on(context, foundation, platform, one)
            records[one.clinic] = _forward(work, images, to, drain, held)
        _settle_platform(context, foundation, images, to)
    _report(context, to, records)


def rehearse(context: Context, *, to: str, clinic: str | None) -> None:
    """Upgrade a copy of each clinic, made of its newest backup set, beside it; nothing of the clinic changes.

    Raises:
        UsageError: as `upgrade` does.
        JobFailed: the copy could not be upgraded; the job's sentence says why.
    """
    _check_file(context, to)
    standings = look(context, clinic)
    for one in standings:
        _check_way(one, to)
        if one.between or one.version == to:
            raise UsageError(f"'{one.clinic}' is on OpenEMR {to}, or on its way to it: there is nothing to rehearse.")
    context.agree(f"Rehearse the upgrade to OpenEMR {to} on copies?")
    records: dict[str, Any] = {}
    with changing(context, typed("upgrade", {"--to": to, "--rehearse": True, "--clinic": clinic})) as held:
        check_still(context, clinic, standings)
        foundation, platform = ground(context)
        images = images_of(context, foundation, to)
        for one in standings:
            held.check()
            work = work_on(context, foundation, platform, one)
            versions = deploy.secret_versions(context, work.clinic)
            upgrading = Upgrading(from_version=one.version, to_version=to, image=images.job, rehearsal=True)
            here = Release(service=one.version, jobs=one.version)
            work.apply(versions, one.images, dataclasses.replace(here, upgrading=upgrading))
            try:
                work.back_up()
                records[one.clinic] = work.run("upgrade", {"REHEARSE": "yes"})
            finally:
                work.apply(versions, one.images, here)
    lines = [
        f"{name}: a copy of set {record['set']} took {record.get('upgrade_seconds', 0):.0f} s and is whole"
        for name, record in records.items()
    ]
    context.console.result({"environment": context.environment.name, "rehearsed": records, "to": to}, "\n".join(lines))


def _check_file(context: Context, to: str) -> None:
    if to not in LINES:
        raise UsageError(f"OpenEMR {to} cannot be built.", do=f"Known versions: {', '.join(LINES)}.")
    named = context.environment.openemr.version
    if named != to:
        raise UsageError(
            f"The environment file names OpenEMR {named}, not {to}.",
            do=f'Set version = "{to}" in [openemr] and run the same command again. '
            "Until the upgrade is through, deploy refuses and changes nothing.",
        )


def _check_way(standing: Standing, to: str) -> None:
    """OpenEMR's scripts of `to` know the clinic's version, and nothing else is under way."""
    name, under_way = standing.clinic, standing.between
    going_back = under_way is not None and bool(under_way.back)
    if under_way and (going_back or under_way.to_version != to):
        to = under_way.from_version if going_back else under_way.to_version
        how = "--back" if going_back else f"--to {to}"
        raise UsageError(
            f"'{name}' is on its way to OpenEMR {to}.", do=f"Finish it: gcp-openemr upgrade {how} --clinic {name}"
        )
    version = under_way.from_version if under_way else standing.version
    if order(version) > order(to):
        raise UsageError(
            f"'{name}' is on OpenEMR {version}, and its data cannot become {to}'s.",
            do=f"To go back to a backup set of before: gcp-openemr upgrade --back --clinic {name}",
        )
    ways = LINES[to].upgrades
    if version not in (to, *ways):
        raise UsageError(
            f"'{name}' is on OpenEMR {version}, from which {to} cannot be reached.",
            do=f"Upgrade to one of these first: {', '.join(ways)}." if ways else f"Stay on {version}.",
        )


def _forward(work: Work, images: Images, to: str, drain: int, held: Held) -> dict[str, Any]:
    context, standing = work.context, work.standing
    versions = deploy.secret_versions(context, work.clinic)
    before = standing.upgrading.from_version if standing.upgrading else standing.version
    upgrading = Upgrading(from_version=before, to_version=to, image=images.job)
    record: dict[str, Any] = {}
    if standing.version != to:
        work.apply(versions, standing.images, Release(service=before, jobs=before, upgrading=upgrading))
        made = standing.first_set if standing.begun else _last_set(work, versions, drain)
        held.check()
        record = work.run("upgrade", {"UPGRADE_SET": made, "DRAIN_SECONDS": str(drain)})
        held.check()
    work.apply(versions, images, Release(service=to, jobs=to, upgrading=upgrading))
    try:
        url = serve_and_end_page(work, versions)
    except Unhealthy as error:
        way = f"Then run the same command again, or go back: gcp-openemr upgrade --back --clinic {work.clinic.name}"
        raise Unhealthy(f"{error.what} The maintenance page stands.", do=f"{error.do} {way}") from error
    work.apply(versions, images, Release(service=to, jobs=to))
    return {**record, "from": before, "url": url}


def _last_set(work: Work, versions: SecretVersions, drain: int) -> str:
    """The set to go back to. One is made while people work, to see that it can be; that under the page is soon made.

    Where it cannot be made, people work on.
    """
    work.back_up()
    work.run("upgrade", {"PAGE_ONLY": "yes", "DRAIN_SECONDS": str(drain)})
    try:
        return work.back_up()
    except JobFailed:
        end_page(work, versions)
        raise


def _settle_platform(context: Context, foundation: Foundation, images: Images, to: str) -> None:
    """The platform's own job follows the last clinic, so that the next deploy has nothing to do."""
    if any(one.version != to for one in look(context, None)):
        return
    environment = context.environment
    version = secret_store.find_version(context.cloud, environment.names.redis_admin_secret)
    variables = platform_variables(
        environment, foundation, images=images, redis_admin_version=version, protect=environment.protect
    )
    roots.apply(context, roots.prepare(context, roots.PLATFORM, variables))


def _report(context: Context, to: str, records: Mapping[str, Any]) -> None:
    lines = [
        f"{name}: OpenEMR {to}"
        + (" already" if record.get("already") and "from" not in record else f", from {record.get('from')}")
        for name, record in records.items()
    ]
    context.console.result({"environment": context.environment.name, "to": to, "clinics": records}, "\n".join(lines))
