"""Bad days on request: which calls go wrong, and how.

A fault names calls (API method, path, caller; the n-th, every k-th, or some by chance from a seed) and an effect. Its
counters are kept with it in the store, so a sandbox that was killed goes on where it was.

| effect | before the call took effect | `after` |
| --- | --- | --- |
| status | the error answer, nothing was done | the error answer, but it was done |
| drop | the connection ends, nothing was done | the answer is lost, but it was done |
| delay | waits, then answers | answers late |
| truncate | | the body ends after `bytes`, and with it the connection |
| kill | SIGKILL to the calling process, nothing was done | the same, but it was done |
| operation | the long-running operation that the call starts ends with an error | |
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
import random
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

from gcp_openemr.sandbox.api.call_log import Trace
from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.messages import Request, Response
from gcp_openemr.sandbox.api.refusals import REFUSALS, refuse
from gcp_openemr.sandbox.api.store import Store

__all__ = ["EFFECTS", "Fault", "Faults"]

EFFECTS = ("status", "drop", "delay", "truncate", "kill", "operation")
_FACT = "faults"
# Google's words for what may be tried again: https://cloud.google.com/docs/quotas/troubleshoot for 429 and Compute
# Engine's 403, https://cloud.google.com/storage/docs/json_api/v1/status-codes and google/rpc/code.proto for the others.
_ANSWERS: Mapping[int, tuple[str, str]] = {
    403: ("Rate Limit Exceeded", "rateLimitExceeded"),
    408: ("Request Timeout", "requestTimeout"),
    429: ("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'.", "rateLimitExceeded"),
    500: ("Internal error encountered.", "backendError"),
    502: ("Bad Gateway", "badGateway"),
    503: ("The service is currently unavailable.", "backendError"),
    504: ("Deadline exceeded.", "gatewayTimeout"),
}

Kill = Callable[[Request], str]
_TYPES: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule. `method`, `path` and `caller` are globs; all must match.

    `refusal` names a row of the refusals, for an error answer that no status alone says (`drive.download-quota`).

    Of the calls that match, the `nth` (from 1) is hit, or every `every`-th, or each with `probability` (0–1) decided by
    `seed` and its count; without any of the three, all are. `times` ends it after so many hits (0: never).
    """

    id: str
    effect: str
    method: str = "*"
    path: str = "*"
    caller: str = "*"
    nth: int = 0
    every: int = 0
    probability: float = 0.0
    seed: int = 0
    times: int = 0
    after: bool = False
    status: int = 503
    refusal: str = ""
    seconds: float = 0.0
    bytes: int = 0
    seen: int = 0
    hits: int = 0

    def matches(self, request: Request, trace: Trace) -> bool:
        return (
            fnmatch.fnmatchcase(trace.method_id, self.method)
            and fnmatch.fnmatchcase(request.raw_path, self.path)
            and fnmatch.fnmatchcase(trace.caller, self.caller)
        )

    @property
    def strikes(self) -> bool:
        """Whether the call that was just counted is hit."""
        if self.times and self.hits >= self.times:
            return False
        if self.nth:
            return self.seen == self.nth
        if self.every:
            return self.seen % self.every == 0
        if self.probability:
            return random.Random(f"{self.seed}/{self.seen}").random() < self.probability  # noqa: S311 -- no secret
        return True

    @property
    def late(self) -> bool:
        """Whether the call takes effect first."""
        return self.after or self.effect in {"truncate", "operation"}

    @property
    def told(self) -> str:
        """As the call log names it: `f1 drop after`."""
        detail = {"status": f" {self.refusal or self.status}", "delay": f" {self.seconds:g} s"}.get(self.effect, "")
        return f"{self.id} {self.effect}{detail}{' after' if self.after else ''}"


class Faults:
    """The rules in force. `kill` ends the process that made a request and says what it did."""

    def __init__(self, store: Store, kill: Kill) -> None:
        self._store = store
        self._kill = kill
        self._mutex = threading.Lock()
        self._rules = [Fault(**rule) for rule in json.loads(store.fact(_FACT) or "[]")]
        self._closing = threading.Event()

    def all(self) -> list[Fault]:
        return list(self._rules)

    def add(self, wish: Mapping[str, Any]) -> Fault:
        """Put a rule in force. Raises ApiError 400 for one that makes no sense."""
        with self._mutex:
            number = self._store.next_number("faults")
            fault = _checked(f"f{number}", wish)
            self._keep([*self._rules, fault])
        return fault

    def clear(self, fault: str = "") -> int:
        """Take one rule away, or all; returns how many there were. Raises ApiError 404."""
        with self._mutex:
            kept = [rule for rule in self._rules if fault and rule.id != fault]
            gone = len(self._rules) - len(kept)
            if fault and not gone:
                raise ApiError(404, f"There is no fault {fault}.")
            self._keep(kept)
        return gone

    def close(self) -> None:
        """Nobody waits for a delay any longer."""
        self._closing.set()

    def pause(self, seconds: float) -> None:
        """Wait, but not past the sandbox's end."""
        self._closing.wait(min(seconds, threading.TIMEOUT_MAX))

    def arrive(self, request: Request) -> None:
        """Count a call whose method and caller are known, and do what is to be done to it before it takes effect.

        What is left for `leave` and for its operation stays in the request's trace. Raises ApiError for an error
        answer and ConnectionAbortedError when none is to be given.
        """
        if not self._rules:
            return
        struck = self._struck(request, request.trace)
        request.trace.fault = ", ".join(fault.told for fault in struck)
        request.trace.left = [fault for fault in struck if fault.late]
        for fault in struck:
            if not fault.late:
                self._apply(fault, request)

    def leave(self, request: Request, response: Response) -> Response:
        """Do what is to be done to a call after it took effect; raises as `arrive` does."""
        for fault in request.trace.left:
            if fault.effect == "truncate":
                response = _truncated(response, fault.bytes)
            elif fault.effect != "operation":
                try:
                    self._apply(fault, request)
                except BaseException:
                    _discard(response)
                    raise
        return response

    def _struck(self, request: Request, trace: Trace) -> list[Fault]:
        struck: list[Fault] = []
        with self._mutex:
            rules: list[Fault] = []
            for rule in self._rules:
                counted = rule
                if rule.matches(request, trace):
                    counted = dataclasses.replace(rule, seen=rule.seen + 1)
                    if counted.strikes:
                        counted = dataclasses.replace(counted, hits=rule.hits + 1)
                        struck.append(counted)
                rules.append(counted)
            if struck:
                self._keep(rules)
            self._rules = rules
        return struck

    def _apply(self, fault: Fault, request: Request) -> None:
        if fault.effect == "status":
            raise refuse(fault.refusal) if fault.refusal else answer_of(fault.status, request.trace)
        if fault.effect == "delay":
            self.pause(fault.seconds)
            return
        if fault.effect == "kill":
            request.trace.fault += f": {self._kill(request)}"
        raise ConnectionAbortedError("as was asked for")

    def _keep(self, rules: list[Fault]) -> None:
        self._rules = rules
        self._store.put_fact(_FACT, json.dumps([dataclasses.asdict(rule) for rule in rules]))


def answer_of(status: int, trace: Trace) -> ApiError:
    """The error Google's APIs give when the trouble is theirs or passing."""
    message, reason = _ANSWERS[status]
    service = trace.method_id.partition(".")[0]
    if status == 429 and service != "storage":
        message = f"{message.removesuffix('.')} of service '{service}.googleapis.com'."
    return ApiError(status, message, reason=reason, domain="usageLimits" if status in {403, 429} else "global")


def _checked(name: str, wish: Mapping[str, Any]) -> Fault:
    fields = {field.name: field for field in dataclasses.fields(Fault) if field.name not in {"id", "seen", "hits"}}
    for key, value in wish.items():
        if key not in fields:
            raise ApiError(400, f"A fault has no {key!r}. It has: {', '.join(fields)}.")
        _check_value(key, value, str(fields[key].type))
    if wish.get("effect") not in EFFECTS:
        raise ApiError(400, f"Say the effect: {', '.join(EFFECTS)}.")
    fault = Fault(id=name, **wish)
    if fault.status not in _ANSWERS:
        raise ApiError(400, f"Status {fault.status} is none of {', '.join(map(str, _ANSWERS))}.")
    if fault.refusal and (fault.refusal not in REFUSALS or "{" in REFUSALS[fault.refusal].sentence):
        raise ApiError(400, f"{fault.refusal} is no refusal that says the same to everybody.")
    if fault.probability > 1:
        raise ApiError(400, "A probability is between 0 and 1.")
    if sum(map(bool, (fault.nth, fault.every, fault.probability))) > 1:
        raise ApiError(400, "Say one of nth, every and probability.")
    return fault


def _check_value(key: str, value: Any, kind: str) -> None:
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ApiError(400, f"{key} of a fault is a {kind}, not {value!r}.")
    if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
        raise ApiError(400, f"{key} of a fault is a number from 0 up.")


def _discard(response: Response) -> None:
    """Let go of what a body that nobody gets holds open: a generator does so only once it was begun."""
    if not isinstance(response.body, bytes):
        chunks = iter(response.body)
        next(chunks, b"")
        if isinstance(chunks, Generator):
            chunks.close()


def _truncated(response: Response, size: int) -> Response:
    """The same answer with its own length told and only its first bytes sent."""
    body = response.body
    if isinstance(body, bytes):
        return dataclasses.replace(response, body=_first((body,), size), length=len(body))
    return dataclasses.replace(response, body=_first(body, size))


def _first(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            raise ConnectionAbortedError("as was asked for")
