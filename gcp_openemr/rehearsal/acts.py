"""The acts in their order: a row each. An act runs commands as a user would, and says what it has proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from gcp_openemr import backups, leftovers
from gcp_openemr.errors import RehearsalFailed
from gcp_openemr.rehearsal.play import Play, opens
from gcp_openemr.rehearsal.stage import Target

__all__ = ["ACTS", "Act"]

_WRITTEN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Act:
    """`play` returns what it has proved, or raises. `steps` is about how many its command shows: 0 keeps bad days away.

    `when` says whether it belongs to this rehearsal.
    """

    name: str
    play: Callable[[Play], str]
    steps: int = 0
    when: Callable[[Play], bool] = lambda _: True


def _deploy(play: Play) -> str:
    play.must("deploy", "-y")
    return f"{play.open_all()} restored documents open"


def _settled(play: Play) -> str:
    answer = play.look("plan")
    if answer.status:
        left = [f"{root}: {planned['summary']}" for root, planned in answer.values.get("roots", {}).items()]
        raise RehearsalFailed(f"Another deploy would change something. {'; '.join(left) or answer.error}")
    return "another deploy would change nothing"


def _write(play: Play) -> str:
    for clinic in play.documents:
        visitor = play.visit(clinic)
        play.documents[clinic] += [play.write(clinic, visitor) for _ in range(_WRITTEN)]
    return f"{play.open_all()} documents open, {_WRITTEN * len(play.documents)} of them written now"


def _backup(play: Play) -> str:
    play.must("backup", "create")
    play.must("backup", "verify", "--set", "latest", "--data", "all")
    listed = play.must("backup", "list")["clinics"]
    for clinic, documents in play.documents.items():
        newest = listed[clinic]["sets"][0]
        if newest["state"] != "verified" or newest["documents"] != len(documents):
            raise RehearsalFailed(
                f"Set {newest['set']} of {clinic} is {newest['state']} with {newest['documents']} documents; "
                f"the clinic has {len(documents)}."
            )
        play.sets[clinic] = newest["set"]
    return f"{', '.join(play.sets.values())}: every byte read back, every document in it"


def _rotate(play: Play) -> str:
    """Every password is another one, documents open with the new ones, and nobody gets in with the old."""
    before = _versions(play)
    play.former = {clinic: play.account(clinic) for clinic in play.documents}
    play.must("rotate", "-y", "--drain", "0")
    play.rotated = _versions(play)
    same = [f"{kind} of {clinic}" for (clinic, kind), one in before.items() if play.rotated[clinic, kind] == one]
    if same:
        raise RehearsalFailed(f"The rotation left passwords as they were: {', '.join(same)}.")
    _check_former(play)
    return f"{play.open_all()} documents open with {len(before)} new passwords, the old ones let nobody in"


def _check_rotated(play: Play) -> None:
    """What a rotation put in force stays in force, whatever comes after it, older sets too."""
    now = _versions(play)
    other = [f"{kind} of {clinic}" for (clinic, kind), one in play.rotated.items() if now.get((clinic, kind)) != one]
    if other:
        raise RehearsalFailed(f"These passwords are not those of the rotation any more: {', '.join(other)}.")
    _check_former(play)


def _check_former(play: Play) -> None:
    for clinic, old in play.former.items():
        if play.lets_in(clinic, old):
            raise RehearsalFailed(f"Clinic {clinic} lets its administrator in with the old password.")


def _upgrade(play: Play) -> str:
    """And a set of the new version: those of the old one cannot be restored any more."""
    version = play.to or ""
    play.name_version(version)
    play.must("upgrade", "-y", "--to", version, "--drain", "0")
    other = [name for name, seen in play.must("status")["clinics"].items() if seen["openemr"] != version]
    if other:
        raise RehearsalFailed(f"Not on OpenEMR {version}: {', '.join(other)}.")
    _check_rotated(play)
    return f"{play.open_all()} documents open under OpenEMR {version}; {_backup(play)}"


def _versions(play: Play) -> dict[tuple[str, str], int]:
    """Clinic and kind of password → the version in force."""
    clinics = play.must("status")["clinics"]
    return {(name, kind): one["version"] for name, seen in clinics.items() for kind, one in seen["secrets"].items()}


def _restore(play: Play) -> str:
    for clinic, chosen in play.sets.items():
        play.later[clinic] = play.write(clinic, play.visit(clinic))
        play.must("restore", "-y", "--clinic", clinic, "--from", chosen, "--drain", "0")
        if opens(play.visit(clinic), play.later[clinic]):
            raise RehearsalFailed(f"Clinic {clinic} still has what was written after set {chosen}.")
    _check_rotated(play)
    return f"{play.open_all()} documents of the set open, what came later is gone, the new passwords are in force"


def _undo(play: Play) -> str:
    """On a bad day a restore may run twice, and what it keeps then is what the second one found."""
    for clinic in play.sets:
        play.must("restore", "-y", "--clinic", clinic, "--undo", "--drain", "0")
        if opens(play.visit(clinic), play.later[clinic]):
            play.documents[clinic].append(play.later[clinic])
        elif play.was_quiet("restore", "undo"):
            raise RehearsalFailed(f"Clinic {clinic} did not get back what it held before the restore.")
    _check_rotated(play)
    back = sum(play.later[clinic] in documents for clinic, documents in play.documents.items())
    return f"{play.open_all()} documents open, {back} of them from between the set and the restore"


def _recover(play: Play) -> str:
    """One clinic of the first environment begins a second one, in another project."""
    old, second = next(iter(play.sets)), play.second
    source = ("--from-bucket", play.first.environment.names.backup_bucket, "--from-clinic", old)
    play.must("recover", "-y", *source, "--set", play.sets[old], "--clinic", old, target=second)
    _check_rotated(play)
    if play.lets_in(old, play.former[old], second):
        raise RehearsalFailed(f"The recovered clinic {old} lets its administrator in with an ended password.")
    documents = [one for one in play.documents[old] if one != play.later[old]]
    return f"{play.open_all(second, {old: documents})} documents open in project {second.environment.project}"


def _status(play: Play) -> str:
    seen = play.must("status")
    if seen["unfinished"]:
        left = "; ".join(one["what"] for one in seen["unfinished"])
        raise RehearsalFailed(f"Commands left something unfinished: {left}.")
    return "every part is healthy, nothing is unfinished"


def _destroy(play: Play) -> str:
    first = play.first
    before = _sets(play, first)
    for target in (play.second, first):
        play.must("destroy", "-y", "--environment", target.environment.name, "--keep-foundation", target=target)
    gone = before - _sets(play, first)
    if gone:
        raise RehearsalFailed(f"These backup sets went with the clinics: {', '.join(sorted(gone))}.")
    return f"both environments are gone, {len(before)} backup sets are kept"


def _foundation(play: Play) -> str:
    """What outlives the clinics goes too; what Google lists then is asked apart from the command."""
    for target in (play.second, play.first):
        name = target.environment.name
        play.must("destroy", "-y", "--environment", name, "--foundation", name, target=target)
        left = leftovers.find(target.environment, play.stage.cloud_of(target))
        if left:
            raise RehearsalFailed(f"Of {name} is left: {', '.join(one.name for one in left)}.")
    return "both foundations are gone, Google lists nothing of either"


def _sets(play: Play, target: Target) -> set[str]:
    bucket = target.environment.names.backup_bucket
    read = (backups.read_sets(play.stage.cloud, bucket, clinic)[0] for clinic in play.documents)
    return {one.set for sets in read for one in sets}


ACTS: Sequence[Act] = (
    Act(name="deploy", play=_deploy, steps=14),
    Act(name="plan", play=_settled),
    Act(name="write", play=_write),
    Act(name="backup", play=_backup, steps=1),
    Act(name="rotate", play=_rotate, steps=1),
    Act(name="upgrade", play=_upgrade, steps=20, when=lambda play: play.to is not None),
    Act(name="restore", play=_restore, steps=4),
    Act(name="undo", play=_undo, steps=3),
    Act(name="recover", play=_recover, steps=20),
    Act(name="status", play=_status),
    Act(name="destroy", play=_destroy, steps=4),
    Act(name="foundation", play=_foundation, steps=3),
)
