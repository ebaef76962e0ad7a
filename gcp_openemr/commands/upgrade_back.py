"""The way back from an upgrade, begun or done: the set from before it, under the version that it was made with."""

from __future__ import annotations

from gcp_openemr import backups
from gcp_openemr.backups import BackupSet
from gcp_openemr.commands import deploy, jobs
from gcp_openemr.commands.backup import size
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
from gcp_openemr.errors import JobFailed, UsageError
from gcp_openemr.image import Images
from gcp_openemr.variables import Release, SecretVersions, Upgrading

__all__ = ["back"]


def back(context: Context, *, clinic: str | None, drain: int, set_first: bool) -> None:
    """Go back from an upgrade, begun or done: the set from before it, under the version that it was made with.

    Without `set_first` the present state does not become a set.

    Raises:
        UsageError: there is no such way, or it was not agreed to.
        JobFailed, Unhealthy: as `restore` does; the same command again continues.
    """
    (standing,) = look(context, clinic, one_only=True)
    found = _way_back(context, standing)
    _agree_to_go_back(context, standing, found, clinic)
    options = {"--back": True, "--clinic": standing.clinic, "--without-set": not set_first}
    with changing(context, typed("upgrade", options)) as held:
        check_still(context, clinic, [standing])
        foundation, platform = ground(context)
        work = work_on(context, foundation, platform, standing)
        versions = deploy.secret_versions(context, work.clinic)
        version = found.openemr.release if found else standing.version
        images = standing.images
        before = ""
        if found:
            images = images_of(context, foundation, version)
            before = _set_of_now(work) if set_first and not standing.upgrading else ""
            held.check()
            if not (standing.upgrading and standing.upgrading.back == "serve"):
                _restore(work, versions, found, images, drain)
            under_way = _under_way(work, found, "serve")
            work.apply(versions, images, Release(service=version, jobs=version, upgrading=under_way))
            serve_and_end_page(work, versions)
        else:
            work.await_runs("upgrade")
            end_page(work, versions)
        work.apply(versions, images, Release(service=version, jobs=version))
    told = f"{standing.clinic} is on OpenEMR {version} again"
    told += f" with set {found.set}." if found else "; its data had not been changed."
    file = context.environment.openemr.version
    if file != version:
        told += f' The file still names {file}: set version = "{version}" in [openemr].'
    values = {"clinic": standing.clinic, "version": version, "set": found.set if found else "", "set_before": before}
    context.console.result({"environment": context.environment.name, **values}, told)


def _way_back(context: Context, standing: Standing) -> BackupSet | None:
    """The set to go back to; None where an upgrade was prepared and its job never started.

    Raises:
        UsageError: there is none.
    """
    under_way = standing.upgrading
    if under_way and not under_way.back and not standing.begun:
        return None
    sets, unreadable = backups.read_sets(context.cloud, context.environment.names.backup_bucket, standing.clinic)
    for text in unreadable:
        context.console.warn(text)
    if under_way:
        return backups.choose(sets, under_way.set or standing.first_set)
    older = [
        one for one in sets if one.openemr.release in LINES and order(one.openemr.release) < order(standing.version)
    ]
    if not any(one.is_verified for one in older):
        raise UsageError(
            f"'{standing.clinic}' is on OpenEMR {standing.version} and has no verified set of an older one.",
            do="See the sets that there are: gcp-openemr backup list",
        )
    return backups.choose(older, "latest")


def _agree_to_go_back(context: Context, standing: Standing, found: BackupSet | None, named: str | None) -> None:
    """What is lost is said; the clinic's name has to be typed: here, or with -y as --clinic."""
    if found is None:
        what = "upgrade" if standing.between else "rehearsal of an upgrade"
        context.console.say(f"The {what} of '{standing.clinic}' has not touched its data; it is called off.")
        context.agree("Call it off?")
        return
    context.console.say(
        f"'{standing.clinic}' goes back to OpenEMR {found.openemr.release} with set {found.set} of "
        f"{found.begun:%Y-%m-%d %H:%M} UTC: {found.documents.found} documents, {size(found.bytes)}. "
        "What was written since is lost from the clinic."
    )
    if context.yes and named is None:
        raise UsageError("With -y, going back wants the clinic's name.", do=f"Add: --clinic {standing.clinic}")
    if not context.yes:
        context.agree(f"Take '{standing.clinic}' back?")


def _set_of_now(work: Work) -> str:
    try:
        return work.back_up()
    except JobFailed as error:
        raise JobFailed(
            f"The present state could not be made a set, so nothing was replaced. {error.what}",
            do=f"{error.do} To go back all the same: --without-set".strip(),
        ) from error


def _restore(work: Work, versions: SecretVersions, found: BackupSet, images: Images, drain: int) -> None:
    """The old line's jobs, and with them the set; the page stays, since the new line's revision has the traffic."""
    standing, version = work.standing, found.openemr.release
    mixed = Images(service=standing.images.service, job=images.job)
    work.apply(
        versions, mixed, Release(service=standing.version, jobs=version, upgrading=_under_way(work, found, "restore"))
    )
    variables = {
        **jobs.storage_variables(versions),
        "BACKUP_CLINIC": work.clinic.name,
        "BACKUP_FILEID": found.set,
        "BACKUP_SOURCE": "set",
        "DRAIN_SECONDS": str(drain),
        "KEEP_PAGE": "yes",
        "RESTORE_OVER": "yes",
    }
    record = work.run("nfs-init", variables)
    work.context.console.say(f"  nfs-init: {record.get('decision', '')}. {record.get('reason', '')}".rstrip())
    jobs.check_in_place(record, variables)


def _under_way(work: Work, found: BackupSet, back: str) -> Upgrading:
    """What tells the next command that a way back is under way, and how far it has come."""
    standing = work.standing
    to = standing.upgrading.to_version if standing.upgrading else standing.version
    return Upgrading(
        from_version=found.openemr.release, to_version=to, image=standing.images.job, set=found.set, back=back
    )
