"""Answers Google's health checks for the files machine, grows its filesystem, and says when its disk fills.

Healthy is what a new machine would not be better at: while the start-up script is at work, and while it waits for a
password that nobody has added yet, the answer is yes. After that both servers are asked: NFS by an empty call of its
own protocol, Redis by a ping. Run by systemd, which sends what is printed to the serial port and so to Cloud Logging.
"""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

DATA = "/srv/data"
DISK = "/dev/disk/by-id/google-data"
# What the start-up script is doing, in one line; "ready" when it is done.
STATE = "/run/openemr-files/state"
PORTS = {"health": 8080, "nfs": 2049, "redis": 6379}
FULL_PERCENT = 80
WATCH_SECONDS = 600
# A start-up that takes longer is not coming to an end: a check of a large damaged disk takes most of this.
LONGEST_START = 3600
TIMEOUT = 3.0
NFS_PROGRAM, NFS_VERSION = 100003, 4
# RFC 5531: one record of a call (transaction, call, RPC 2, program, version, procedure 0, no credentials).
NULL_CALL = struct.pack(">I10I", 0x80000028, 0x6F656D72, 0, 2, NFS_PROGRAM, NFS_VERSION, 0, 0, 0, 0, 0)


def problem() -> str:
    """What is wrong with the machine, or ''."""
    doing, since = state()
    if doing.startswith("waiting"):
        return ""
    if doing != "ready":
        return "" if since < LONGEST_START else f"still {doing} after {since:.0f} s"
    if not os.path.ismount(DATA):
        return "the disk is not mounted"
    for name, ask in (("nfs", nfs_answers), ("redis", redis_answers)):
        try:
            if not ask():
                return f"{name} answers wrongly"
        except OSError as error:
            return f"{name} does not answer: {error}"
    return ""


def state() -> tuple[str, float]:
    """What the start-up script is doing, and for how many seconds."""
    try:
        with open(STATE, encoding="utf-8") as file:
            return file.read().strip(), time.time() - os.stat(STATE).st_mtime
    except OSError:
        return "not started", 0.0


def ask(port: int, question: bytes, size: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        connection.sendall(question)
        answer = b""
        while len(answer) < size and (more := connection.recv(size - len(answer))):
            answer += more
        return answer


def nfs_answers() -> bool:
    """Reply, accepted, no verifier, success: the six words after the record mark and the transaction."""
    answer = ask(PORTS["nfs"], NULL_CALL, 28)
    return len(answer) == 28 and struct.unpack(">7I", answer)[1:] == (0x6F656D72, 1, 0, 0, 0, 0)


def redis_answers() -> bool:
    """Without a password it says that it wants one, once it has loaded its data."""
    return ask(PORTS["redis"], b"PING\r\n", 5).startswith((b"-NOAU", b"+PONG"))


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wrong = problem()
        body = (wrong or state()[0]).encode()
        self.send_response(503 if wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Three checks every few seconds are no news."""


def watch(machine: str) -> None:
    """Grow the filesystem when the disk has grown, and say when it fills; for ever."""
    while True:
        if os.path.ismount(DATA):
            look_at_disk(machine)
        time.sleep(WATCH_SECONDS)


def look_at_disk(machine: str) -> None:
    subprocess.run(["resize2fs", DISK], capture_output=True, check=False)
    usage = shutil.disk_usage(DATA)
    percent = 100 * usage.used // (usage.used + usage.free)
    if percent >= FULL_PERCENT:
        print(f"openemr-files: the disk of {machine} is {percent} % full", flush=True)


def main() -> None:
    threading.Thread(target=watch, args=sys.argv[1:2], daemon=True).start()
    http.server.ThreadingHTTPServer(("", PORTS["health"]), Answer).serve_forever()


if __name__ == "__main__":
    main()
