"""The password of the clinic's backup repository: restic keeps one key for each, and all open the same data.

A set made before stays readable, since only the key that a password opens is removed. A repository that is not there
yet is made by the first backup, with the password that is in force then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jobs import log
from jobs.errors import Refused, SecretUnavailable
from jobs.redacted import Redacted
from jobs.restic import Restic
from jobs.settings import Store

__all__ = ["Repository"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repository:
    store: Store
    lock_seconds: int
    still_ours: Callable[[], None]

    def opens(self, password: Redacted) -> bool | None:
        """None where there is no repository."""
        try:
            return self._with(password).exists() or None
        except SecretUnavailable:
            return False

    def accept(self, fresh: Redacted, others: Sequence[Redacted]) -> str:
        """Add a key for `fresh` and try it. Returns what was amiss, or ''.

        Raises:
            Refused: no password opens the repository.
        """
        opened = self.opens(fresh)
        if opened is not False:
            return ""
        working = next((one for one in others if self.opens(one)), None)
        if working is None:
            raise Refused(
                "No enabled version of the secret opens the backup repository.",
                do="Enable the version that does (gcloud secrets versions enable), then run gcp-openemr rotate.",
            )
        self.still_ours()
        self._with(working).add_key(fresh)
        if not self.opens(fresh):
            raise Refused("The new key does not open the backup repository; nothing else was changed.")
        return "" if working is others[0] else "the password in force did not open the repository"

    def keep_only(self, password: Redacted, others: Sequence[Redacted]) -> None:
        """Remove the keys that the other passwords open. Keys that none of them opens are somebody's own and stay."""
        if self.opens(password) is not True:
            return
        for other in others:
            while self.opens(other):
                key = self._with(other).own_key()
                self.still_ours()
                self._with(password).remove_key(key)
                log.info("A key of the repository is removed", key=key)

    def _with(self, password: Redacted) -> Restic:
        return Restic(self.store, password, lock_seconds=self.lock_seconds)
