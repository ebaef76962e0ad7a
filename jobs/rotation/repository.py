"""The password of the clinic's backup repository: restic keeps one key for each, and all open the same data.

A set made before stays readable, since only the key that a password opens is removed. A repository that is not there
yet is made by the first backup, with the password that is in force then.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from jobs import log
from jobs.errors import BackupMissing, Refused, SecretUnavailable
from jobs.redacted import Redacted
from jobs.restic import Restic
from jobs.settings import Store

__all__ = ["Repository"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repository:
    """`is_alone` tells that no execution runs that could hold the repository: a lock in it is a killed run's."""

    store: Store
    lock_seconds: int
    still_ours: Callable[[], None]
    is_alone: Callable[[], bool]

    def accept(self, fresh: Redacted, others: Sequence[Redacted], *, new: bool) -> str:
        """Add a key for `fresh` and try it; `new`: there is none yet. Returns what was amiss, or ''.

        Raises:
            Refused: no password opens the repository.
        """
        if not new and self._opens(fresh):
            return ""
        self.still_ours()
        try:
            working = next((one for one in others if self._adds(one, fresh)), None)
        except BackupMissing:
            return ""
        if working is None or not self._opens(fresh):
            raise Refused(
                "No enabled version of the secret opens the backup repository.",
                do="Enable the version that does (gcloud secrets versions enable), then run gcp-openemr rotate.",
            )
        return "" if working is others[0] else "the password in force did not open the repository"

    def keep_only(self, password: Redacted, others: Sequence[Redacted]) -> None:
        """Remove the keys that the other passwords open. Keys that none of them opens are somebody's own and stay."""
        for other in others:
            while key := self._key_of(other):
                self.still_ours()
                try:
                    self._with(password).remove_key(key)
                except SecretUnavailable:  # a first backup has made the repository meanwhile
                    self._with(other).add_key(password)
                    continue
                log.info("A key of the repository is removed", key=key)

    def _opens(self, password: Redacted) -> bool:
        with contextlib.suppress(SecretUnavailable):
            return self._with(password).exists()
        return False

    def _adds(self, password: Redacted, fresh: Redacted) -> bool:
        with contextlib.suppress(SecretUnavailable):
            self._with(password).add_key(fresh)
            return True
        return False

    def _key_of(self, password: Redacted) -> str:
        """The key that a password opens; '' where it opens none, or there is no repository."""
        with contextlib.suppress(SecretUnavailable, BackupMissing):
            return self._with(password).own_key()
        return ""

    def _with(self, password: Redacted) -> Restic:
        return Restic(self.store, password, lock_seconds=self.lock_seconds, is_alone=self.is_alone)
