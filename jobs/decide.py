"""From what is there to what is done: one table, first matching row wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from jobs.clinic_state import ClinicState, unmatched_keys

__all__ = ["ROWS", "Decision", "Row", "decide"]

Action = Literal["install", "restore", "restore-over", "undo", "configure", "finish-swap", "refuse"]
_Test = Callable[[ClinicState], bool]
_Reason = str | Callable[[ClinicState], str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do and why, by which row. A refusal's `reason` says what is missing, `do` what to run."""

    row: str
    action: Action
    reason: str
    do: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `reason` is a sentence's second half, after "because"."""

    name: str
    when: _Test
    action: Action
    reason: _Reason
    do: str = ""


def _nothing(state: ClinicState) -> bool:
    return not state.site.present and state.database.empty


def _whole(state: ClinicState) -> bool:
    same_keys = not unmatched_keys(state.site.keys, state.database.keys)
    return state.site.present and state.database.complete and same_keys


def _older(state: ClinicState) -> bool:
    return (state.database.version or 0) < state.code_version


def _no_patients(state: ClinicState) -> bool:
    return not state.database.has_patients and state.site.patient_folders == 0


def _begun(state: ClinicState, doing: str) -> bool:
    return state.begun is not None and state.begun.doing == doing


def _half_installed(state: ClinicState) -> bool:
    """Without patients, and not at its end: the site says that it is configured when everything was checked."""
    at_its_end = _whole(state) and state.site.configured
    return _begun(state, "install") and _no_patients(state) and not at_its_end


def _goes_back(state: ClinicState) -> bool:
    """`upgrade --back` leaves the page to the revision that comes; no other restore does."""
    return state.over_wanted and state.page_kept


_RESTORE = "Restore a backup that has both files and database: gcp-openemr restore"

ROWS: tuple[Row, ...] = (
    Row(
        name="a swap was begun",
        when=lambda state: _begun(state, "swap") or _begun(state, "undo"),
        action="finish-swap",
        reason="a restore was interrupted while it put its checked copy in place",
    ),
    Row(
        name="an upgrade was begun",
        when=lambda state: _begun(state, "upgrade") and not _goes_back(state),
        action="refuse",
        reason="an upgrade was begun and has not come to its end",
        do="Finish it: gcp-openemr upgrade --to VERSION; a new clinic: gcp-openemr deploy --upgrade. "
        "Or go back: gcp-openemr upgrade --back",
    ),
    Row(
        name="what a restore replaced is back already",
        when=lambda state: state.undo_wanted and state.kept is not None and state.kept.undone,
        action="configure",
        reason="the last restore was undone already",
    ),
    Row(
        name="what a restore replaced is wanted back",
        when=lambda state: state.undo_wanted and state.kept is not None,
        action="undo",
        reason="what the last restore replaced was kept, and is wanted back",
    ),
    Row(
        name="nothing was kept to go back to",
        when=lambda state: state.undo_wanted,
        action="refuse",
        reason="there is no kept copy: no restore replaced anything here, or it was long ago",
        do="See the sets that can be restored: gcp-openemr backup list",
    ),
    Row(
        name="nothing, no backup",
        when=lambda state: _nothing(state) and not state.backup_named,
        action="install",
        reason="the share and the database are empty and no backup is named",
    ),
    Row(
        name="nothing, a backup, and a set of an earlier clinic",
        when=lambda state: _nothing(state) and state.backup_named and bool(state.earlier_set),
        action="refuse",
        reason=lambda state: f"an earlier clinic of this name left set {state.earlier_set}, and no set is named",
        do="Bring it back: gcp-openemr restore --clinic CLINIC --from SET --without-set. Or begin with the backup that "
        "the file names, by --from gs://BUCKET/OBJECT. Then: gcp-openemr deploy",
    ),
    Row(
        name="nothing, a backup",
        when=lambda state: _nothing(state) and state.backup_named,
        action="restore",
        reason="the share and the database are empty and a backup is named",
    ),
    Row(
        name="a backup that an interrupted run has put in place",
        when=lambda state: state.over_wanted and state.in_place,
        action="configure",
        reason="an interrupted run has put this backup in place already",
    ),
    Row(
        name="a backup to restore over what is there",
        when=lambda state: state.over_wanted and state.backup_named,
        action="restore-over",
        reason="a backup is to take the place of what is there, which is kept",
    ),
    Row(
        name="an install was begun, without patients",
        when=lambda state: _half_installed(state) and not state.backup_named,
        action="install",
        reason="an installation was interrupted; there is no patient yet, so it starts again",
    ),
    Row(
        name="an install was begun, without patients, and a backup is named now",
        when=lambda state: _half_installed(state) and state.backup_named,
        action="restore",
        reason="an installation was interrupted; there is no patient yet, and a backup is named now",
    ),
    Row(
        name="older data, to be upgraded",
        when=lambda state: _whole(state) and _older(state) and state.upgrade_wanted,
        action="configure",
        reason=lambda state: f"the data of the older OpenEMR {state.database.release} is left for the upgrade job",
    ),
    Row(
        name="older data",
        when=lambda state: _whole(state) and _older(state),
        action="refuse",
        reason=lambda state: f"the data is of the older OpenEMR {state.database.release}",
        do="A new clinic: gcp-openemr deploy --upgrade. One that serves: gcp-openemr upgrade --to VERSION",
    ),
    Row(
        name="newer data",
        when=lambda state: _whole(state) and (state.database.version or 0) > state.code_version,
        action="refuse",
        reason=lambda state: f"the data is of the newer OpenEMR {state.database.release}",
        do="Set [openemr] version to the data's version and deploy again.",
    ),
    Row(
        name="healthy, a backup",
        when=lambda state: _whole(state) and state.backup_named,
        action="configure",
        reason="the clinic is healthy; the named backup is left alone",
        do="To restore over a clinic's data: gcp-openemr restore",
    ),
    Row(
        name="healthy",
        when=_whole,
        action="configure",
        reason="the clinic is healthy; only its settings are brought up to date",
    ),
    Row(
        name="files without database",
        when=lambda state: state.site.present and state.database.empty,
        action="refuse",
        reason="sites/default has files, but the database has no tables",
        do=_RESTORE,
    ),
    Row(
        name="database without files",
        when=lambda state: not state.site.present and not state.database.empty,
        action="refuse",
        reason="the database has tables, but sites/default is missing: its keys and documents are not there",
        do=_RESTORE,
    ),
    Row(
        name="keys do not match",
        when=lambda state: state.database.complete,
        action="refuse",
        reason=lambda state: "; ".join(unmatched_keys(state.site.keys, state.database.keys)),
        do=_RESTORE,
    ),
    Row(
        name="half a database",
        when=lambda _: True,
        action="refuse",
        reason=lambda state: "the database is not a whole OpenEMR: " + ", ".join(_missing_facts(state)),
        do=_RESTORE,
    ),
)


def decide(state: ClinicState) -> Decision:
    """Read ROWS from the top."""
    row = next(row for row in ROWS if row.when(state))
    reason = row.reason if isinstance(row.reason, str) else row.reason(state)
    return Decision(row=row.name, action=row.action, reason=reason, do=row.do)


def _missing_facts(state: ClinicState) -> list[str]:
    facts = {
        "no version": state.database.version,
        "no user that can log in": state.database.users,
        "no access rows": state.database.access_rows,
    }
    return [sentence for sentence, found in facts.items() if not found]
