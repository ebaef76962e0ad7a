"""The `[service]` section: how a clinic is served, within Cloud Run's rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gcp_openemr.environment.problems import Fault, Wrong
from gcp_openemr.environment.sections import Section, TextMap, checked_map
from gcp_openemr.environment.values import between, check_public_url, memory_mib
from gcp_openemr.environment.variables import DEFAULTS, check_environment_variables, php_memory_mib

__all__ = ["MEMORY_OF_CPU", "Service", "php_workers"]

# https://cloud.google.com/run/docs/configuring/services/cpu: least and most MiB for so many vCPUs. The least for 1 and
# 2 is the second generation's (https://cloud.google.com/run/docs/configuring/services/memory-limits).
MEMORY_OF_CPU = {
    1: (512, 4 * 1024),
    2: (512, 8 * 1024),
    4: (2 * 1024, 16 * 1024),
    6: (4 * 1024, 24 * 1024),
    8: (4 * 1024, 32 * 1024),
}

_CONCURRENCY = 20
_NOT_GIVEN: Any = object()

_INGRESS = {
    "all": "INGRESS_TRAFFIC_ALL",
    "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY",
    "internal-and-cloud-load-balancing": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}


def _cpu(value: Any) -> Any:
    """A number of vCPUs from 2, 2.0, "2" or "2000m"; anything else stays as it is."""
    if isinstance(value, str):
        text = value.removesuffix("m")
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            return value
        value = int(text) / 1000 if value.endswith("m") else int(text)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _check_cpu(value: Any) -> int:
    """1, 2, 4, 6 or 8; a part of one is for the first generation, which mounts no NFS share."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value in MEMORY_OF_CPU:
            return int(value)
        if 0 < value < 1:
            text = "must be at least 1: less needs Cloud Run's first generation, which cannot mount the clinic's files"
            raise Wrong(Fault(text=text))
    raise Wrong(Fault(text="must be 1, 2, 4, 6 or 8 vCPU"))


def _check_memory(value: str) -> str:
    if memory_mib(value) is None:
        hint = f'write "{value.rstrip("iBb")}i"' if memory_mib(value.rstrip("iBb") + "i") else 'write e.g. "4Gi"'
        raise Wrong(Fault(text="must be a whole number with Mi or Gi", hint=hint))
    return value


def php_workers(mib: int) -> int:
    """How many requests PHP answers at once in an instance of so much memory: `fpm_children` of the entrypoint."""
    opcache = 96 if mib < 1024 else 192
    return max(3, min(32, (mib - opcache - 64) // 128))


def _fitted(value: Any, info: ValidationInfo) -> Any:
    """Without a number, what PHP's workers take: what is more would wait where another instance could start."""
    if value is _NOT_GIVEN:
        return min(_CONCURRENCY, php_workers(memory_mib(info.data.get("memory", "")) or 0))
    return value


class Service(Section):
    """How one clinic's Cloud Run service runs. `memory` is a quantity (`4Gi`).

    `min_instances` and `max_instances` come from the profile where they are not given, `concurrency` from `memory`.
    """

    cpu: Annotated[int, BeforeValidator(_check_cpu), BeforeValidator(_cpu)] = 2
    memory: Annotated[str, AfterValidator(_check_memory)] = "4Gi"
    max_instances: Annotated[int, AfterValidator(between(1, 250))] = Field(examples=[3])
    min_instances: Annotated[int, AfterValidator(between(0, 250))] = Field(examples=[0])
    # Requests one instance handles at once; 1000 is Cloud Run's limit.
    concurrency: Annotated[int, AfterValidator(between(1, 1000, "requests")), BeforeValidator(_fitted)] = Field(
        default=_NOT_GIVEN, examples=[20]
    )
    # https://cloud.google.com/run/docs/configuring/request-timeout
    timeout_seconds: Annotated[int, AfterValidator(between(1, 3600, "seconds"))] = 300
    ingress_settings: Literal["all", "internal", "internal-and-cloud-load-balancing"] = "all"
    vpc_egress_setting: Literal["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"] = "PRIVATE_RANGES_ONLY"
    public_access: bool = False
    public_url: Annotated[str, AfterValidator(check_public_url)] | None = None
    environment_variables: Annotated[TextMap, checked_map(check_environment_variables)] = Field(
        default_factory=lambda: dict(DEFAULTS)
    )

    @field_validator("memory")
    @classmethod
    def _memory_goes_with_cpu(cls, value: str, info: ValidationInfo) -> str:
        cpu, memory = info.data.get("cpu"), memory_mib(value)
        if cpu is None or memory is None:
            return value
        least, most = MEMORY_OF_CPU[cpu]
        if least <= memory <= most:
            return value
        text = f"{value} does not go with {cpu} vCPU, for which Cloud Run takes {_quantity(least)} to {_quantity(most)}"
        right = [str(count) for count, (low, high) in MEMORY_OF_CPU.items() if low <= memory <= high]
        hint = f"{value} goes with {' or '.join(right)} vCPU" if right else ""
        raise Wrong(Fault(text=text, hint=hint, related=("cpu",), value_shown=False))

    @field_validator("min_instances")
    @classmethod
    def _min_is_not_above_max(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_instances")
        if most is not None and value > most:
            text = f"min_instances {value} is more than max_instances {most}"
            raise Wrong(Fault(text=text, related=("max_instances",), value_shown=False))
        return value

    @field_validator("environment_variables")
    @classmethod
    def _php_fits_into_the_instance(cls, value: TextMap, info: ValidationInfo) -> TextMap:
        limit = php_memory_mib(value["PHP_MEMORY_LIMIT"])
        memory = memory_mib(info.data.get("memory", ""))
        if limit is None or memory is None or limit < memory:
            return value
        text = f"PHP_MEMORY_LIMIT {value['PHP_MEMORY_LIMIT']} is not below the instance's memory of {_quantity(memory)}"
        raise Wrong(Fault(text=text, below=("PHP_MEMORY_LIMIT",), related=("memory",), value_shown=False))

    @property
    def ingress(self) -> str:
        """`ingress_settings` as the Cloud Run API (v2) calls it."""
        return _INGRESS[self.ingress_settings]

    @property
    def memory_mib(self) -> int:
        """`memory` in mebibytes."""
        return memory_mib(self.memory) or 0


def _quantity(mib: int) -> str:
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"
