"""Which statements of a dump are run, in which words; which are left out; and which are refused.

A dump's tables have no schema in their names. A name with one would reach the clinic that serves, whose user runs the
dump, so it is looked for past quotes, blanks and comments, conditional ones too, as the server reads them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from jobs.errors import BackupInvalid

__all__ = ["QUOTED", "fitting", "without_values"]

QUOTED = rb"'[^'\\]*+(?:\\.[^'\\]*+)*+'|\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\""
_NAME = rb"(?:`[^`]+`|\"[^\"]+\"|[\w$\x80-\xff]+)"
_DEFINER = re.compile(
    rb"DEFINER\s*=\s*(?:CURRENT_USER(?:\s*\(\s*\))?|(?:`[^`]*`|'[^']*'|[^\s@`']+)(?:\s*@\s*(?:`[^`]*`|'[^']*'|[\w.%-]+))?)",
    re.IGNORECASE,
)
# MariaDB's collations since 10.10; MySQL has older tables of the Unicode algorithm under these names
_MARIADB_COLLATIONS = (
    (re.compile(rb"utf8mb4_uca1400_\w+"), b"utf8mb4_0900_ai_ci"),
    (re.compile(rb"utf8mb3_uca1400_\w+"), b"utf8mb3_unicode_ci"),
)
_CONDITIONAL = re.compile(rb"/\*!\d{0,6}\s*|\*/")

# statements of a dump that are left out: other schemas' names, other sessions' and servers' settings, locks of the
# dump's own connection
_LEFT_OUT = re.compile(
    rb"(?:USE\b|(?:CREATE|DROP|ALTER)\s+(?:DATABASE|SCHEMA)\b|(?:UN)?LOCK\s+TABLES\b|START\s+TRANSACTION\b|COMMIT\b"
    rb"|SET\s+(?:@@GLOBAL\.|GLOBAL\s|@@SESSION\.SQL_LOG_BIN|@MYSQLDUMP_TEMP_LOG_BIN|SESSION\s+SQL_LOG_BIN|AUTOCOMMIT))",
    re.IGNORECASE,
)
_ROWS = re.compile(rb"(?:INSERT(?:\s+IGNORE)?|REPLACE)\s+INTO\s+" + _NAME, re.IGNORECASE)
_VALUES = re.compile(rb"\s*(?:\((?:`[^`]*`|[^()`'\"])*\)\s*)?VALUES?\b", re.IGNORECASE)
_SETTING = re.compile(rb"SET\s+(?!PASSWORD\b|ROLE\b|DEFAULT\b|PERSIST)", re.IGNORECASE)
# other rules for strings than those by which a dump is split
_OTHER_STRINGS = re.compile(rb"NO_BACKSLASH_ESCAPES", re.IGNORECASE)
_OF_TABLES = re.compile(
    rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMPORARY\s+)?TABLE\s|CREATE\s+(?:UNIQUE\s+)?INDEX\s|ALTER\s+TABLE\s"
    rb"|DROP\s+(?:TABLE|VIEW|TRIGGER)\s|TRUNCATE\s",
    re.IGNORECASE,
)
# they have names of two parts inside, a table's and a column's
_WITH_QUERIES = re.compile(
    rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:ALGORITHM\s*=\s*\w+\s+)?(?:SQL\s+SECURITY\s+\w+\s+)?(?:VIEW|TRIGGER)\s+"
    + _NAME
    + rb"(?!\s*\.)",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(rb"\w+\s+(?:IGNORE\s+)?(?:INTO\s+|VIEW\s+|TRIGGER\s+)?" + _NAME + rb"\s*\.", re.IGNORECASE)
_WORDS = re.compile(
    QUOTED + rb"|`(?:[^`]|``)*`|--(?=[ \t\r\n])[^\n]*|\#[^\n]*|/\*!\d*|/\*.*?\*/|\*/|[\w$\x80-\xff]+|\S", re.DOTALL
)
_SILENT = (b"'", b"--", b"#", b"/*", b"*/")
# what MySQL repeats of the rows that it refuses
_REPEATED = re.compile(r"\b(near|entry|value:) '.*?'(?= for (?:key|column) | at (?:line|row) | \(\d+\))", re.DOTALL)


def fitting(statement: bytes, schemas: Collection[str]) -> bytes | None:
    """The statement as it is run here, None when it is left out. `schemas` are those that its user can see.

    Raises:
        BackupInvalid: it is not one of a dump of tables, or leaves its schema.
    """
    plain = statement
    if statement.startswith(b"/*!"):
        # a conditional comment is what it holds; in a view or trigger several of them make one statement
        plain = _CONDITIONAL.sub(b" ", statement).strip()
    if _LEFT_OUT.match(plain) or not plain:
        return None
    if rows := _ROWS.match(plain):
        if not _VALUES.match(plain, rows.end()):
            raise _refused(plain)
        return plain
    plain = _DEFINER.sub(b"", plain)
    for theirs, ours in _MARIADB_COLLATIONS:
        plain = theirs.sub(ours, plain)
    if _SETTING.match(plain) and not _OTHER_STRINGS.search(plain):
        return plain
    known = {name.lower().encode() for name in schemas}
    if _OF_TABLES.match(plain):
        leaves = any(True for _ in _qualifiers(plain))
    elif _WITH_QUERIES.match(plain):
        leaves = any(name in known for name in _qualifiers(plain))
    else:
        raise _refused(plain)
    if leaves:
        raise BackupInvalid(f"The backup's SQL file names another schema: {_shown(plain)} …")
    return plain


def without_values(statement: bytes, reason: str) -> str:
    """Why MySQL refuses a statement, without what it repeats of rows, which may be of patients."""
    return _REPEATED.sub(r"\1 '…'", reason) if _ROWS.match(statement) else reason


def _qualifiers(statement: bytes) -> Iterator[bytes]:
    """The first part of each name of more than one, as the server reads the statement."""
    words = [word for word in _WORDS.findall(statement) if not word.startswith(_SILENT)]
    for name, dot, after in zip(words, words[1:], words[2:], strict=False):
        if dot == b"." and _is_name(name) and _is_name(after):
            yield name.strip(b'`"').lower()


def _is_name(word: bytes) -> bool:
    return word[:1] in (b"`", b'"', b"*") or (re.match(rb"[\w$\x80-\xff]", word) is not None and not word.isdigit())


def _refused(statement: bytes) -> BackupInvalid:
    if _ELSEWHERE.match(statement):
        return BackupInvalid(f"The backup's SQL file names another schema: {_shown(statement)} …")
    return BackupInvalid(f"The backup's SQL file holds a statement that no dump of tables has: {_shown(statement)} …")


def _shown(statement: bytes) -> str:
    """Its first words, no values."""
    return ascii(" ".join(re.split(rb"['\"(=]", statement[:160])[0].decode("utf-8", "replace").split()[:4]))
