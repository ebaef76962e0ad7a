"""Terraform's plugin protocol as messages: `tfplugin6.proto`, read when this module is imported.

So there is no generated code, and no compiler is needed. Only that file's kind of proto3 is understood: no imports, no
options, no streams. `wire.Schema.Block` and the like are message classes of protobuf, `SERVICE` describes the
calls.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

__all__ = ["SERVICE"]

_STATEMENT = re.compile(r"\}|[^;{}]+[;{]")
_OPENING = re.compile(r"(message|enum|oneof|service) (\w+) \{")
_FIELD = re.compile(r"(?:(repeated|optional) )?(map<\w+, \w+>|[\w.]+) (\w+) = (\d+);")
_VALUE = re.compile(r"(\w+) = (\d+);")
_CALL = re.compile(r"rpc (\w+)\(([\w.]+)\) returns \(([\w.]+)\);")
_MAP = re.compile(r"map<(\w+), (\w+)>")
_SCALARS = ("bool", "bytes", "int32", "int64", "string")


def _parse(text: str, name: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package="tfplugin6", syntax="proto3")
    inside: list[Any] = [file]
    for statement in _STATEMENT.findall(re.sub(r"//.*", "", text)):
        words = " ".join(statement.split())
        if words == "}":
            inside.pop()
        elif opening := _OPENING.fullmatch(words):
            inside.append(_open(inside[-1], *opening.groups()))
        elif call := _CALL.fullmatch(words):
            inside[-1].method.add(name=call[1], input_type=call[2], output_type=call[3])
        elif isinstance(inside[-1], EnumDescriptorProto) and (value := _VALUE.fullmatch(words)):
            inside[-1].value.add(name=value[1], number=int(value[2]))
        elif field := _FIELD.fullmatch(words):
            _add_field(inside, *field.groups(""))
        elif not words.startswith(("syntax ", "package ")):
            raise ValueError(f"{name}: cannot read: {words}")
    return file


def _open(parent: Any, kind: str, title: str) -> Any:
    if kind == "oneof":
        parent.oneof_decl.add(name=title)
        return len(parent.oneof_decl) - 1
    where = {"service": "service", "enum": "enum_type"}.get(kind)
    if kind == "message":
        where = "message_type" if isinstance(parent, FileDescriptorProto) else "nested_type"
    return getattr(parent, str(where)).add(name=title)


def _add_field(inside: list[Any], label: str, kind: str, name: str, number: str) -> None:
    message: DescriptorProto = next(one for one in reversed(inside) if isinstance(one, DescriptorProto))
    repeated = label == "repeated" or kind.startswith("map<")
    field = message.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    if entry := _MAP.fullmatch(kind):
        # A map is a list of entries: https://protobuf.dev/programming-guides/proto3/#backwards
        kind = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=kind)
        nested.options.map_entry = True
        _add_field([nested], "", entry[1], "key", "1")
        _add_field([nested], "", entry[2], "value", "2")
    if kind in _SCALARS:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type_name = kind
    if isinstance(inside[-1], int):
        field.oneof_index = inside[-1]
    elif label == "optional":
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _load() -> Any:
    path = Path(__file__).with_name("tfplugin6.proto")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_parse(path.read_text(encoding="utf-8"), path.name).SerializeToString())
    return pool.FindFileByName(path.name)


_FILE = _load()
_MESSAGES = {name: message_factory.GetMessageClass(found) for name, found in _FILE.message_types_by_name.items()}
SERVICE: Final = _FILE.services_by_name["Provider"]


def __getattr__(name: str) -> Any:
    try:
        return _MESSAGES[name]
    except KeyError:
        raise AttributeError(name) from None
