"""Whatever stands in the file or the variables: an Environment or a list of problems, and keys at their lines."""

from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcp_openemr.environment import Environment, load_environment, write_environment_file
from gcp_openemr.environment.catalogue import SECTIONS
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.environment.overrides import variables
from gcp_openemr.environment.positions import KeyPath, line_of_every_key
from gcp_openemr.errors import EnvironmentInvalid, InputMissing

SMALL = '[environment]\nname = "test"\nproject = "my-clinic-test"\nregion = "europe-west1"\nprofile = "developer"\n'


def parse(text: str, overrides: dict[str, str] | None = None) -> Environment | None:
    """None when problems were told; any other exception is a failure."""
    try:
        return parse_environment(text, file="openemr.toml", overrides=overrides or {})
    except EnvironmentInvalid as error:
        lines = error.what.splitlines()
        assert lines
        assert all(line.startswith(("openemr.toml:", "GCP_OPENEMR_")) for line in lines)
        error.what.encode()  # no lone surrogate that a terminal would choke on
        return None


@given(st.text())
def test_any_text_gives_an_environment_or_its_problems(text: str) -> None:
    parse(text)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_environment_or_its_problems(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "openemr.toml"
        path.write_bytes(content)
        with pytest.raises((EnvironmentInvalid, InputMissing)):
            load_environment(path, overrides={})


# --- documents: drawn as data, written in one of the ways TOML knows ---

_chars = st.characters(exclude_categories=["Cs"])
_keys = st.one_of(
    st.sampled_from(
        sorted({*SECTIONS, "clinics", "main", *(key for model in SECTIONS.values() for key in model.model_fields)})
    ),
    st.text("ab-_1", min_size=1, max_size=3),
    st.text(_chars, max_size=4),
)
_scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.text(_chars, max_size=12),
    st.sampled_from(
        ["gs://bucket/a.zip", "europe-west1", "production", "10.0.0.0/22", "4Gi", "https://a.example", "[[a]]"]
    ),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=8,
)
_documents = st.dictionaries(_keys, st.one_of(st.dictionaries(_keys, _values, max_size=5), _values), max_size=6)


def _key(key: str) -> str:
    bare = key and all(char in "abcdefghijklmnopqrstuvwxyz-_1" for char in key)
    return key if bare else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text(text: str, draw: Any) -> str:
    styles = ["basic"]
    if "'" not in text and text.isprintable():
        styles.append("literal")
        styles.append("long literal")
    styles.append("long basic")
    style = draw(st.sampled_from(styles))
    if style == "literal":
        return f"'{text}'"
    if style == "long literal":
        return f"'''\n{text}\n# no = 'comment'\n'''"
    if style == "long basic":
        return f'"""\n{_quoted(text)[1:-1]} \\\n  [a] ""#"""'
    return _quoted(text)


def _value(value: Any, draw: Any, *, one_line: bool = False) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(key)} = {_value(entry, draw, one_line=True)}" for key, entry in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, list):
        if one_line:
            return f"[{', '.join(_value(entry, draw, one_line=True) for entry in value)}]"
        entries = "".join(f"\n  {_value(entry, draw)}, # ] [x]" for entry in value)
        return f"[{entries}\n]"
    if isinstance(value, str):
        return _quoted(value) if one_line else _text(value, draw)
    return str(value).lower()


@st.composite
def toml_texts(draw: Any) -> str:
    """TOML with the keys of an environment file and others, in headers, dotted keys and inline tables."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in draw(_documents).items():
        if not isinstance(value, dict):
            lines.append(f"{_key(name)} = {_value(value, draw)} # {name!a}")
            continue
        style = draw(st.sampled_from(["header", "dotted", "inline", "array"]))
        if style == "inline" or not value:
            lines.append(f"{_key(name)} = {_value(value, draw)}")
        elif style == "dotted":
            lines += [f"{_key(name)} . {_key(key)} = {_value(entry, draw)}" for key, entry in value.items()]
        else:
            brackets = ("[", "]") if style == "header" else ("[[ ", " ]]")
            for _ in range(1 if style == "header" else 2):
                tables.append(f"{brackets[0]}{_key(name)}{brackets[1]} # [x]")
                tables += [f"\t{_key(key)}={_value(entry, draw)}" for key, entry in value.items()]
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return str(ending.join([*lines, "", *tables]))


def _paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {path} if path else set()
    for key, entry in entries:
        found |= _paths(entry, (*path, key))
    return found


@given(toml_texts())
def test_every_key_is_found_and_nothing_else(text: str) -> None:
    assert set(line_of_every_key(text)) == _paths(tomllib.loads(text))


@given(toml_texts())
def test_every_key_stands_in_the_line_said(text: str) -> None:
    lines = text.split("\n")
    for path, line in line_of_every_key(text).items():
        if isinstance(path[-1], str):
            assert _key(path[-1]) in lines[line - 1]


@given(toml_texts())
def test_any_toml_gives_an_environment_or_its_problems(text: str) -> None:
    parse(text)


@given(section=st.sampled_from(sorted(SECTIONS)), value=_values, data=st.data())
def test_any_value_of_any_key_gives_an_environment_or_its_problems(section: str, value: Any, data: Any) -> None:
    key = data.draw(st.sampled_from(sorted(SECTIONS[section].model_fields)))
    document = tomllib.loads(SMALL)
    document.setdefault(section, {})[key] = value
    parse(
        "\n".join(
            f"[{name}]\n" + "\n".join(f"{_key(k)} = {_value(v, data.draw)}" for k, v in table.items())
            for name, table in document.items()
        )
    )


@given(st.dictionaries(st.sampled_from(sorted(variables(("main",)))), st.text(_chars, max_size=20), max_size=4))
def test_any_variables_give_an_environment_or_its_problems(overrides: dict[str, str]) -> None:
    parse(SMALL, overrides)


@given(cut=st.integers(0, 3000), put=st.text(_chars, max_size=5), length=st.integers(0, 10))
def test_a_damaged_file_gives_an_environment_or_its_problems(cut: int, put: str, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "openemr.toml"
        write_environment_file(path, name="test", project="my-clinic-test", region="europe-west1", profile="production")
        text = path.read_text()
    at = cut % len(text)
    parse(text[:at] + put + text[at + length :])


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a.b = 1\na.c = 2\n", {("a",): 1, ("a", "b"): 1, ("a", "c"): 2}),
        ("[a]\n[a.b]\nc = 1\n", {("a",): 1, ("a", "b"): 2, ("a", "b", "c"): 3}),
        ("[a.b]\n[a]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}),
        ("[[a]]\nb = 1\n[[a]]\n[a.c]\n", {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "c"): 4}),
        ('a = """\nb = 1\n""""\nc = 1', {("a",): 1, ("c",): 4}),
        ("a = '''\n[b]''''\nc = 1", {("a",): 1, ("c",): 3}),
        ('a = "\\"" # b = 1\nc = "#"', {("a",): 1, ("c",): 2}),
        ("a = [ # b\n 1,\n { c = 2 } ]", {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, "c"): 3}),
        ("\"a.b\".'c' = 1979-05-27 07:32:00", {("a.b",): 1, ("a.b", "c"): 1}),
    ],
)
def test_keys_stand_where_people_see_them(text: str, paths: dict[KeyPath, int]) -> None:
    assert line_of_every_key(text) == paths
