"""A runtime to test: started once per file, with a fake cloud around it."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import requests

from gcp_openemr.assets import asset
from gcp_openemr.sandbox.interfaces import Json, Refused, TrafficTarget
from gcp_openemr.sandbox.runtime.logs import read_log
from tests.sandbox.runtime import inside

PROJECT = "projects/clinic"
LOCATION = f"{PROJECT}/locations/europe-west1"
NETWORK = f"{PROJECT}/global/networks/net"
ACCOUNT = "web@clinic.iam.gserviceaccount.com"
MACHINE = f"{PROJECT}/zones/europe-west1-b/instances/files"
MACHINE_ACCOUNT = "files@clinic.iam.gserviceaccount.com"
SECRET = f"{PROJECT}/secrets/redisroot"
REPOSITORY = "europe-west1-docker.pkg.dev/clinic/oe"

APP = """
import http.server, json, os, signal, socket, subprocess, sys, threading, time
started = time.time()
mode = sys.argv[1] if len(sys.argv) > 1 else "serve"

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/slow": time.sleep(float(query))
        if path == "/exit": os._exit(int(query))
        if path == "/sick": Handler.sick = True
        if path == "/live" and getattr(Handler, "sick", False):
            return self.say(500, {})
        if path == "/memory":  # in a process of its own: the kernel ends that one, Cloud Run the instance
            subprocess.run([sys.executable, "-c", f"x = bytearray({query} << 20)"])
        if path == "/write":
            name, _, size = query.partition("&")
            begun = time.monotonic()
            try:
                with open(name, "wb") as out:
                    out.write(b"written" * int(size or 1))
            except OSError as error:
                return self.say(200, {"errno": error.errno})
            return self.say(200, {"seconds": time.monotonic() - begun})
        if path == "/connect":
            try:
                socket.create_connection((query.split("&")[0], int(query.split("&")[1])), timeout=1).close()
            except OSError as error:
                return self.say(200, {"connected": False})
            return self.say(200, {"connected": True})
        if path == "/resolve":
            try:
                found = socket.getaddrinfo(query, 80, socket.AF_INET)
            except OSError as error:
                return self.say(200, {"error": str(error)})
            return self.say(200, {"addresses": sorted({entry[4][0] for entry in found})})
        self.say(200, {"environment": dict(os.environ), "uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid(),
                       "headers": {k.lower(): v for k, v in self.headers.items()}, "cwd": os.getcwd(),
                       "limits": [open(f"/sys/fs/cgroup/{name}.max").read().strip() for name in ("memory", "cpu")],
                       "root": sorted(os.listdir("/")), "started": started,
                       "address": self.client_address[0], "cpus": len(os.sched_getaffinity(0))})
    def say(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)

if mode == "serve":
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler)
    def stop(*_):
        print("got SIGTERM", flush=True)
        threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    print("serving", flush=True)
    server.serve_forever()
    server.server_close()
elif mode == "exit":
    print("going", flush=True); print("complaint", file=sys.stderr, flush=True); sys.exit(int(sys.argv[2]))
elif mode == "second":
    sys.exit(0 if os.environ["CLOUD_RUN_TASK_ATTEMPT"] == "1" else 3)
elif mode == "sleep":
    signal.signal(signal.SIGTERM, lambda *_: (print("got SIGTERM", flush=True), sys.exit(0)))
    print("sleeping", flush=True); time.sleep(float(sys.argv[2]))
elif mode == "who":
    import google.auth, google.auth.transport.requests
    credentials, project = google.auth.default()
    credentials.refresh(google.auth.transport.requests.Request())
    print(json.dumps({"token": credentials.token, "project": project, "email": credentials.service_account_email}))
"""

DOCKERFILE = """\
FROM alpine:3.20
RUN apk add --no-cache python3 && mkdir -p /data && adduser -D -u 1000 clinic && chown clinic:clinic /data
COPY app.py /app/app.py
ENV GREETING="hello there"
WORKDIR /app
USER clinic
EXPOSE 8080
ENTRYPOINT ["python3", "app.py"]
CMD ["serve"]
"""


class World:
    """The test's side of a runtime in its own namespaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self.process, self._calls = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        (self.directory / "run").mkdir(parents=True, exist_ok=True)
        network = os.open("/proc/self/ns/net", os.O_RDONLY)
        ours, theirs = socket.socketpair()
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        command += [sys.executable, "-m", "tests.sandbox.runtime.inside", str(theirs.fileno()), str(self.directory)]
        try:
            process = subprocess.Popen([*command, str(network)], pass_fds=(theirs.fileno(), network))
        finally:
            theirs.close()
            os.close(network)
        self._socket = ours
        calls = Connection(os.dup(ours.fileno()))
        assert calls.recv() == "ready"
        return process, calls

    def _read(self) -> None:
        try:
            while True:
                number, well, value = self._calls.recv()
                future = self._waiting.pop(number)
                if well:
                    future.set_result(value)
                else:
                    future.set_exception(Refused(value[0], code=value[1]))
        except (EOFError, OSError):
            for future in self._waiting.values():
                future.set_exception(EOFError("the runtime is gone"))

    def begin(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a function of `inside` run there; returns at once."""
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = future
            self._calls.send((number, function, args))
        return future

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.begin(function, *args).result(timeout=120)

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the runtime."""
        return self.run(inside.call_runtime, method, *args)

    def close(self) -> None:
        """Let the runtime stop as it does on SIGTERM."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.process.wait(timeout=60)
        self._end()

    def kill(self) -> None:
        """SIGKILL, as from outside; with `unshare` goes everything below it."""
        self.process.kill()
        self.process.wait(timeout=10)
        self._end()

    def _end(self) -> None:
        self._reader.join(timeout=10)
        self._calls.close()
        self._socket.close()

    def restart(self) -> None:
        """A new process on the same state; the fake cloud is empty again."""
        self.process, self._calls = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def log(self, name: str) -> list[str]:
        return read_log(self.directory, name, None)

    def build(self, files: dict[str, str], *, target: str = "", name: str = "app", tag: str = "1") -> Json:
        """Build an image from these files; returns Cloud Build's results."""
        self.run(inside.put_object, "build", "source.tar.gz", archive(files))
        return self.run(inside.build, build_request(target=target, name=name, tag=tag))[0]  # type: ignore[no-any-return]

    def basics(self) -> None:
        """A project with a network, and an image to run."""
        subnetwork = {"network": NETWORK, "ipCidrRange": "10.8.0.0/26", "privateIpGoogleAccess": True}
        region = f"compute.googleapis.com/{PROJECT}/regions/europe-west1"
        rule = {
            "network": NETWORK,
            "sourceRanges": ["10.8.0.0/26"],
            "targetServiceAccounts": [MACHINE_ACCOUNT],
            "allowed": [{"IPProtocol": "tcp", "ports": ["111", "2049", "6379"]}],
        }
        self.run(
            inside.put,
            {
                f"cloudresourcemanager.googleapis.com/{PROJECT}": {"name": "projects/4711", "projectId": "clinic"},
                f"{region}/subnetworks/sub": subnetwork,
                f"{region}/routers/out": {"network": NETWORK, "nats": [{"name": "out"}]},
                f"compute.googleapis.com/{PROJECT}/global/firewalls/clients": rule,
            },
        )

    def image(self) -> str:
        """The test application by digest."""
        result = self.build({"Dockerfile": DOCKERFILE, "app.py": APP})
        return f"{REPOSITORY}/app@{result['images'][0]['digest']}"


def archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def build_request(*, target: str, name: str, tag: str, arguments: tuple[str, ...] = ()) -> Json:
    image = f"{REPOSITORY}/{name}:{tag}"
    options = [f"--target={target}"] if target else []
    step = {"name": "gcr.io/cloud-builders/docker", "args": ["build", *options, *arguments, "-t", image, "."]}
    return {
        "source": {"storageSource": {"bucket": "build", "object": "source.tar.gz"}},
        "steps": [step],
        "images": [image],
        "serviceAccount": f"{PROJECT}/serviceAccounts/build@clinic.iam.gserviceaccount.com",
    }


def revision(service: str, number: int, image: str, *, container: Json | None = None, **more: Any) -> Json:
    """A Run v2 `Revision`. `container` adds to or replaces parts of its container."""
    described = {
        "image": image,
        "ports": [{"containerPort": 8080}],
        "startupProbe": {"httpGet": {"path": "/live"}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 20},
        **(container or {}),
    }
    return {
        "name": f"{LOCATION}/services/{service}/revisions/{service}-{number:05}-abc",
        "serviceAccount": ACCOUNT,
        "timeout": "10s",
        "containers": [described],
        "vpcAccess": {"networkInterfaces": [{"network": "net", "subnetwork": "sub"}]},
        **more,
    }


def machine(**more: Any) -> Json:
    """The files machine, with the start-up script that Terraform gives it."""
    folder = asset("terraform") / "modules/files"
    attributes = {
        "health-program": (folder / "health.py").read_text(),
        "nfs-versions": "4",
        "redis-admin-secret": SECRET,
        "share-clients": "10.8.0.0/26",
        "startup-script": (folder / "startup.sh").read_text(),
    }
    return {
        "name": "files",
        "selfLink": f"https://www.googleapis.com/compute/v1/{MACHINE}",
        "networkInterfaces": [{"network": f"https://www.googleapis.com/compute/v1/{NETWORK}", "networkIP": "10.8.0.9"}],
        "disks": [{"boot": True}, {"source": f"{PROJECT}/zones/europe-west1-b/disks/data", "deviceName": "data"}],
        "serviceAccounts": [{"email": MACHINE_ACCOUNT}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in attributes.items()]},
        **more,
    }


def mounted(world: World, name: str, image: str, number: int = 1, **container: Any) -> Json:
    """A revision with the machine's share at /sites."""
    volume = {"name": "sites", "nfs": {"server": "10.8.0.9", "path": "/share/clinics/main"}}
    mounts = {"volumeMounts": [{"name": "sites", "mountPath": "/sites"}], **container}
    return revision(name, number, image, container=mounts, volumes=[volume])


def get(uri: str, path: str = "/", **more: Any) -> dict[str, Any]:
    answer = requests.get(uri + path, timeout=20, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def serve(world: World, made: Json) -> str:
    """Start a revision and send all traffic to it; returns the service's address."""
    service = made["name"].partition("/revisions/")[0]
    world.run(inside.put, {f"run.googleapis.com/{service}": {}, f"run.googleapis.com/{made['name']}": made})
    world.call("start_revision", service, made)
    world.call("set_traffic", service, [TrafficTarget(revision=made["name"].rpartition("/")[2], percent=100)])
    return str(world.call("service_uri", service))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Under /tmp itself: pytest's own folders would be fine too, but this one is closed to everybody but root.
    directory = Path(tempfile.mkdtemp(prefix="gcp-openemr-runtime-"))
    made = World(directory)
    try:
        made.basics()
        yield made
    finally:
        if made.process.poll() is None:
            made.close()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def image(world: World) -> str:
    return world.image()
