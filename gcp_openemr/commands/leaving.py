"""What a destroy would take and what it would leave: looked up first, shown, and agreed to by a typed name."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterable

from gcp_openemr import backups, leftovers
from gcp_openemr.commands import deployed, roots, state
from gcp_openemr.commands.backup import age, size
from gcp_openemr.commands.context import Context, typed
from gcp_openemr.errors import EnvironmentInvalid, InputMissing, Locked, UsageError
from gcp_openemr.leftovers import Leftover

__all__ = ["NOTHING_KEPT", "Leaving", "Wish", "agree", "check_names", "look", "look_again", "show", "strays", "told"]

NOTHING_KEPT = (
    "Nothing was kept. Enabled APIs stay enabled, since others may use them. What lay in the buckets can be brought "
    "back for 30 days by Cloud Storage's soft delete, and ids of deleted roles and log buckets are kept for a week."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for. `foundation` is the name typed again; `wait` in seconds; `again` the command as it was given.

    `named` is the environment's name, which stands for the answer where -y lets nobody be asked.
    """

    named: str | None = None
    clinic: str | None = None
    final_backup: bool = True
    foundation: str | None = None
    keep_foundation: bool = False
    wait: float = 600.0
    again: str = "gcp-openemr destroy"

    @property
    def command(self) -> str:
        """What it takes down, as it is typed; the consent is to be given anew."""
        options = {
            "--clinic": self.clinic,
            "--without-final-backup": not self.final_backup,
            "--foundation": self.foundation,
            "--keep-foundation": self.keep_foundation,
        }
        return typed("destroy", options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaving:
    """What goes: clinics by name, the platform, the foundation. `there` is what Google shows of it.

    `clinic` is the one that was asked for; `sets`: each clinic that goes gets a last set.
    """

    wish: Wish
    clinic: str
    clinics: tuple[str, ...]
    platform: bool
    foundation: bool
    sets: bool
    there: tuple[Leftover, ...]

    @property
    def is_nothing(self) -> bool:
        return not (self.clinics or self.platform or self.foundation or self.there)


def look(context: Context, wish: Wish) -> Leaving:
    """Ask Google and the states what is there.

    Raises:
        UsageError: there is no such clinic.
        EnvironmentInvalid: the file has another place or profile than what stands there.
    """
    environment = context.environment
    with context.console.step("ask Google what is there"):
        exists = state.exists(context)
        if exists:
            deployed.check_place(context)
            _check_profile(context)
        clinics = state.known_clinics(context) if exists else []
        foundation = not wish.clinic and (bool(wish.foundation) or _goes_whole(context, wish))
        there = there_of(context, clinic=wish.clinic or "", foundation=foundation)
    if wish.clinic and wish.clinic not in {*clinics, *environment.clinics}:
        known = ", ".join(sorted({*clinics, *environment.clinics}))
        raise UsageError(f"Environment {environment.name} has no clinic {wish.clinic!r}.", do=f"Its clinics: {known}.")
    return Leaving(
        wish=wish,
        clinic=wish.clinic or "",
        clinics=tuple(one for one in clinics if wish.clinic in (None, one)),
        platform=exists and not wish.clinic and state.outputs(context, roots.PLATFORM.path) is not None,
        foundation=foundation and exists,
        sets=wish.final_backup and not foundation and environment.profile == "production",
        there=tuple(there),
    )


def look_again(context: Context, agreed: Leaving) -> Leaving:
    """The same under the environment's lock: while people read and agreed, another run may have ended.

    Raises:
        Locked: it made what nobody agreed to take down.
    """
    now = look(context, agreed.wish)
    news = [f"clinic {name}" for name in now.clinics if name not in agreed.clinics]
    news += ["platform"] if now.platform and not agreed.platform else []
    if news:
        raise Locked(
            f"Another run made this in the meantime: {', '.join(news)}. Nothing was changed by this one.",
            do="Run it again, and look at what goes.",
        )
    return now


def there_of(context: Context, *, clinic: str, foundation: bool) -> list[Leftover]:
    """What Google has of a clinic or of the environment, without the state bucket and a foundation that stays."""
    found = leftovers.find(context.environment, context.cloud, clinic=clinic)
    if foundation or not state.exists(context):
        return [one for one in found if one.name != context.environment.names.state_bucket]
    kept = state.holdings(context, roots.FOUNDATION.path)
    return [
        one for one in found if (one.type, one.name) not in kept and one.name != context.environment.names.state_bucket
    ]


def strays(context: Context, there: Collection[Leftover]) -> frozenset[str]:
    """Names of what holds data and is in no state, without the disks that machines bring with them."""
    known = set[tuple[str, str]]().union(*(state.holdings(context, path) for path in _paths(context)))
    machines = {one.name for one in there if one.type == "google_compute_instance"}
    return frozenset(one.name for one in there if one.holds and (one.type, one.name) not in known) - machines


def show(context: Context, going: Leaving) -> None:
    """Say for people what goes and what stays."""
    environment, say = context.environment, context.console.say
    what = f"clinic '{going.clinic}' of '{environment.name}'" if going.clinic else f"'{environment.name}'"
    say(f"This takes down {what} in project {environment.project}. These go:")
    for name in going.clinics:
        not_there = "" if name in environment.clinics else " (the file names it no more)"
        say(f"  clinic {name}{not_there}: service, jobs, schedules, passwords, accounts; its records and documents")
    if going.platform:
        names = environment.names
        say(
            f"  platform: Cloud SQL instance {names.database_instance} with its own backups, files disk "
            f"{names.files_disk} with its snapshots, Redis, network {names.network}"
        )
    sets = list(_sets(context, going))
    if going.foundation:
        say("  foundation: backup sets and their passwords, images, audit logs, Terraform's state")
        _list(context, sets)
        say("Nothing stays but enabled APIs; Cloud Storage keeps deleted objects for 30 days.")
        return
    say("These stay:")
    _list(context, sets)
    say("  the passwords of the sets, images, audit logs, Terraform's state, enabled APIs" + _others(context, going))
    if going.clinics:
        say("A last set of each clinic is made first." if going.sets else "! No last set is made.")


def check_names(context: Context, wish: Wish) -> None:
    """Whether the names that were given are the environment's, be there something to destroy or not.

    Raises:
        UsageError: one is another's.
    """
    name = context.environment.name
    for option, said in (("--environment", wish.named), ("--foundation", wish.foundation)):
        if said is not None and said != name:
            raise UsageError(f"{option} says '{said}', but the file describes '{name}'.", do="Name the right one.")


def agree(context: Context, going: Leaving) -> None:
    """Have the environment's name typed: here, or by --environment with -y.

    Raises:
        UsageError: it was not, or is another one.
    """
    name = context.environment.name
    if context.yes and going.wish.named is None:
        raise UsageError("With -y, destroy wants the environment's name.", do=f"Add: --environment {name}")
    if context.yes:
        return
    if not context.console.asks:
        raise UsageError("Nobody can be asked here.", do=f"Add -y --environment {name} to go ahead.")
    if context.console.answer(f"To go ahead, type the environment's name ({name}):") != name:
        raise UsageError("That is not its name; nothing was changed.")


def told(there: Iterable[Leftover]) -> str:
    """Each with its type, name and what removes it."""
    return "\n".join(f"  {one.type} {one.name}: {one.by_hand}" for one in there)


def _check_profile(context: Context) -> None:
    """A developer's environment goes without a last set, with all of its sets: a file alone makes none of another."""
    environment = context.environment
    if environment.protect or not any(state.protected(context, path) for path in _paths(context)):
        return
    raise EnvironmentInvalid(
        f"[environment] profile is {environment.profile}, and '{environment.name}' is deployed with the protections of "
        "production: a destroy by this file would make no last set and take the backup sets along.",
        do='Set profile = "production". If the data may go, destroy it then with --without-final-backup --foundation.',
    )


def _paths(context: Context) -> list[str]:
    """The roots of the environment that may have a state."""
    clinics = (roots.clinic_root(name).path for name in state.known_clinics(context))
    return [roots.FOUNDATION.path, roots.PLATFORM.path, *clinics]


def _goes_whole(context: Context, wish: Wish) -> bool:
    """A developer's environment leaves nothing, unless its foundation is to be kept."""
    return context.environment.profile == "developer" and not wish.keep_foundation


def _sets(context: Context, going: Leaving) -> Iterable[str]:
    """A line for each clinic that has sets, or goes without any."""
    bucket, now = context.environment.names.backup_bucket, datetime.datetime.now(datetime.UTC)
    try:
        left = backups.clinics(context.cloud, bucket)
    except InputMissing:
        return
    known = {*going.clinics, *context.environment.clinics}
    for name in sorted({*known, *left}) if not going.clinic else [going.clinic]:
        sets, _ = backups.read_sets(context.cloud, bucket, name)
        good = [one for one in sets if one.is_verified]
        if not good:
            if name in known:
                yield f"{name}: no backup set"
            continue
        old = [age((now - one.begun).total_seconds()) for one in (good[0], good[-1])]
        yield f"{name}: {len(good)} backup sets, {old[0]} to {old[1]} old, {size(good[0].bytes)} each of it at last"


def _list(context: Context, lines: Collection[str]) -> None:
    for line in lines:
        context.console.say(f"    {line}")


def _others(context: Context, going: Leaving) -> str:
    others = [name for name in context.environment.clinics if name != going.clinic] if going.clinic else []
    return (
        f"; the platform and the other clinics ({', '.join(others) or 'none'}) are not touched" if going.clinic else ""
    )
