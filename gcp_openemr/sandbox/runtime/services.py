"""Cloud Run services: revisions with their instances, and which of them gets the traffic."""

from __future__ import annotations

import dataclasses
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gcp_openemr.sandbox.interfaces import Json, Refused, TrafficTarget
from gcp_openemr.sandbox.runtime.frontdoor import FrontDoor
from gcp_openemr.sandbox.runtime.host import Host
from gcp_openemr.sandbox.runtime.instances import Coming, Instance, Revision
from gcp_openemr.sandbox.runtime.network import APIS_ADDRESS
from gcp_openemr.sandbox.runtime.resources import last, side_by_side
from gcp_openemr.sandbox.runtime.template import Exports

__all__ = ["Invoker", "Services"]

Invoker = Callable[[str, str], tuple[int, str] | None]
"""(service, Authorization header) → None when the caller may invoke the service, else status and page."""


class _Service:
    """A route of the front door: choices are made under a lock, by the traffic of this moment."""

    def __init__(self, name: str, port: int, invoker: Invoker) -> None:
        self.name = name
        self.port = port
        self.revisions: dict[str, Revision] = {}
        self.targets: tuple[TrafficTarget, ...] = ()
        self.lock = threading.Lock()
        self._invoker = invoker

    def choose(self, tag: str, cookie: str) -> Instance | Coming | None:
        with self.lock:
            own = [short for short, one in self.revisions.items() if cookie and one.has(cookie)]
            if own and not tag:  # before any share of traffic
                names = own
            elif tag:
                names = [target.revision for target in self.targets if target.tag == tag]
            else:
                weighted = [target for target in self.targets if target.percent > 0]
                if not weighted:
                    return None
                shares = [target.percent for target in weighted]
                names = [random.choices(weighted, shares)[0].revision]  # noqa: S311 - a share, not a secret
            revision = self.revisions.get(names[0]) if names else None
        return revision.instance(cookie) if revision else None

    def allows(self, authorization: str) -> tuple[int, str] | None:
        return self._invoker(self.name, authorization)


class Services:
    """All services of the sandbox."""

    def __init__(self, host: Host, exports: Exports, invoker: Invoker) -> None:
        self._host = host
        self._exports = exports
        self._invoker = invoker
        self._door = FrontDoor()
        self._services: dict[str, _Service] = {}
        self._lock = threading.Lock()
        self._draining: list[threading.Thread] = []

    def uri(self, service: str) -> str:
        """`http://127.0.0.1:PORT`; the port is the service's for as long as it exists.

        Containers reach a revision with a tag by its name, `http://TAG---SERVICE.localhost:PORT` (resolver.py).
        """
        return f"http://127.0.0.1:{self._service(service).port}"

    def _service(self, name: str) -> _Service:
        with self._lock:
            if name not in self._services:
                wanted = int(self._host.record.section("ports").get(name, 0))
                try:
                    listener = self._host.listen("127.0.0.1", wanted)
                except OSError:
                    listener = self._host.listen("127.0.0.1", 0)
                    self._host.log(last(name)).write("front-door", f"port {wanted} is taken; another one serves")
                made = _Service(name, int(listener.getsockname()[1]), self._invoker)
                self._host.record.put("ports", name, made.port)
                self._door.open(name, listener, made)
                self._door.open(name, socket.create_server((APIS_ADDRESS, made.port), backlog=128), made)
                self._services[name] = made
            return self._services[name]

    def start_revision(self, name: str, revision: Json) -> None:
        """Start a revision unless it runs; returns when its startup probe has passed."""
        service = self._service(name)
        short = last(revision["name"])
        with service.lock:
            running = service.revisions.get(short)
        if running and running.instance():
            return
        made = Revision(self._host, self._exports, service=name, body=revision, leaving=self._door.forget)
        made.start()
        with service.lock:
            service.revisions[short] = made

    def set_traffic(self, name: str, targets: Sequence[TrafficTarget]) -> None:
        """Switch at once; what no longer gets requests finishes those it has and ends."""
        service = self._service(name)
        wanted = {target.revision for target in targets}
        for short in wanted:
            if short not in service.revisions:
                self.start_revision(name, self._stored(name, short))
        with service.lock:
            service.targets = tuple(targets)
            leaving = [service.revisions.pop(short) for short in list(service.revisions) if short not in wanted]
        self._host.record.put("traffic", name, [dataclasses.asdict(target) for target in targets])
        for revision in leaving:
            self._drain(revision)

    def _stored(self, name: str, short: str) -> Json:
        found = self._host.access.get(f"run.googleapis.com/{name}/revisions/{short}")
        if found is None:
            raise Refused(f"Revision '{short}' not found.", code=5)
        return found

    def _drain(self, revision: Revision) -> None:
        self._draining = [thread for thread in self._draining if thread.is_alive()]
        thread = threading.Thread(target=revision.drain, name=f"drain-{revision.name}", daemon=True)
        self._draining.append(thread)
        thread.start()

    def delete(self, name: str) -> None:
        """Close its port and stop its revisions."""
        with self._lock:
            service = self._services.pop(name, None)
        if service is None:
            return
        self._door.close(name)
        with service.lock:
            service.targets = ()
            leaving = list(service.revisions.values())
            service.revisions.clear()
        for revision in leaving:
            revision.stop()
        for section in ("ports", "traffic"):
            self._host.record.remove(section, name)

    def resume(self) -> None:
        """Bring back every service with its traffic. One that does not start answers 503 and says why in its log."""
        traffic: Mapping[str, list[Any]] = self._host.record.section("traffic")
        work = []
        for name, described in traffic.items():
            if self._host.access.get(f"run.googleapis.com/{name}") is None:
                for section in ("ports", "traffic"):
                    self._host.record.remove(section, name)
                continue
            self._service(name)
            targets = [TrafficTarget(**entry) for entry in described]
            work.append((name, targets))
        side_by_side(self._bring_back, work)

    def _bring_back(self, name: str, targets: Sequence[TrafficTarget]) -> None:
        service = self._service(name)
        with service.lock:
            service.targets = tuple(targets)
        for short in {target.revision for target in targets}:
            try:
                self.start_revision(name, self._stored(name, short))
            except Refused as error:
                self._host.log(last(name)).write(short, error.message)

    def stop(self) -> None:
        """End every instance side by side, then the front door."""
        with self._lock:
            services = list(self._services.values())
        leaving = [revision for service in services for revision in service.revisions.values()]
        threads = [threading.Thread(target=revision.stop) for revision in leaving]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 15
        for thread in [*threads, *self._draining]:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self._door.stop()
