"""A revision's instances: started, probed, watched, started again, drained."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.probes import Probe, read_probe
from gcp_openemr.sandbox.runtime.processes import Container, Spec
from gcp_openemr.sandbox.runtime.resources import last, only_container, seconds_of
from gcp_openemr.sandbox.runtime.template import Exports, container_spec

__all__ = ["Coming", "Instance", "Revision"]

_DEFAULT_PORT = 8080
_DEFAULT_CONCURRENCY = 80
_DEFAULT_TIMEOUT = 300.0
_DEFAULT_STARTUP = 240.0
_LONGEST_PAUSE = 30.0
_SETTLED_SECONDS = 60.0
_DEFAULT_MAXIMUM = 100
_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 900.0  # https://cloud.google.com/run/docs/about-instance-autoscaling


class Instance:
    """One container that takes requests; `enter` and `leave` count them."""

    def __init__(self, container: Container, *, port: int, timeout: float, concurrency: int, sticky: bool) -> None:
        interface = container.spec.interface
        self.container = container
        self.address = (interface.link_local if interface else "", port)
        self.timeout = timeout
        self.cookie = secrets.token_urlsafe(12) if sticky else ""
        self._used = time.monotonic()
        self._free = concurrency
        self._places = concurrency
        self._open = True
        self._changed = threading.Condition()

    @property
    def in_hand(self) -> int:
        return self._places - self._free

    @property
    def full(self) -> bool:
        return self._free == 0

    def idle(self) -> float:
        """Seconds since its last request ended; 0 while it has one."""
        return 0.0 if self.in_hand else time.monotonic() - self._used

    def enter(self) -> bool:
        with self._changed:
            if not self._open or self._free == 0:
                return False
            self._free -= 1
            return True

    def leave(self) -> None:
        with self._changed:
            self._free += 1
            self._used = time.monotonic()
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Take no new request and wait for those in hand."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: self._free == self._places, timeout)


class Coming:
    """Stands for an instance that starts: a request waits for it."""

    address, timeout, cookie = ("", 0), 0.0, ""

    def enter(self) -> bool:
        return False

    def leave(self) -> None: ...


class Revision:
    """A revision of a service: its minimum of instances, one more at a time while all are full, up to its maximum.

    What is idle and above the minimum ends after a while, when the sandbox is told how long that is; otherwise it
    stays, and one instance at least.
    """

    def __init__(
        self,
        host: Host,
        exports: Exports,
        *,
        service: str,
        body: Json,
        leaving: Callable[[tuple[str, int]], None] = lambda _address: None,
    ) -> None:
        """`leaving` is told the address of an instance before it is stopped."""
        self.name = last(body["name"])
        self._host = host
        self._exports = exports
        self._service = service
        self._leaving = leaving
        self._body = body
        self._log = host.log(last(service))
        container = only_container(body)
        ports = container.get("ports") or [{}]
        self._port = int(ports[0].get("containerPort") or _DEFAULT_PORT)
        self._timeout = seconds_of(body.get("timeout"), _DEFAULT_TIMEOUT)
        whole = Probe(port=self._port, period=_DEFAULT_STARTUP, threshold=1)
        self._startup = read_probe(container.get("startupProbe"), self._port) or whole
        self._custom = bool(container.get("startupProbe"))
        self._liveness = read_probe(container.get("livenessProbe"), self._port)
        scaling = body.get("scaling") or {}
        self._minimum = int(scaling.get("minInstanceCount") or 0)
        self._maximum = int(scaling.get("maxInstanceCount") or _DEFAULT_MAXIMUM)
        self._sticky = bool(body.get("sessionAffinity"))
        self._ready: list[Instance] = []
        self._growing = self._asleep = False
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._watchers: list[threading.Thread] = []

    def instance(self, cookie: str = "") -> Instance | Coming | None:
        """The client's own instance, else the ready one with the fewest requests in hand; None: there is none."""
        with self._lock:
            own = [one for one in self._ready if cookie and one.cookie == cookie and not one.full]
            found = min(own or self._ready, key=lambda one: one.in_hand, default=None)
            if (found is None or found.full) and self._may_grow(found is None):
                self._growing = True
                threading.Thread(target=self._grow, name=f"grow-{self.name}", daemon=True).start()
            return found or (Coming() if self._growing else None)

    def has(self, cookie: str) -> bool:
        """Whether a client with this cookie belongs to one of its instances."""
        with self._lock:
            return any(one.cookie == cookie for one in self._ready)

    def _may_grow(self, cold: bool) -> bool:
        """A revision without instances that did not scale to zero is broken; its watchers try to mend that."""
        room = len(self._ready) < self._maximum and not self._growing and not self._ending.is_set()
        return room and (self._asleep if cold else True)

    def _grow(self) -> None:
        try:
            instance = self._begin()
        except Refused as error:
            self._log.write(self.name, error.message)
        else:
            self._asleep = False
            self._watch(instance)
        finally:
            self._growing = False

    def start(self) -> None:
        """Start all instances.

        Raises:
            Refused: one of them did not become ready; none is left.
        """
        try:
            for _ in range(max(1, self._minimum)):
                self._watch(self._begin())
        except Refused as error:
            self.stop()
            raise Refused(
                f"Revision '{self.name}' is not ready and cannot serve traffic. {error.message}", code=error.code
            ) from error

    def _begin(self) -> Instance:
        """Start one container and wait for its startup probe."""
        container = self._host.start(self._spec(), self._log, failed="The container failed to start", code=9)
        concurrency = int(self._body.get("maxInstanceRequestConcurrency") or _DEFAULT_CONCURRENCY)
        instance = Instance(
            container, port=self._port, timeout=self._timeout, concurrency=concurrency, sticky=self._sticky
        )

        def alive() -> bool:
            return container.wait(0) is None and not self._ending.is_set()

        if not self._startup.wait(instance.address[0], alive):
            code = container.wait(0)
            if code is not None:
                self._log.write(self.name, container.last_words(code))
            container.stop()
            raise Refused(self._why_not())
        return instance

    def _spec(self) -> Spec:
        environment = {
            "PORT": str(self._port),
            "K_SERVICE": last(self._service),
            "K_REVISION": self.name,
            "K_CONFIGURATION": last(self._service),
        }
        return container_spec(
            self._host, self._exports, self._body, name=self.name, parent=self._service, environment=environment
        )

    def _why_not(self) -> str:
        logs = "Logs for this revision might contain more information."
        if self._custom:
            return f"The user-provided container failed the configured startup probe checks. {logs}"
        return (
            "The user-provided container failed to start and listen on the port defined provided by the "
            f"PORT={self._port} environment variable within the allocated timeout. {logs}"
        )

    def _watch(self, instance: Instance) -> None:
        with self._lock:
            if self._ending.is_set():
                threading.Thread(target=self._end, args=(instance,)).start()
                return
            self._ready.append(instance)
        watcher = threading.Thread(target=self._look_after, args=(instance,), name=f"watch-{self.name}", daemon=True)
        self._watchers.append(watcher)
        watcher.start()

    def _look_after(self, instance: Instance) -> None:
        """Restart the instance when it ends or fails its liveness probe, with growing pauses while it keeps failing."""
        pause = 0.5
        while not self._ending.is_set():
            begun = time.monotonic()
            wanted = self._until_dead(instance)
            with self._lock:
                if instance in self._ready:
                    self._ready.remove(instance)
            self._end(instance)
            if not wanted:
                return
            while not self._ending.is_set():
                pause = 0.5 if time.monotonic() - begun > _SETTLED_SECONDS else min(pause * 2, _LONGEST_PAUSE)
                self._ending.wait(pause)
                again = self._try_again()
                if again:
                    instance = again
                    break

    def _try_again(self) -> Instance | None:
        if self._ending.is_set():
            return None
        try:
            instance = self._begin()
        except Refused as error:
            self._log.write(self.name, error.message)
            return None
        with self._lock:
            if not self._ending.is_set():
                self._ready.append(instance)
                return instance
        instance.container.stop()
        return None

    def _until_dead(self, instance: Instance) -> bool:
        """Returns whether another one is wanted in its place."""
        probe, failures = self._liveness, 0
        while not self._ending.is_set():
            code = instance.container.wait(probe.period if probe else _LOOK_SECONDS)
            if code is not None:
                if not self._ending.is_set():
                    self._log.write(self.name, instance.container.last_words(code))
                return True
            if self._lets_go(instance):
                return False
            failures = 0 if probe is None or probe.passes(instance.address[0]) else failures + 1
            if probe and failures >= probe.threshold:
                self._log.write(self.name, "LIVENESS probe failed; the instance is shut down.")
                return True
        return True

    def _lets_go(self, instance: Instance) -> bool:
        """Take an idle instance above the minimum out of the way of requests."""
        patience = self._host.access.setting("idle") * _IDLE_SECONDS
        with self._lock:
            if not patience or instance.idle() < patience or len(self._ready) <= self._minimum:
                return False
            self._ready.remove(instance)
            self._asleep = not self._ready
            return True

    def drain(self) -> None:
        """Finish the requests in hand, within the service's timeout, then stop."""
        for instance in self._current():
            instance.close(self._timeout)
        self.stop()

    def stop(self) -> None:
        """SIGTERM to every instance, SIGKILL after 10 s."""
        self._ending.set()
        stopping = [threading.Thread(target=self._end, args=(one,)) for one in self._current()]
        for thread in stopping:
            thread.start()
        for thread in [*stopping, *self._watchers]:
            thread.join()
        with self._lock:
            self._ready.clear()

    def _end(self, instance: Instance) -> None:
        instance.close(0)
        self._leaving(instance.address)
        instance.container.stop()

    def _current(self) -> Sequence[Instance]:
        with self._lock:
            return list(self._ready)
