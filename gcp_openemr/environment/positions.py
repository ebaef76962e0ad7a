"""Where each key of a TOML text stands; `tomllib` keeps no positions.

The text has passed `tomllib`, so only what can hold a key or hide one has to be understood: headers, keys, strings,
comments, arrays and inline tables. Everything else is skipped up to the next delimiter.
"""

from __future__ import annotations

import bisect
import re
import tomllib

__all__ = ["KeyPath", "line_of_every_key"]

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{1,2}(?!"))?'  # two more quotes may stand before the closing three
    r"|'''.*?'''(?:'{1,2}(?!'))?"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)


def line_of_every_key(text: str) -> dict[KeyPath, int]:
    """The line (from 1) where each key, table and array element of a valid TOML `text` first stands.

    Paths are those of the parsed document: `("clinics", "main", "cpu")`; elements of arrays count from 0.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._tables_of: dict[KeyPath, int] = {}  # arrays of tables: how many so far
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        self._at += 1
        line = self._line()
        table = self._resolve(self._dotted(), line)
        self._at += 1
        return table

    def _array_header(self) -> KeyPath:
        self._at += 2
        line = self._line()
        *parents, last = self._dotted()
        array = (*self._resolve(parents, line), last)
        self._at += 2
        index = self._tables_of.get(array, 0)
        self._tables_of[array] = index + 1
        self._note(array, line)
        self._note((*array, index), line)
        return (*array, index)

    def _resolve(self, keys: list[str], line: int) -> KeyPath:
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            self._note(path, line)
            if path in self._tables_of:
                path = (*path, self._tables_of[path] - 1)
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._dotted():
            path = (*path, key)
            self._note(path, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        first = self._peek()
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._peek() == "]":
                break
            if self._peek() == ",":
                self._at += 1
                continue
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._peek() == "}":
                break
            if self._peek() == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1

    def _dotted(self) -> list[str]:
        keys = [self._key()]
        while self._peek() == ".":
            self._at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip(_SPACE)
        quoted = self._peek() in "\"'"
        start = self._at
        self._skip(_STRING if quoted else _BARE_KEY)
        token = self._text[start : self._at]
        self._skip(_SPACE)
        return str(tomllib.loads(f"key = {token}")["key"]) if quoted else token

    def _note(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)

    def _line(self) -> int:
        return bisect.bisect_left(self._newlines, self._at) + 1

    def _peek(self) -> str:
        return self._text[self._at]

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is None:  # only when the text is not the TOML it was promised to be
            raise ValueError(f"line {self._line()} is not valid TOML")
        self._at = match.end()
        return self._at
