"""New passwords."""

from __future__ import annotations

import secrets
import string

from jobs.redacted import Redacted

__all__ = ["new_password"]

_LENGTH = 32
_ALPHABET = string.ascii_letters + string.digits + "-_.!~"


def new_password() -> Redacted:
    """32 characters with lower and upper case, a digit and a sign, as Cloud SQL's and OpenEMR's password rules ask."""
    while True:
        text = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
        if all(any(kind(c) for c in text) for kind in kinds):
            return Redacted(text)
