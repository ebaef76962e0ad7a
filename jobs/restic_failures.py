"""What restic says on stderr, as a failure of the jobs' family: why it failed, and what to do next."""

from __future__ import annotations

import re

from jobs import log
from jobs.errors import (
    BackupForbidden,
    BackupInvalid,
    BackupMissing,
    CloudRefused,
    JobError,
    SecretUnavailable,
    ShareUnusable,
    Unreachable,
)

__all__ = ["WHAT_IS_LOST", "AnswerLost", "Locked", "NotOpened", "failure"]

WHAT_IS_LOST = (
    "Without its password nothing in the repository can be read: enable the right version of the secret again; one that"
    " was destroyed can be for a week. Cloud SQL's own backups and the share itself do not need it."
)

# whoever makes sets may not replace an object: restic does so only where it repeats an upload. Its locks it may remove
_REPEATED_UPLOAD = re.compile(r"\A(?!.*(?:<lock/|unlock)).*storage\.objects\.delete\b", re.DOTALL)
_AGAIN = "Run the same command again later; it continues."
_OPENING = "unable to open config file"
_DAMAGED = re.compile(
    r"ciphertext verification failed|does not match|invalid (?:data|header|length|type)|unexpected EOF|hash mismatch"
    r"|not found in (?:index|repository)|wrong length|repository contains errors|config.*cannot be loaded"
    r"|invalid character|unable to load index|is truncated|less than the minimal|id .*not found|no such file",
    re.IGNORECASE,
)
_KINDS: tuple[tuple[str, type[JobError], str], ...] = (
    (r"wrong password or no key found", SecretUnavailable, WHAT_IS_LOST),
    # these before what restic asks after each of them: "Is there a repository at the following location?"
    (
        r"Error 40[13]\b|does not have storage|permission denied",
        BackupForbidden,
        "Run gcp-openemr deploy, which grants it.",
    ),
    (
        r"Error 429\b|rateLimitExceeded|connection refused|no such host|i/o timeout|handshake timeout|connection reset"
        r"|(?:Error|code) 5\d\d\b|https?://\S+\": (?:unexpected )?EOF",
        Unreachable,
        _AGAIN,
    ),
    (r"no space left", ShareUnusable, "Give the job more memory, of which its /tmp is a part; then run it again."),
    (
        rf"{_OPENING}: [^\n]*(?:n[o']t exist|no such file|Error 404)|repository does not exist"
        r"|bucket (?:doesn't|does not) exist",
        BackupMissing,
        "Where there were sets, the bucket's soft delete still holds what was deleted in the last 30 days; where there"
        " were none, make one: gcp-openemr backup create",
    ),
    (_DAMAGED.pattern, BackupInvalid, "Run gcp-openemr backup verify; restore from a set that it finds whole."),
)


class Locked(Exception):
    """Another run holds the repository."""


class NotOpened(Unreachable):
    """The repository did not answer when it was to be opened, which restic itself tries once only: nothing was done."""


class AnswerLost(Unreachable):
    """An upload came, but the answer that it did not; it was repeated, which is refused since the object is there."""


def failure(command: str, said: str, *, damaged: bool) -> Exception:
    """The failure of `restic command`; with `damaged`, what is not understood is damage too."""
    lines = [line for line in said.splitlines() if line.strip()]
    for line in lines[-20:]:
        log.warning(line, program="restic")
    locked = re.search(r"already locked[^\n]*", said)
    if locked:
        return Locked(locked[0])
    fatal = [line for line in lines if line.startswith("Fatal: ")]
    what = f"restic {command} failed: {[*fatal, *reversed(lines), 'it said nothing'][0][:300]}"
    if command == "backup" and _REPEATED_UPLOAD.match(said):
        return AnswerLost(f"The answer to an upload was lost. {what}", do=_AGAIN)
    for pattern, kind, do in _KINDS:
        if re.search(pattern, said, re.IGNORECASE):
            return (NotOpened if kind is Unreachable and _OPENING in said else kind)(what, do=do)
    return BackupInvalid(what) if damaged else CloudRefused(what)
