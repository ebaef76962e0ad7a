"""Every row of the decision table, and what the table never does."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.clinic_state import ClinicState, DatabaseFacts, SiteFacts
from jobs.decide import ROWS, decide
from jobs.kept import Kept
from jobs.marker import Marker

CODE = 517
KEYS = frozenset({"sevena", "sevenb"})
NO_SITE = SiteFacts(present=False)
SITE = SiteFacts(present=True, configured=True, keys=KEYS)
NO_TABLES = DatabaseFacts()
WHOLE = DatabaseFacts(
    tables=frozenset({"version", "users"}), version=CODE, release="7.0.4", users=1, access_rows=3, keys=KEYS
)
KEPT = Kept(files=".replaced-1", source="a set", when=1)
HALF = DatabaseFacts(tables=frozenset({"version"}))


def state(site: SiteFacts, database: DatabaseFacts, **more: object) -> ClinicState:
    return ClinicState(site=site, database=database, code_version=CODE, **more)  # type: ignore[arg-type]


CASES = {
    "a swap was begun": (state(NO_SITE, HALF, begun=Marker(doing="swap")), "finish-swap", "interrupted"),
    "an upgrade was begun": (state(SITE, WHOLE, begun=Marker(doing="upgrade")), "refuse", "has not come to its end"),
    "what a restore replaced is back already": (
        state(SITE, WHOLE, undo_wanted=True, kept=dataclasses.replace(KEPT, undone=True)),
        "configure",
        "undone already",
    ),
    "what a restore replaced is wanted back": (state(SITE, WHOLE, undo_wanted=True, kept=KEPT), "undo", "was kept"),
    "nothing was kept to go back to": (state(SITE, WHOLE, undo_wanted=True), "refuse", "no kept copy"),
    "a backup that an interrupted run has put in place": (
        state(SITE, WHOLE, over_wanted=True, backup_named=True, in_place=True, kept=KEPT),
        "configure",
        "put this backup in place",
    ),
    "a backup to restore over what is there": (
        state(SITE, NO_TABLES, over_wanted=True, backup_named=True),
        "restore-over",
        "take the place",
    ),
    "nothing, no backup": (state(NO_SITE, NO_TABLES), "install", "no backup is named"),
    "nothing, a backup, and a set of an earlier clinic": (
        state(NO_SITE, NO_TABLES, backup_named=True, earlier_set="a set"),
        "refuse",
        "an earlier clinic of this name left set a set",
    ),
    "nothing, a backup": (state(NO_SITE, NO_TABLES, backup_named=True), "restore", "a backup is named"),
    "an install was begun, without patients": (
        state(SITE, HALF, begun=Marker(doing="install")),
        "install",
        "starts again",
    ),
    "an install was begun, without patients, and a backup is named now": (
        state(SITE, HALF, begun=Marker(doing="install"), backup_named=True),
        "restore",
        "named now",
    ),
    "older data, to be upgraded": (
        state(SITE, dataclasses.replace(WHOLE, version=CODE - 1), upgrade_wanted=True),
        "configure",
        "left for the upgrade job",
    ),
    "older data": (state(SITE, dataclasses.replace(WHOLE, version=CODE - 1)), "refuse", "older"),
    "newer data": (state(SITE, dataclasses.replace(WHOLE, version=CODE + 1)), "refuse", "newer"),
    "healthy, a backup": (state(SITE, WHOLE, backup_named=True), "configure", "left alone"),
    "healthy": (state(SITE, WHOLE), "configure", "only its settings"),
    "files without database": (state(SITE, NO_TABLES), "refuse", "no tables"),
    "database without files": (state(NO_SITE, WHOLE), "refuse", "sites/default is missing"),
    "keys do not match": (
        state(dataclasses.replace(SITE, keys=frozenset({"sevena"})), WHOLE),
        "refuse",
        "key sevenb is in the database but not on the share",
    ),
    "half a database": (state(SITE, HALF), "refuse", "no version, no user that can log in, no access rows"),
}


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_each_row_is_reached_and_gives_its_reason(name: str) -> None:
    found, action, words = CASES[name]
    assert next(row for row in ROWS if row.when(found)).name == name
    decision = decide(found)
    assert decision.action == action
    assert words in decision.reason
    assert decision.do or action != "refuse"


def test_a_set_of_an_earlier_clinic_is_left_alone_by_what_is_there_or_named_in_words() -> None:
    """`restore` names one, be the storage empty or not; a clinic that is there is no earlier one."""
    there = state(SITE, WHOLE, backup_named=True, earlier_set="a set")
    assert decide(there).row == "healthy, a backup"
    assert decide(state(NO_SITE, NO_TABLES, backup_named=True, over_wanted=True)).action == "restore"
    assert decide(state(NO_SITE, NO_TABLES, earlier_set="a set")).action == "install"


def test_over_an_upgrade_that_was_begun_only_the_way_back_restores() -> None:
    begun = state(SITE, WHOLE, begun=Marker(doing="upgrade"), over_wanted=True, backup_named=True)
    refused = decide(begun)
    assert (refused.row, refused.action) == ("an upgrade was begun", "refuse")
    assert "gcp-openemr upgrade --back" in refused.do
    assert decide(dataclasses.replace(begun, page_kept=True)).action == "restore-over"
    assert decide(state(SITE, WHOLE, begun=Marker(doing="upgrade"), page_kept=True)).action == "refuse"


@pytest.mark.parametrize("backup", [False, True])
def test_an_install_that_came_to_its_end_is_a_clinic(backup: bool) -> None:
    found = state(SITE, WHOLE, begun=Marker(doing="install"), backup_named=backup)
    assert decide(found).action == "configure"
    unchecked = dataclasses.replace(found, site=dataclasses.replace(SITE, configured=False))
    assert decide(unchecked).action == ("restore" if backup else "install")


def test_an_install_with_a_patient_in_it_is_not_begun_again() -> None:
    with_patient = dataclasses.replace(HALF, patients=1)
    assert decide(state(SITE, with_patient, begun=Marker(doing="install"))).action == "refuse"
    with_folder = dataclasses.replace(SITE, patient_folders=1)
    assert decide(state(with_folder, HALF, begun=Marker(doing="install"))).action == "refuse"


def test_keys_of_the_oldest_kinds_need_no_counterpart() -> None:
    """Those of OpenEMR 5 before its keys on the share were locked by those in the database."""
    site = dataclasses.replace(SITE, keys=KEYS | {"one", "twoa", "threeb", "foura"})
    assert decide(state(site, dataclasses.replace(WHOLE, keys=KEYS | {"fourb"}))).action == "configure"


sites = st.builds(
    SiteFacts, present=st.booleans(), keys=st.sampled_from([frozenset(), KEYS]), patient_folders=st.integers(0, 2)
)
databases = st.builds(
    DatabaseFacts,
    tables=st.sampled_from([frozenset(), frozenset({"version"})]),
    version=st.sampled_from([None, CODE - 1, CODE, CODE + 1]),
    users=st.integers(0, 1),
    access_rows=st.integers(0, 1),
    keys=st.sampled_from([frozenset(), KEYS]),
    patients=st.integers(0, 1),
    documents=st.integers(0, 1),
)
markers = st.sampled_from([None, Marker(doing="install"), Marker(doing="restore")])


@given(site=sites, database=databases, begun=markers, backup=st.booleans())
def test_nothing_is_written_over_a_patient(
    site: SiteFacts, database: DatabaseFacts, begun: Marker | None, backup: bool
) -> None:
    found = state(site, database, begun=begun, backup_named=backup)
    if database.has_patients or (site.present and site.patient_folders):
        nothing = not site.present and database.empty
        assert nothing or decide(found).action in ("configure", "refuse")
