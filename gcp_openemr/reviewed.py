"""A plan on file: what a person read and agreed to, and whether a deploy would still do just that.

The file holds no values, only addresses, actions and fingerprints, so that a pipeline may keep it where many can read.
Terraform's own plan files would hold every value; they are made anew by the deploy, and compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gcp_openemr.environment import Environment
from gcp_openemr.errors import InputMissing, PlanChanged
from gcp_openemr.release import release
from gcp_openemr.terraform_messages import Change, Plan

__all__ = ["Reviewed", "RootPlan", "read", "reviewed"]

_FORMAT = 1
_AGAIN = "Plan again with `gcp-openemr plan --out FILE`, have it reviewed, and deploy that one."


@dataclasses.dataclass(frozen=True, kw_only=True)
class RootPlan:
    """A root's part: its state's lineage and serial (('', 0) where there is none), and the changes planned from there.

    `changes` are "action address"; `fingerprint` covers their values, too.
    """

    lineage: str
    serial: int
    fingerprint: str
    changes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reviewed:
    """`release` is ours; `inputs` fingerprints the environment file with its overrides.

    `beside` says what a deploy would do beside Terraform, and what could not be planned yet.
    """

    environment: str
    project: str
    release: str
    inputs: str
    roots: Mapping[str, RootPlan]
    beside: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n", "utf-8")

    def check(self, now: Reviewed) -> None:
        """Raises PlanChanged, with every difference, when a plan made now is another one."""
        wrong = [
            f"{what}: {old or 'none'} was reviewed, {new or 'none'} is here"
            for what, old, new in (
                ("environment", f"{self.environment} in {self.project}", f"{now.environment} in {now.project}"),
                ("gcp-openemr", self.release, now.release),
            )
            if old != new
        ]
        if self.inputs != now.inputs:
            wrong.append("the environment file or a variable GCP_OPENEMR_… says something else")
        for root in sorted({*self.roots, *now.roots}):
            wrong += _differences(root, self.roots.get(root), now.roots.get(root))
        if self.beside != now.beside:
            wrong.append(f"beside Terraform: {'; '.join(now.beside) or 'nothing is left to do'}")
        _refuse(wrong)

    def check_states(self, states: Mapping[str, tuple[str, int]]) -> None:
        """Raises PlanChanged when the state of a reviewed root has moved since."""
        _refuse(
            [
                f"{root}: its state was changed meanwhile"
                for root, plan in self.roots.items()
                if states[root] != (plan.lineage, plan.serial)
            ]
        )

    def check_root(self, root: str, plan: Plan) -> None:
        """Raises PlanChanged when `plan` is not the reviewed one.

        Where a root that comes before it changes, its plan could not be known, and is not compared.
        """
        if root not in self.roots or self.beside or any(self.roots[name].changes for name in _before(root)):
            return
        if self.roots[root].fingerprint != _fingerprint(plan.changes):
            _refuse([f"{root}: now it would {_spoken(_changes(plan))}"])


def reviewed(
    environment: Environment, plans: Mapping[str, Plan], states: Mapping[str, tuple[str, int]], beside: Sequence[str]
) -> Reviewed:
    """What is to be reviewed: the plans and states of all roots that could be planned."""
    return Reviewed(
        environment=environment.name,
        project=environment.project,
        release=str(release()),
        inputs=_hash(_plain(environment)),
        roots={
            name: RootPlan(
                lineage=states[name][0],
                serial=states[name][1],
                fingerprint=_fingerprint(plan.changes),
                changes=_changes(plan),
            )
            for name, plan in plans.items()
        },
        beside=tuple(beside),
    )


def read(path: Path) -> Reviewed:
    """The reviewed plan in a file.

    Raises:
        InputMissing: it is missing or no such file.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
        if fields.pop("format") != _FORMAT:
            raise ValueError
        roots = {
            name: RootPlan(**{**root, "changes": tuple(root["changes"])}) for name, root in fields["roots"].items()
        }
        return Reviewed(**{**fields, "roots": roots, "beside": tuple(fields["beside"])})
    except OSError as error:
        raise InputMissing(f"{path} cannot be read: {error.strerror}.", do=_AGAIN) from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise InputMissing(f"{path} is no reviewed plan of this gcp-openemr.", do=_AGAIN) from error


def _refuse(differences: Sequence[str]) -> None:
    if differences:
        told = "".join(f"\n  {line}" for line in differences)
        raise PlanChanged(f"This is not what was reviewed, so it is not deployed:{told}", do=_AGAIN)


def _differences(root: str, old: RootPlan | None, new: RootPlan | None) -> list[str]:
    if old is None or new is None:
        return [f"{root}: {'was not planned then' if old is None else 'cannot be planned now'}"]
    if old.fingerprint != new.fingerprint:
        return [f"{root}: now it would {_spoken(new.changes)}"]
    if (old.lineage, old.serial) != (new.lineage, new.serial):
        return [f"{root}: its state was changed meanwhile (serial {old.serial}, now {new.serial})"]
    return []


def _before(root: str) -> Sequence[str]:
    """The roots whose outputs it takes."""
    return {"foundation": (), "platform": ("foundation",)}.get(root, ("foundation", "platform"))


def _changes(plan: Plan) -> tuple[str, ...]:
    return tuple(f"{change.action} {change.address}" for change in plan.changes)


def _spoken(changes: Sequence[str]) -> str:
    return ", ".join(changes) or "change nothing"


def _fingerprint(changes: Sequence[Change]) -> str:
    """Of what is changed and to what. Left out: what is known after the apply only, and moves by itself before it."""
    return _hash(
        [
            (c.address, c.action, {key: [c.before.get(key), v] for key, v in c.after.items() if c.before.get(key) != v})
            for c in sorted(changes, key=lambda change: change.address)
        ]
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Dataclasses, models and maps as JSON takes them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
