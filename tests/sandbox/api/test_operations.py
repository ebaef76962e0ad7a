"""Operations by properties: whatever happens in between, each ends once, with its own outcome."""

from __future__ import annotations

import types
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.operations import INTERRUPTED, Operation, Operations, WorkTable
from gcp_openemr.sandbox.api.settings import Settings
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.interfaces import Json, Refused

TABLE = WorkTable()
OUTCOMES: dict[str, tuple[Json | None, int]] = {"well": ({"well": True}, 0), "refused": (None, 9), "missing": (None, 5)}


@TABLE.register("well")
def well(app: Any, operation: Operation) -> Json:
    app.done.append(operation.name)
    return {"well": True}


@TABLE.register("refused")
def refused(app: Any, operation: Operation) -> Json:
    app.done.append(operation.name)
    raise Refused("no", code=9)


@TABLE.register("missing")
def missing(app: Any, operation: Operation) -> Json:
    app.done.append(operation.name)
    raise ApiError(404, "no")


def abandon(app: Any, operation: Operation) -> None:
    app.abandoned.append(operation.name)


@TABLE.register("once", abandon=abandon)
def once(app: Any, operation: Operation) -> Json:
    app.done.append(operation.name)
    return {"once": True}


class OperationsMachine(RuleBasedStateMachine):
    """The engine beside a model, with a restart before, while and after the work."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.app: Any = types.SimpleNamespace(settings=Settings(), done=[], abandoned=[])
        self.model: dict[str, tuple[Json | None, int]] = {}
        self.count = 0
        self._open()

    def _open(self) -> None:
        self.store = Store(Path(self.folder.name) / "state.sqlite3")
        self.operations = Operations(self.app, self.store, TABLE)

    @rule(target=known, work=st.sampled_from(["", *OUTCOMES, "once"]), place=st.sampled_from(["a", "b"]))
    def begin(self, work: str, place: str) -> str:
        self.count += 1
        name = f"run.googleapis.com/projects/p/operations/{self.count}"
        response = None if work else {"at": "once"}
        self.operations.begin(
            Operation(name=name, target=place, verb="create", user="u", insert_time="1", work=work, response=response)
        )
        if not work:
            self.model[name] = (response, 0)
        return name

    @rule(name=known)
    def submit(self, name: str) -> None:
        found = self.operations.get(name)
        if found is None:
            return
        self.operations.submit(found)
        self.operations.wait(name, 10)
        self.model.setdefault(name, OUTCOMES.get(found.work, ({"once": True}, 0)))

    @rule(name=known)
    def tell(self, name: str) -> None:
        before = self.operations.get(name)
        self.operations.update(name, {"told": self.count})
        after = self.operations.get(name)
        if before is not None and after is not None:
            assert (after.metadata == before.metadata) or not before.done

    @rule(name=known)
    def delete(self, name: str) -> None:
        self.operations.delete(name)
        self.model.pop(name, None)

    @rule()
    def restart(self) -> None:
        waiting = [found for found in self.operations.list("") if not found.done]
        self.operations.close()
        self.store.close()
        self._open()
        self.operations.resume()
        for found in waiting:
            self.operations.wait(found.name, 10)
            self.model[found.name] = (None, 10) if found.work == "once" else OUTCOMES[found.work]
            assert (found.work == "once") == (found.name in self.app.abandoned)

    @invariant()
    def same(self) -> None:
        found = {operation.name: operation for operation in self.operations.list("")}
        assert {name for name, operation in found.items() if operation.done} == set(self.model)
        for name, (response, code) in self.model.items():
            error = found[name].error
            assert (found[name].response, error["code"] if error else 0) == (response, code)
            assert code != 10 or (error is not None and error["message"] == INTERRUPTED)

    def teardown(self) -> None:
        self.operations.close()
        self.store.close()
        # Nothing ran twice.
        assert len(self.app.done) == len(set(self.app.done))
        self.folder.cleanup()


def test_every_operation_ends_once_with_its_outcome() -> None:
    run_state_machine_as_test(
        OperationsMachine, settings=settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
    )
