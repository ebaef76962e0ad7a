"""The container's start, its requests per second and memory, PHP's caches, and the size of what is put into the image.

The start is that of the real entrypoint with 9,000 files of code and 20,000 of patients, beside (a) the same start
after the recursive chown and chmod that an earlier image did each time, and (b) PHP-FPM and Apache alone. The disk is
local: on a share over NFS each file that is looked at or changed costs a round trip more.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.container.conftest import ROOT, TREE, Clinic, Instance, children, restored_clinic
from tests.jobs.servers import ADDRESS, make_authority, mysql_server, redis_server

RUNS = 5
CODE_FILES, SITE_FILES, INCLUDED_FILES = 9_000, 20_000, 400
CLIENTS = (1, 8, 32)
REQUESTS = 1_500
_OWNERS = f"chown -R 1000:1000 {TREE}; chmod -R u=rwX,go=rX {TREE}; chmod -R 777 {TREE}/sites/default/documents"
_BARE = """mkdir -p /run/openemr && cd /run/openemr && umask 077
export OPENEMR_RUN=/run/openemr OPENEMR_FPM_CHILDREN=16 OPENEMR_TRACE_PREFIX= OPENEMR_TRUSTED_PROXIES=
export PHP_MEMORY_LIMIT=512M
php-fpm --nodaemonize --fpm-config /etc/openemr/php-fpm.conf -c /etc/openemr/php.ini &
exec httpd -D FOREGROUND -f /etc/apache2/httpd.conf"""
_PACKAGES = "apache2-bin php8.2-cli php8.2-fpm php8.2-common imagemagick-6.q16 nodejs libnode108"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        directory.chmod(0o711)  # preloading changes to another user
        (directory / "clinic").mkdir()
        with mysql_server(directory / "mysql", make_authority()) as mysql, redis_server(directory / "redis") as redis:
            clinic = restored_clinic(mysql, redis, directory / "clinic")
            _grow(clinic)
            _starts(clinic, directory)
            _load(clinic, directory)
            _php_caches(clinic)
    _sizes()


def _grow(clinic: Clinic) -> None:
    """Files as many as OpenEMR's, and a clinic's documents."""
    body = "".join(f"    public function f{n}($a) {{ return strtoupper($a) . {n}; }}\n" for n in range(40))
    for number in range(CODE_FILES):
        file = clinic.application / f"vendor/made/{number // 100}/C{number}.php"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<?php\nclass C{number} {{\n{body}}}\n")
    for number in range(SITE_FILES):
        file = clinic.sites / f"default/documents/{number // 20}/{number}.pdf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%PDF")
    subprocess.run(["chown", "-R", "1000:1000", str(clinic.sites)], check=True)


def _starts(clinic: Clinic, directory: Path) -> None:
    print(f"\nStart to the first 200, {CODE_FILES} files of code, {SITE_FILES} of patients (median of {RUNS})")
    ways: dict[str, dict[str, Any]] = {
        "the entrypoint": {},
        "(a) the entrypoint after a recursive chown and chmod": {"BEFORE": _OWNERS},
        "(b) PHP-FPM and Apache alone": {"command": ("busybox", "ash", "-c", _BARE)},
    }
    for name, how in ways.items():
        seconds = [_start(clinic, directory / "output", how) for _ in range(RUNS)]
        print(f"  {statistics.median(seconds):6.2f} s  {name}")


def _start(clinic: Clinic, output: Path, how: dict[str, Any]) -> float:
    begun = time.perf_counter()
    instance = Instance(clinic, output, **how)
    try:
        instance.await_serving()
        return time.perf_counter() - begun
    finally:
        instance.kill()


def _load(clinic: Clinic, directory: Path) -> None:
    print(f"\nLogin page (PHP, session in Redis, query to MySQL), {REQUESTS} requests")
    instance = Instance(clinic, directory / "output").await_serving()
    try:
        address = f"http://{ADDRESS}:{instance.port}/interface/login/login.php"
        subprocess.run(["ab", "-q", "-n", "200", "-c", "8", address], check=True, capture_output=True)
        for clients in CLIENTS:
            command = ["ab", "-q", "-n", str(REQUESTS), "-c", str(clients), address]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            failed = int((re.search(r"Non-2xx responses:\s+(\d+)", said) or [0, 0])[1])
            rate, slow = (re.search(p, said) for p in (r"per second:\s+([\d.]+)", r"95%\s+(\d+)"))
            memory = sum(_private_kib(pid) for pid in _below(instance.pid)) / 1024
            print(
                f"  {clients:3} clients: {float(rate[1]):7.1f} requests/s, 95 % within {slow[1]} ms, "  # type: ignore[index]
                f"{memory:.0f} MiB, {failed} failed"
            )
    finally:
        instance.kill()


def _below(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _below(child)


def _private_kib(pid: int) -> int:
    """A process's share of memory, pages that several use divided among them."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _php_caches(clinic: Clinic) -> None:
    """The first page of an instance compiles what it includes: what a file cache and preloading would save or cost."""
    page = clinic.application / "page.php"
    files = [f"{clinic.application}/vendor/made/{n // 100}/C{n}.php" for n in range(INCLUDED_FILES)]
    page.write_text("<?php\n" + "".join(f"require '{file}';\n" for file in files))
    cache = clinic.application / "file-cache"
    cache.mkdir()
    base = (
        "-d",
        "opcache.enable_cli=1",
        "-d",
        "opcache.memory_consumption=192",
        "-d",
        "opcache.max_accelerated_files=20000",
    )
    filled = (*base, "-d", f"opcache.file_cache={cache}")
    preloaded = (*base, "-d", f"opcache.preload={page}", "-d", "opcache.preload_user=www-data")
    print(f"\nA page of {INCLUDED_FILES} included files in a fresh process (median of {RUNS})")
    _php(*filled, str(page))
    for name, options, script in (
        ("compiled: what is done", base, str(page)),
        ("from a file cache", filled, str(page)),
        ("preloaded, with the start of PHP-FPM's master that it lengthens", preloaded, "/dev/null"),
    ):
        seconds = [_php(*options, script) for _ in range(RUNS)]
        print(f"  {statistics.median(seconds):6.3f} s  {name}")
    size = sum(file.stat().st_size for file in cache.rglob("*.bin")) / INCLUDED_FILES
    print(f"  A file cache of all {CODE_FILES} files would add {size * CODE_FILES / 1e6:.0f} MB to the image.")


def _php(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run(["php8.2", *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


def _sizes() -> None:
    print("\nSize by layer, as far as it can be known without the network")
    for name in ("container", "jobs"):
        files = [path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        print(f"  {sum(path.stat().st_size for path in files) / 1024:9.0f} KiB  {name}/")
    shown = ["dpkg-query", "--show", "--showformat=${Installed-Size}\n", *_PACKAGES.split()]
    listed = subprocess.run(shown, capture_output=True, text=True, check=False).stdout.split()
    print(
        f"  {sum(map(int, listed)):9} KiB  Apache, PHP, ImageMagick and Node, by Debian's packages of the same programs"
    )
    print("  OpenEMR with its PHP and Node dependencies, and Alpine itself: only a networked build knows.")


if __name__ == "__main__":
    main()
