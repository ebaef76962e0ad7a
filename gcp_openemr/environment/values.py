"""Checks of single values, each by the rule that Google Cloud would apply later."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from gcp_openemr.environment.names import short_name_problem
from gcp_openemr.environment.problems import Fault, Wrong, nearest

__all__ = [
    "REGIONS",
    "between",
    "check_channel",
    "check_cidr",
    "check_cron",
    "check_database_type",
    "check_email",
    "check_labels",
    "check_machine_type",
    "check_member",
    "check_project",
    "check_public_url",
    "check_region",
    "check_short_name",
    "check_time_zone",
    "frozen",
    "memory_mib",
    "tier_fault",
]

# For "did you mean" only: a region that Google opened since is taken as well.
# fmt: off
REGIONS = (
    "africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3",
    "asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1",
    "australia-southeast2", "europe-central2", "europe-north1", "europe-southwest1", "europe-west1",
    "europe-west2", "europe-west3", "europe-west4", "europe-west6", "europe-west8", "europe-west9",
    "europe-west10", "europe-west12", "me-central1", "me-central2", "me-west1", "northamerica-northeast1",
    "northamerica-northeast2", "northamerica-south1", "southamerica-east1", "southamerica-west1",
    "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1", "us-west2", "us-west3",
    "us-west4",
)
# fmt: on

_REGION = re.compile(
    r"(africa|asia|australia|europe|me|northamerica|southamerica|us)-"
    r"(central|(north|south)?(east|west)|north|south)[1-9][0-9]?"
)
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_MEMORY = re.compile(r"([1-9][0-9]{0,5})(Mi|Gi)")
_PRIVATE = tuple(ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_LONGEST_PREFIX = 22
_LABEL_REST = re.compile(r"[\w-]{0,63}")
_OWN_LABELS = ("managed-by", "environment", "clinic")
_MOST_LABELS = 64 - len(_OWN_LABELS)
_CUSTOM_TIER = re.compile(r"db-custom-([0-9]{1,3})-([0-9]{1,6})")
_SHARED_TIERS = ("db-f1-micro", "db-g1-small")
_PLUS_TIERS = tuple(f"db-perf-optimized-N-{cores}" for cores in (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)) + tuple(
    f"db-c4a-highmem-{cores}" for cores in (2, 4, 8, 16, 32, 48, 64, 72)
)
_STANDARD_TIERS = tuple(f"db-n1-standard-{cores}" for cores in (1, 2, 4, 8, 16, 32, 64, 96)) + tuple(
    f"db-n1-highmem-{cores}" for cores in (2, 4, 8, 16, 32, 64, 96)
)
_CRON_FIELD = r"(?:\*|[0-9A-Za-z]+(?:-[0-9A-Za-z]+)?)(?:/[0-9]+)?"
_CRON_LIST = rf"{_CRON_FIELD}(?:,{_CRON_FIELD})*"
_CRON = re.compile(rf"{_CRON_LIST}(?: {_CRON_LIST}){{4}}")
_MACHINE_TYPE = re.compile(r"[a-z][a-z0-9]{1,3}-[a-z0-9]+(-[a-z0-9]+)*")
_ARM_MACHINES = ("t2a", "c4a", "n4a", "a4x")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CHANNEL = re.compile(r"projects/[^/\s]+/notificationChannels/[^/\s]+")
_HOST = re.compile(r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def between(low: int, high: int, unit: str = "") -> Callable[[int], int]:
    """A check that a number lies within `low` and `high`, both included."""

    def check(value: int) -> int:
        if low <= value <= high:
            return value
        raise Wrong(Fault(text=f"must be between {low} and {high}{f' {unit}' if unit else ''}"))

    return check


def check_short_name(value: str) -> str:
    if problem := short_name_problem(value):
        raise Wrong(Fault(text=problem, hint="it becomes part of every resource's name"))
    return value


def check_project(value: str) -> str:
    """A project's id: https://cloud.google.com/resource-manager/docs/creating-managing-projects."""
    if value.isdigit():
        raise Wrong(Fault(text="is a project number", hint="write the project's id, e.g. my-clinic-prod"))
    if not _PROJECT.fullmatch(value):
        text = "needs 6 to 30 lower-case letters, digits and hyphens, a letter first and no hyphen last"
        raise Wrong(Fault(text=text, hint="write the project's id, e.g. my-clinic-prod"))
    if value.startswith("goog") or "google" in value or "g00gle" in value:
        text = "cannot begin the names of the environment's buckets: Cloud Storage refuses names like Google's own"
        raise Wrong(Fault(text=text, hint="see https://cloud.google.com/storage/docs/buckets#naming"))
    return value


def check_region(value: str) -> str:
    """The shape of a region's name: https://cloud.google.com/compute/docs/regions-zones."""
    if _REGION.fullmatch(value):
        return value
    region, _, zone = value.rpartition("-")
    if _REGION.fullmatch(region) and re.fullmatch("[a-z]", zone):
        raise Wrong(Fault(text="is a zone", hint=f'write region = "{region}" and zone = "{value}"'))
    near = nearest(value, REGIONS)
    hint = f'did you mean "{near}"?' if near else 'write one region, e.g. "europe-west1"'
    raise Wrong(Fault(text="is not a region of Google Cloud", hint=hint))


def check_labels(labels: Mapping[str, object]) -> dict[str, str]:
    """Labels as every API takes them: https://cloud.google.com/resource-manager/docs/labels-overview."""
    faults = [fault for key, value in labels.items() if (fault := _label_fault(key, value))]
    if len(labels) > _MOST_LABELS:
        faults.append(Fault(text=f"holds {len(labels)} labels, {_MOST_LABELS} fit", value_shown=False))
    if faults:
        raise Wrong(*faults)
    return {key: str(value) for key, value in labels.items()}


def _label_fault(key: str, value: object) -> Fault | None:
    if key in _OWN_LABELS or key.startswith("goog"):
        return Fault(text="is a label that is set for you", hint="choose another key", below=(key,))
    if not (key[:1].isalpha() and _label_text(key)):
        text = "a label's key needs 1 to 63 lower-case letters, digits, _ and -, a letter first"
        return Fault(text=text, below=(key,), value_shown=False)
    if not (isinstance(value, str) and _label_text(value)):
        text = "a label's value needs up to 63 lower-case letters, digits, _ and -, in quotes"
        return Fault(text=text, below=(key,))
    return None


def _label_text(text: str) -> bool:
    return bool(_LABEL_REST.fullmatch(text)) and text == text.lower()


def memory_mib(value: str) -> int | None:
    """Mebibytes of a quantity like `512Mi` or `4Gi`, or None where it is none."""
    match = _MEMORY.fullmatch(value)
    if match is None:
        return None
    return int(match[1]) * (1024 if match[2] == "Gi" else 1)


def check_public_url(value: str) -> str:
    """The address people use; OpenEMR hands it to OAuth and FHIR clients, which want https."""
    try:
        url = urlsplit(value)
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    example = 'write e.g. "https://clinic.example.org"'
    if not host or port == 0 or not (_HOST.fullmatch(host) or host in _LOOPBACK):
        raise Wrong(Fault(text="is not the address of a site", hint=example))
    if url.scheme != "https" and not (url.scheme == "http" and host in _LOOPBACK):
        raise Wrong(Fault(text="must begin with https://, because patients' data travels there", hint=example))
    if url.username is not None or url.password is not None:
        raise Wrong(Fault(text="must not hold a user or a password", hint=example))
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise Wrong(Fault(text="must end after the host: OpenEMR is served from the root", hint=example))
    return f"{url.scheme}://{url.netloc.lower()}"


def check_cidr(value: str) -> str:
    """The range of the subnet that Cloud Run's instances, the files VM and the database's endpoint share.

    Direct VPC egress reserves addresses in blocks of 16, twice as many as there are instances, and keeps them up to
    20 minutes after an instance is gone (https://cloud.google.com/run/docs/configuring/vpc-direct-vpc). Two revisions
    and the jobs exhaust a /26; a /22 has room.
    """
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise Wrong(Fault(text="is not a range of addresses", hint='write e.g. "10.20.0.0/22"')) from None
    if not isinstance(network, ipaddress.IPv4Network):
        raise Wrong(Fault(text="is an IPv6 range; Cloud Run needs IPv4 here", hint='write e.g. "10.20.0.0/22"'))
    if not any(network.subnet_of(private) for private in _PRIVATE):
        hint = "take it from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        raise Wrong(Fault(text="is not a private range (RFC 1918)", hint=hint))
    if network.prefixlen > _LONGEST_PREFIX:
        text = (
            "is too small: Cloud Run holds addresses in blocks of 16 for up to 20 minutes after an instance is gone, "
            "so two revisions and the jobs exhaust less than a /22"
        )
        wider = network.supernet(new_prefix=_LONGEST_PREFIX)
        raise Wrong(Fault(text=text, hint=f'write e.g. "{wider}"'))
    if "/" not in value or value.partition("/")[0] != str(network.network_address):
        raise Wrong(Fault(text="has bits set behind its prefix", hint=f'write "{network}"'))
    return str(network)


def check_database_type(value: str) -> str:
    if value == "MYSQL_8_0":
        return value
    text = (
        'must be "MYSQL_8_0": rotation keeps the old password valid beside the new one, '
        "which Cloud SQL offers for MySQL 8.0 only"
    )
    raise Wrong(Fault(text=text))


def tier_fault(tier: str, edition: str | None) -> Fault | None:
    """Why Cloud SQL would refuse `tier` in `edition` (None: unknown), or None.

    A custom machine has 1 or an even number of up to 96 vCPUs and, per vCPU, 0.9 to 6.5 GB of memory: 3.75 GB at
    least, in steps of 256 MB (https://cloud.google.com/sql/docs/mysql/instance-settings). Shared-core, custom and
    standard machines belong to ENTERPRISE, performance-optimised ones to ENTERPRISE_PLUS
    (https://cloud.google.com/sql/docs/mysql/machine-series-overview).
    """
    custom = _CUSTOM_TIER.fullmatch(tier)
    plus = tier in _PLUS_TIERS
    if not (custom or plus or tier in _SHARED_TIERS or tier in _STANDARD_TIERS):
        near = nearest(tier, _PLUS_TIERS + _STANDARD_TIERS)
        hint = f'did you mean "{near}"?' if near else "write e.g. db-custom-2-7680 (2 vCPU, 7680 MB) or db-g1-small"
        return Fault(text="is not a machine type of Cloud SQL for MySQL", hint=hint)
    if edition is not None and plus != (edition == "ENTERPRISE_PLUS"):
        right = "ENTERPRISE_PLUS" if plus else "ENTERPRISE"
        tiers = "db-perf-optimized-N-2" if edition == "ENTERPRISE_PLUS" else "db-custom-2-7680"
        hint = f'write edition = "{right}", or a tier of {edition}, e.g. tier = "{tiers}"'
        return Fault(text=f"belongs to edition {right}", hint=hint, related=("edition",))
    if custom:
        cores, memory = int(custom[1]), int(custom[2])
        if cores < 1 or cores > 96 or (cores > 1 and cores % 2):
            return Fault(text="needs 1 or an even number of up to 96 vCPUs")
        least = -(-max(3840, int(cores * 0.9 * 1024)) // 256) * 256
        most = int(cores * 6.5 * 1024)
        if memory % 256 or not least <= memory <= most:
            return Fault(text=f"needs, with {cores} vCPU, {least} to {most} MB of memory in steps of 256")
    return None


def check_machine_type(value: str) -> str:
    """A Compute Engine machine type (https://cloud.google.com/compute/docs/machine-resource), x86 only."""
    if not _MACHINE_TYPE.fullmatch(value):
        raise Wrong(Fault(text="is not a machine type of Compute Engine", hint='write e.g. "e2-standard-2"'))
    if value.startswith(tuple(f"{series}-" for series in _ARM_MACHINES)):
        raise Wrong(Fault(text="is an Arm machine; the file server's image is amd64", hint='write e.g. "e2-small"'))
    return value


def check_email(value: str) -> str:
    if _EMAIL.fullmatch(value):
        return value
    raise Wrong(Fault(text="is not an address for mail", hint='write e.g. ["it@clinic.example"]'))


def check_cron(value: str) -> str:
    """Five fields of unix-cron: https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules."""
    if _CRON.fullmatch(value):
        return value
    raise Wrong(Fault(text="is no time as cron writes it, in five fields", hint='write e.g. "30 1 * * *"'))


def check_time_zone(value: str) -> str:
    """A name of the tz database."""
    if value in zoneinfo.available_timezones():
        return value
    near = nearest(value, tuple(zoneinfo.available_timezones()))
    hint = f'did you mean "{near}"?' if near else 'write e.g. "Europe/Berlin"'
    raise Wrong(Fault(text="is not a time zone", hint=hint))


def check_channel(value: str) -> str:
    """A notification channel that exists already: https://cloud.google.com/monitoring/support/notification-options."""
    if _CHANNEL.fullmatch(value):
        return value
    raise Wrong(Fault(text="is not the name of a channel", hint='write "projects/PROJECT/notificationChannels/NUMBER"'))


def check_member(value: str) -> str:
    """A person or group as IAM names them: https://cloud.google.com/iam/docs/principal-identifiers."""
    kind, _, email = value.partition(":")
    if kind in {"user", "group"} and _EMAIL.fullmatch(email):
        return value
    hint = 'write e.g. ["user:it@clinic.example"] or ["group:it@clinic.example"]'
    raise Wrong(Fault(text="is not a person or a group", hint=hint))


def frozen(values: dict[str, str]) -> Mapping[str, str]:
    return MappingProxyType(values)
