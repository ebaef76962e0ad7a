"""The store and its languages, by properties."""

from __future__ import annotations

import contextlib
import string
import threading
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gcp_openemr.sandbox.api.conditions import MODIFIED_ROLES, ConditionInvalid, evaluate
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.api.validation import accept, apply_mask, merge
from gcp_openemr.sandbox.discovery import load

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=5), JSON, max_size=4)
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "ü", "\U0010fffe"]), min_size=1, max_size=3).map("/".join)


class StoreMachine(RuleBasedStateMachine):
    """The store beside a dictionary, with transactions that fail and a reopening at any moment."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.sqlite3"
        self.store = Store(self.path)
        self.model: dict[str, dict[str, object]] = {}

    @rule(target=known, name=NAMES, body=OBJECTS)
    def put(self, name: str, body: dict[str, object]) -> str:
        before = self.store.get(name)
        record = self.store.put(name, body)
        assert record.version == (before.version + 1 if before else 1)
        self.model[name] = body
        return name

    @rule(name=known)
    def delete(self, name: str) -> None:
        assert self.store.delete(name) == (name in self.model)
        self.model.pop(name, None)

    @rule(name=known)
    def delete_below(self, name: str) -> None:
        self.store.delete_below(name + "/")
        self.model = {key: body for key, body in self.model.items() if not key.startswith(name + "/")}

    @rule(name=NAMES, body=OBJECTS)
    def fail_in_a_transaction(self, name: str, body: dict[str, object]) -> None:
        with pytest.raises(ZeroDivisionError), self.store.transaction():  # noqa: PT012 -- the failure is its end
            self.store.put(name, body)
            with self.store.transaction():
                self.store.delete(name)
                self.store.put_policy(name, {"bindings": []})
            raise ZeroDivisionError
        assert self.store.policy(name) is None

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.path)

    @invariant()
    def same(self) -> None:
        assert {record.name: record.body for record in self.store.list("")} == self.model
        for name in self.model:
            below = [record.name for record in self.store.list(name + "/")]
            assert below == sorted(key for key in self.model if key.startswith(name + "/"))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


def test_the_store_is_a_dictionary_that_survives() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(stateful_step_count=25))


def test_numbers_are_given_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite3")
    given_out: list[int] = []
    threads = [
        threading.Thread(target=lambda: given_out.extend(store.next_number("n") for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given_out) == list(range(1, 201))
    store.close()


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_says_everything_it_names(old: dict[str, object], patch: dict[str, object]) -> None:
    result = merge(old, patch)
    for key in old.keys() | patch.keys():
        if key not in patch:
            assert result[key] == old[key]
        elif patch[key] is None:
            assert key not in result
        elif not isinstance(patch[key], dict):
            assert result[key] == patch[key]
    assert merge(result, {}) == result


def test_a_mask_changes_only_what_it_names() -> None:
    schema = load("run", "v2").schema("GoogleCloudRunV2Service")
    old = {"name": "n", "uid": "u", "labels": {"a": "1", "b": "2"}, "ingress": "INGRESS_TRAFFIC_ALL"}
    body = {"labels": {"a": "9"}, "description": "d"}
    assert apply_mask(old, body, ["labels.a"], schema)["labels"] == {"a": "9", "b": "2"}
    assert apply_mask(old, body, ["description", "ingress"], schema) == {
        "name": "n", "uid": "u", "labels": {"a": "1", "b": "2"}, "description": "d",
    }  # fmt: skip
    assert apply_mask(old, body, ["*"], schema) == {"uid": "u", **body}
    with pytest.raises(ApiError, match="field mask path 'nosuch' is invalid"):
        apply_mask(old, body, ["nosuch"], schema)


@given(JSON | OBJECTS)
def test_any_body_is_taken_or_refused(body: object) -> None:
    for api, version, schema in (
        ("run", "v2", "GoogleCloudRunV2Service"),
        ("secretmanager", "v1", "Secret"),
        ("sqladmin", "v1", "DatabaseInstance"),
        ("storage", "v1", "Bucket"),
    ):
        assert _status(api, version, schema, body) in {200, 400}


def _status(api: str, version: str, schema: str, body: object) -> int:
    try:
        accept(load(api, version), schema, body)
    except ApiError as error:
        return error.code
    return 200


def test_bodies_are_brought_into_one_form() -> None:
    found = accept(
        load("run", "v2"),
        "GoogleCloudRunV2Service",
        {
            "launch_stage": 4,
            "ingress": 1,
            "uid": "from the client",
            "template": {
                "max_instance_request_concurrency": "80",
                "scaling": {"minInstanceCount": 1.0},
                "timeout": None,
            },
        },
    )
    assert found == {
        "launchStage": "GA",
        "ingress": "INGRESS_TRAFFIC_ALL",
        "template": {"maxInstanceRequestConcurrency": 80, "scaling": {"minInstanceCount": 1}},
    }


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"nosuch": 1}, "Unknown name \"nosuch\" at 'service': Cannot find field."),
        ({"template": {"containers": {}}}, "Invalid value at 'service.template.containers' (list), {}"),
        ({"template": {"containers": [{"image": 5}]}}, "'service.template.containers[0].image' (TYPE_STRING), 5"),
        ({"ingress": "WIDE_OPEN"}, "'service.ingress' (TYPE_ENUM), \"WIDE_OPEN\""),
        ({"ingress": 99}, "'service.ingress' (TYPE_ENUM), 99"),
        ({"invokerIamDisabled": "yes"}, "'service.invoker_iam_disabled' (TYPE_BOOL)"),
        ({"template": {"maxInstanceRequestConcurrency": "many"}}, '(TYPE_INT32), "many"'),
        ({"labels": {"a": 1}}, "'service.labels[a]' (TYPE_STRING), 1"),
    ],
)
def test_wrong_bodies_are_named(body: dict[str, object], sentence: str) -> None:
    with pytest.raises(ApiError) as error:
        accept(load("run", "v2"), "GoogleCloudRunV2Service", body)
    assert sentence in error.value.message


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ApiError) as error:
        accept(load("run", "v2"), "GoogleCloudRunV2Service", {"nosuch": 1, "ingress": "X"})
    assert len(error.value.details[0]["fieldViolations"]) == 2


NAME = "projects/_/buckets/b/objects/clinics/main/x"
WORDS = (
    '"a"',
    "==",
    "(",
    ")",
    "&&",
    "resource.name",
    "!",
    "timestamp",
    "<",
    "request.time",
    "22",
    "[",
    "]",
    ".hasOnly",
)
MODIFIED = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (f'resource.name == "{NAME}"', True),
        ('resource.name.startsWith("projects/_/buckets/b/objects/clinics/main/")', True),
        ("resource.name.startsWith('projects/_/buckets/b/objects/clinics/other/')", False),
        ('!resource.name.endsWith("/x")', False),
        ('resource.type == "storage.googleapis.com/Object" && resource.service != "run.googleapis.com"', True),
        ('request.time < timestamp("2026-06-01T00:00:00Z")', True),
        ('request.time >= timestamp("2026-06-01T00:00:00Z") || (true && !false)', True),
        ("false || false", False),
        ('destination.ip == "10.60.0.5" && destination.port == 22', True),
        ('destination.ip == "10.60.0.5" && destination.port == 3306', False),
        (f"{MODIFIED}.hasOnly(['roles/viewer', 'roles/run.viewer', \"roles/browser\"])", True),
        (f"{MODIFIED}.hasOnly(['roles/viewer'])", False),
        (f"!{MODIFIED}.hasOnly([])", True),
    ],
)
def test_conditions_are_evaluated(expression: str, holds: bool) -> None:
    known: dict[str, Any] = {
        "resource.name": NAME,
        "resource.type": "storage.googleapis.com/Object",
        "resource.service": "storage.googleapis.com",
        "request.time": datetime(2026, 1, 1, tzinfo=UTC),
        "destination.ip": "10.60.0.5",
        "destination.port": 22,
        MODIFIED_ROLES: frozenset({"roles/viewer", "roles/run.viewer"}),
    }
    found = evaluate(expression, known)
    assert found is holds


@pytest.mark.parametrize(
    "expression",
    [
        f"{MODIFIED}.hasOnly({[f'roles/{number}' for number in range(11)]})",
        f"{MODIFIED}.hasOnly([resource.name])",
        f"{MODIFIED}.hasOnly(['roles/viewer' 'roles/browser'])",
        f"{MODIFIED}.hasAny(['roles/viewer'])",
        MODIFIED,
        "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', ['roles/viewer']).hasOnly(['roles/viewer'])",
        "api.getAttribute('iam.googleapis.com/another', []).hasOnly(['roles/viewer'])",
    ],
)
def test_limits_on_granting_roles_are_of_one_form(expression: str) -> None:
    with pytest.raises(ConditionInvalid):
        evaluate(expression, {})


@given(st.text(max_size=40) | st.lists(st.sampled_from((*WORDS, MODIFIED))).map(" ".join))
def test_any_expression_is_evaluated_or_refused(expression: str) -> None:
    with contextlib.suppress(ConditionInvalid):
        evaluate(expression, {})
