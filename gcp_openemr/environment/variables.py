"""Checks of `environment_variables`: what a clinic may hand to the processes of its service."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gcp_openemr.environment.problems import Fault, Wrong

__all__ = ["DEFAULTS", "check_environment_variables", "php_memory_mib"]

DEFAULTS: Mapping[str, str] = {"PHP_MEMORY_LIMIT": "512M"}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_ENDING = re.compile(r"(PASS|PASSWORD|PASSWD|PASSPHRASE|PWD|SECRET|TOKEN|KEY|CREDENTIALS?)$", re.IGNORECASE)
_SECRET_WORD = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE_?KEY|API_?KEY", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s]*:[^/\s]*@")
_SETTING = "OPENEMR_SETTING_"
# OpenEMR's own switch for strong passwords; it ends like a secret and is none.
_NOT_SECRET = frozenset({"OPENEMR_SETTING_secure_password"})
_PHP_MEMORY = re.compile(r"([1-9][0-9]{0,9})([KMG]?)", re.IGNORECASE)

_SET_BY_KEY = {
    "OE_USER": "[openemr] admin_user",
    "OPENEMR_VERSION": "[openemr] version",
    "PUBLIC_URL": "public_url",
    "BACKUP_FILEID": "[restore] uri",
    "BACKUP_SOURCE": "[restore] source",
}
_TAKEN = (
    (
        re.compile(r"OPENEMR_(?!SETTING_|SESSIONS$|FPM_CHILDREN$|TRUSTED_PROXIES$|START_SECONDS$).*"),
        "is no variable of the image",
    ),
    (
        re.compile(r"MYSQL_.*|REDIS_.*|OE_.*|MANUAL_SETUP|SWARM_MODE|OPERATOR|AUTHORITY|K8S", re.IGNORECASE),
        "is set for you, from the resources of this environment",
    ),
    (  # https://cloud.google.com/run/docs/container-contract#env-vars
        re.compile(r"PORT|K_.*|CLOUD_RUN_.*|X_GOOGLE_.*|GOOGLE_.*"),
        "belongs to Cloud Run, which sets it itself",
    ),
    (
        re.compile(r"PATH|HOME|ENV|IFS|LD_.*|PHPRC|PHP_INI_SCAN_DIR"),
        "would change how the container starts",
    ),
)
_MOST = 1000  # https://cloud.google.com/run/docs/configuring/services/overview-environment-variables


def check_environment_variables(values: Mapping[str, object]) -> dict[str, str]:
    """The variables as texts, with the defaults for those not given. No fault shows a value."""
    faults = [fault for name, value in values.items() if (fault := _fault(name, value))]
    if len(values) > _MOST:
        faults.append(Fault(text=f"holds {len(values)} variables, Cloud Run takes {_MOST}", value_shown=False))
    if faults:
        raise Wrong(*faults)
    return {**DEFAULTS, **{name: _text(value) for name, value in values.items()}}


def php_memory_mib(value: str) -> float | None:
    """Mebibytes of PHP's shorthand (`512M`, `1G`, bytes without a letter), or None where it is none."""
    match = _PHP_MEMORY.fullmatch(value)
    if match is None:
        return None
    per_unit = {"": 1 / 1024**2, "K": 1 / 1024, "M": 1.0, "G": 1024.0}
    return int(match[1]) * per_unit[match[2].upper()]


def _fault(name: str, value: object) -> Fault | None:
    said = _name_fault(name) or _value_fault(name, value)
    if said is None:
        return None
    text, hint = said
    return Fault(text=text, hint=hint, below=(name,), value_shown=False)


def _name_fault(name: str) -> tuple[str, str] | None:
    if not _NAME.fullmatch(name):
        return "a variable's name needs letters, digits and _, no digit first", ""
    if name in _SET_BY_KEY:
        return "is set for you", f"write {_SET_BY_KEY[name]} instead"
    for taken, text in _TAKEN:
        if taken.fullmatch(name):
            return text, "leave it out"
    return _secret_refused(name) if _names_a_secret(name) else None


def _names_a_secret(name: str) -> bool:
    if name in _NOT_SECRET:
        return False
    return bool(_SECRET_ENDING.search(name) or (not name.startswith(_SETTING) and _SECRET_WORD.search(name)))


def _secret_refused(name: str) -> tuple[str, str]:
    text = "looks like a secret, and would stand in clear in this file, in Terraform's state and in Cloud Run's console"
    if name.startswith("SMTP_"):
        return text, (
            "leave it out and enter it in OpenEMR under Administration, Config, Notifications, "
            "which keeps it encrypted in the clinic's database"
        )
    return text, "leave it out and enter it in OpenEMR under Administration, Config, which encrypts it"


def _value_fault(name: str, value: object) -> tuple[str, str] | None:
    if not isinstance(value, str | int):  # a bool is an int
        return "must be text, a whole number, true or false", ""
    text = _text(value)
    if any(char in text for char in "\0\r\n") or _is_broken(text):
        return "must be one line of text", ""
    if _SECRET_VALUE.search(text):
        return _secret_refused(name)
    if name == "PHP_MEMORY_LIMIT":
        return _php_memory_fault(text)
    if name in {"SMTP_PORT", "SMTP_HOST"}:
        return _smtp_fault(name, text)
    return None


def _php_memory_fault(text: str) -> tuple[str, str] | None:
    if text == "-1":
        return "must have a limit: one request without it can take the memory of all others", 'write e.g. "512M"'
    if php_memory_mib(text) is None:
        return "must be a number with K, M or G, as php.ini takes it", 'write e.g. "512M"'
    return None


def _smtp_fault(name: str, text: str) -> tuple[str, str] | None:
    port = text if name == "SMTP_PORT" else text.rpartition(":")[2] if ":" in text else ""
    if port == "25":  # https://cloud.google.com/compute/docs/tutorials/sending-mail
        return "port 25 is blocked: Google Cloud lets no mail out through it", "use 587 (STARTTLS) or 465 (TLS)"
    if name == "SMTP_PORT" and not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        return "must be a port from 1 to 65535", "587 (STARTTLS) or 465 (TLS) are usual"
    return None


def _is_broken(text: str) -> bool:
    """Whether `text` holds halves of characters, as JSON's escapes and undecodable variables leave them."""
    return text != text.encode(errors="replace").decode()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
