"""Which zones there are, and which machine types.

Regions are those that the environment file knows. A region or a series of machines that Google opened since is taken
too, as the file takes it; of what is known here, only what is there.
"""

from __future__ import annotations

import re

from gcp_openemr.environment.values import REGIONS
from gcp_openemr.sandbox.api.calls import Call
from gcp_openemr.sandbox.api.names import id_of, segment
from gcp_openemr.sandbox.api.refusals import refuse_if

__all__ = ["check_machine_type", "check_zone", "cores_of", "zones_of"]

# https://cloud.google.com/compute/docs/regions-zones: three zones each, a to c save where it says otherwise.
_ZONES = {"europe-west1": "bcd", "us-central1": "abcf", "us-east1": "bcd"}
_TWICE = "2 4 8 16 32"
_N2 = f"{_TWICE} 48 64 80 96"
_C3, _C3D = "4 8 22 44 88 176", "4 8 16 30 60 90 180 360"
_C2D = f"{_TWICE} 56 112"
# vCPUs: https://cloud.google.com/compute/docs/general-purpose-machines and …/compute-optimized-machines.
_SIZES = {
    family: frozenset(map(int, sizes.split()))
    for family, sizes in {
        "c2-standard": "4 8 16 30 60",
        **dict.fromkeys(("c2d-standard", "c2d-highcpu", "c2d-highmem"), _C2D),
        **dict.fromkeys(("c3-standard", "c3-highcpu", "c3-highmem"), _C3),
        **dict.fromkeys(("c3d-standard", "c3d-highcpu", "c3d-highmem"), _C3D),
        "e2-standard": _TWICE,
        "e2-highcpu": _TWICE,
        "e2-highmem": "2 4 8 16",
        "n1-standard": f"1 {_TWICE} 64 96",
        **dict.fromkeys(("n1-highcpu", "n1-highmem"), f"{_TWICE} 64 96"),
        "n2-highcpu": _N2,
        **dict.fromkeys(("n2-standard", "n2-highmem"), f"{_N2} 128"),
        "n2d-highmem": _N2,
        **dict.fromkeys(("n2d-standard", "n2d-highcpu"), f"{_N2} 128 224"),
        **dict.fromkeys(("n4-standard", "n4-highcpu", "n4-highmem"), f"{_TWICE} 48 64 80"),
        "t2d-standard": f"1 {_TWICE} 48 60",
    }.items()
}
_SHARED = {"e2-micro": 2, "e2-small": 2, "e2-medium": 2, "f1-micro": 1, "g1-small": 1}
_PREDEFINED = re.compile(r"([a-z][a-z0-9]*-[a-z]+)-([1-9]\d*)")
# https://cloud.google.com/compute/docs/instances/creating-instance-with-custom-machine-type: most vCPUs by series.
_CUSTOM = re.compile(r"(?:([a-z]\w*)-)?custom-([1-9]\d{0,2})-([1-9]\d{2,6})(?:-ext)?")
_MOST_CUSTOM = {"e2": 32, "n1": 96, "n2": 128, "n2d": 96, "n4": 80}
_MEMORY_STEP = 256  # MB


def zones_of(region: str) -> list[str]:
    return [f"{region}-{letter}" for letter in _ZONES.get(region, "abc")]


def check_zone(call: Call) -> None:
    """Refuse a call about something in a zone that is not there."""
    zone = segment(call.name, "zones") if call.api == "compute" else ""
    region, _, letter = zone.rpartition("-")
    there = zone in zones_of(region) if region in REGIONS else re.fullmatch(r"[a-z]+-[a-z]+\d+", region)
    refuse_if(zone and not (there and re.fullmatch("[a-z]", letter)), "compute.zone", zone=zone)


def check_machine_type(given: str, zone: str) -> None:
    """Refuse a machine type, by name or URL, that is not there."""
    name = id_of(given)
    refuse_if(cores_of(name) is None, "compute.machine-type", value=given, name=name, zone=zone)


def cores_of(machine_type: str) -> int | None:
    """vCPUs of a machine type by name; None for what is none."""
    if machine_type in _SHARED:
        return _SHARED[machine_type]
    if custom := _CUSTOM.fullmatch(machine_type):
        cores, memory = int(custom[2]), int(custom[3])
        most = _MOST_CUSTOM.get(custom[1] or "n1", 0)
        whole = cores % 2 == 0 or (cores == 1 and most == _MOST_CUSTOM["n1"])
        return cores if cores <= most and whole and memory % _MEMORY_STEP == 0 else None
    found = _PREDEFINED.fullmatch(machine_type)
    if found is None:
        return None
    cores = int(found[2])
    return cores if cores in _SIZES.get(found[1], {cores}) else None
