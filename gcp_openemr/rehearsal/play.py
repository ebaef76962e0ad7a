"""What the acts share: the stage, the program, the visitor, and what must never be lost."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gcp_openemr import cloud_run, interruption
from gcp_openemr.console import Step
from gcp_openemr.errors import GcpOpenemrError, RehearsalFailed, Unhealthy
from gcp_openemr.passwords import new_password
from gcp_openemr.redacted import Redacted
from gcp_openemr.rehearsal import commands
from gcp_openemr.rehearsal.bad_days import QUIET, BadDay
from gcp_openemr.rehearsal.stage import Stage, Target
from gcp_openemr.sandbox.standin.sample_backup import make_backup
from gcp_openemr.sandbox.visitor import Visitor

__all__ = ["Account", "Play", "Written", "opens"]

_DOCUMENTS, _BYTES, _SEED = 6, 20_000, 704
_ADMIN = "admin"
_RUNS = 4  # of one command on a bad day, the last of them on a quiet one
_MOST_LINES = 60
_LATER = (10, 75)  # exit codes that say: come back later; a job may go on for a command that was killed
_LATER_SECONDS, _PAUSE_SECONDS = 900.0, 5.0
_DEFECTS = (1, 64, 65)  # exit codes that no bad day excuses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A document that was given to a clinic: `sha256` is of its content."""

    patient: int
    id: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """Who logs in to a clinic."""

    user: str
    password: Redacted


class Play:
    """One run of the acts in two environments, which may come to another version, `to`.

    By clinic: `documents` that it must open, its backup set in `sets`, what was written `later` than that, and in
    `former` the administrator before the rotation. `rotated` are the versions of passwords that the rotation put in
    force.
    `day` is that of the act under way, `days` those of all acts so far; `again` is how often its commands had to be run
    again, `said` what they told people.
    """

    def __init__(self, stage: Stage, *, to: str | None = None) -> None:
        self.stage = stage
        self.first, self.second = stage.first, stage.second
        self.to = to
        self.days: dict[str, BadDay] = {}
        self.day: BadDay = QUIET
        self.step: Step | None = None
        self.again = 0
        self.said: collections.deque[str] = collections.deque(maxlen=_MOST_LINES)
        self.documents: dict[str, list[Written]] = {}
        self.sets: dict[str, str] = {}
        self.later: dict[str, Written] = {}
        self.former: dict[str, Account] = {}
        self.rotated: dict[tuple[str, str], int] = {}

    def begin(self, act: str, day: BadDay, step: Step) -> None:
        """An act begins: `step` shows what its commands say."""
        self.days[act] = self.day = day
        self.step = step
        self.again = 0
        self.said.clear()

    def was_quiet(self, *acts: str) -> bool:
        return all(self.days.get(act, QUIET) is QUIET for act in acts)

    def name_version(self, version: str) -> None:
        """From here on the environment files name this version of OpenEMR."""
        self.first, self.second = (self.stage.with_version(target, version) for target in (self.first, self.second))

    def prepare(self) -> None:
        """Put the backup that clinics begin with into the sandbox."""
        bucket, name = self.stage.archive
        file = self.stage.folder / name
        environment = self.first.environment
        made = make_backup(
            file,
            documents=_DOCUMENTS,
            bytes_per_document=_BYTES,
            seed=_SEED,
            admin_user=_ADMIN,
            admin_password=new_password().reveal(),
            version=environment.openemr.version,
        )
        storage = self.stage.cloud.storage
        storage.create_bucket(bucket, location=environment.region).blob(name).upload_from_filename(str(file))
        known = [Written(patient=one.patient_id, id=one.id, sha256=one.sha256) for one in made.documents]
        self.documents = {clinic: [*known] for clinic in environment.clinics}

    def look(self, *arguments: str) -> commands.Answer:
        """Run a command that only looks, once, whatever it answers."""
        return self._once(arguments, self.first, QUIET, first=False)

    def must(self, *arguments: str, target: Target | None = None) -> dict[str, Any]:
        """Run a command until it succeeds, and return its result: at once on a quiet day; on a bad one in `_RUNS` runs.

        Raises:
            RehearsalFailed: it does not, or it ended in a way that no bad day excuses.
        """
        for turn in range(1, _RUNS + 1):
            quiet = self.day is QUIET or turn == _RUNS
            answer = self._patiently(arguments, target or self.first, QUIET if quiet else self.day, first=turn == 1)
            if answer.status == 0:
                return answer.values
            if quiet or answer.status in _DEFECTS:
                break
            self.again += 1
        raise RehearsalFailed(f"`gcp-openemr {' '.join(arguments)}` ended with {answer.status}: {answer.error}")

    def _patiently(self, arguments: tuple[str, ...], target: Target, day: BadDay, *, first: bool) -> commands.Answer:
        """A run, and where it is told to come back later, another one then."""
        end = time.monotonic() + _LATER_SECONDS
        answer = self._once(arguments, target, day, first=first)
        while answer.status in _LATER and time.monotonic() < end:
            interruption.pause(_PAUSE_SECONDS)
            answer = self._once(arguments, target, QUIET, first=False)
        return answer

    def _once(self, arguments: tuple[str, ...], target: Target, day: BadDay, *, first: bool) -> commands.Answer:
        sandbox = self.stage.sandbox()
        if day.fault:
            sandbox.add_fault(**day.fault)
        try:
            return commands.run(
                arguments,
                folder=self.stage.folder,
                variables=self.stage.variables(target),
                show=self._show,
                stop=day.stop if first else None,
            )
        finally:
            if day.fault:
                sandbox.clear_faults()

    def _show(self, line: str) -> None:
        self.said.append(line)
        if self.step is not None:
            self.step.update(line)

    def account(self, clinic: str, target: Target | None = None) -> Account:
        """A clinic's administrator, as the program tells it."""
        told = self.must("credentials", "--clinic", clinic, target=target)
        return Account(user=told["user"], password=Redacted(told["password"]))

    def visit(self, clinic: str, target: Target | None = None) -> Visitor:
        """A browser that is logged in as a clinic's administrator."""
        account = self.account(clinic, target)
        visitor = self._visitor(clinic, target or self.first)
        visitor.login(account.user, account.password)
        return visitor

    def lets_in(self, clinic: str, account: Account, target: Target | None = None) -> bool:
        """Whether a clinic takes this account."""
        try:
            self._visitor(clinic, target or self.first).login(account.user, account.password)
        except Unhealthy:
            return False
        return True

    def _visitor(self, clinic: str, target: Target) -> Visitor:
        return Visitor(self.address(clinic, target), token=Redacted(str(self.stage.cloud.credentials.token)))

    def address(self, clinic: str, target: Target) -> str:
        """Where a clinic is here, whatever its public address."""
        place = f"projects/{target.environment.project}/locations/{target.environment.region}"
        service = target.environment.clinic_names(clinic).service
        found = cloud_run.service_state(self.stage.cloud_of(target), f"{place}/services/{service}")
        if found is None:
            raise RehearsalFailed(f"Clinic {clinic} has no service.")
        return found.uri

    def open_all(self, target: Target | None = None, documents: Mapping[str, Sequence[Written]] | None = None) -> int:
        """Open every document in its clinic, or these ones. Returns how many.

        Raises:
            RehearsalFailed: one is lost or is not what it was.
        """
        wanted = documents or self.documents
        for clinic, ones in wanted.items():
            visitor = self.visit(clinic, target)
            for one in ones:
                if not opens(visitor, one):
                    raise RehearsalFailed(f"Document {one.id} of clinic {clinic} is lost, or is not what was written.")
        return sum(len(ones) for ones in wanted.values())

    def write(self, clinic: str, visitor: Visitor) -> Written:
        """Give a clinic's first patient a document of its own, which the application stores encrypted."""
        content = secrets.token_bytes(_BYTES)
        patient = self.documents[clinic][0].patient
        identity = visitor.upload(patient, f"{secrets.token_hex(4)}.bin", content)
        return Written(patient=patient, id=identity, sha256=hashlib.sha256(content).hexdigest())


def opens(visitor: Visitor, one: Written) -> bool:
    """Whether a document is there as it was written."""
    try:
        return visitor.document(one.patient, one.id) == one.sha256
    except GcpOpenemrError:
        return False
