"""Where MySQL is on this machine, and how it comes there.

Debian 12 has no MySQL and MariaDB cannot keep an old password beside a new one, so MySQL is taken from Debian's sid
suite, unpacked into the user's cache and run through its own dynamic loader. Where that fails MariaDB serves, with a
notice.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from gcp_openemr import process
from gcp_openemr.errors import GcpOpenemrError, ToolMissing
from gcp_openemr.setup import apt, mysql_data, system
from gcp_openemr.setup.cache import Log, cache_directory, locked

__all__ = ["MysqlInstallation", "fetch", "locate"]

PACKAGES = ("mysql-server-core", "mysql-client-core")
FALLBACK_PACKAGES = {
    "mariadb-server-core": "database server, as MySQL could not be had",
    "mariadb-client": "its client and dump",
}
SUITE = "sid"
SECONDS_BEFORE_RETRY = 24 * 3600.0
DUAL_PASSWORDS_SINCE = (8, 0, 14)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_KEPT = ("usr/sbin/mysqld", "usr/bin/mysql", "usr/bin/mysqldump", "usr/share/mysql", "usr/lib/mysql/plugin")
_PREPARED = "empty"
_LIBRARIES = "usr/lib/*-linux-gnu*"
_LOADER = f"{_LIBRARIES}/ld-linux*.so.*"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MysqlInstallation:
    """A MySQL server as argument-list prefixes: add `--datadir=…` and whatever else the run needs.

    `initialize` makes an empty data directory whose root has no password. No prefix reads an option file. `prepared` is
    such a directory to be copied, where there is one.
    """

    flavor: Literal["MySQL", "MariaDB"]
    version: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    dump: tuple[str, ...]
    initialize: tuple[str, ...]
    prepared: Path | None = None

    @property
    def dual_passwords(self) -> bool:
        """Whether an account can keep its old password beside a new one (`RETAIN CURRENT PASSWORD`)."""
        return self.flavor == "MySQL" and version_numbers(self.version) >= DUAL_PASSWORDS_SINCE

    def __str__(self) -> str:
        return f"{self.flavor} {self.version}"


def version_numbers(version: str) -> tuple[int, ...]:
    """`9.7.4-2` → (9, 7, 4)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def locate(*, cache: Path | None = None, path: str = SYSTEM_PATH) -> MysqlInstallation:
    """Find the MySQL to run: the fetched one, else the system's MySQL, else its MariaDB.

    Raises:
        ToolMissing: there is none.
    """
    found = _fetched(cache or cache_directory()) or _system_mysql(path) or _system_mariadb(path)
    if found is None:
        raise ToolMissing("No MySQL server is on this machine.", do="Run: make setup")
    return found


def fetch(*, cache: Path | None = None, path: str = SYSTEM_PATH, log: Log = print) -> MysqlInstallation:
    """Bring MySQL into the cache unless it is there; fall back to Debian's MariaDB with a notice.

    Safe to run twice at once, and again after being killed anywhere: the tree appears whole or not at all.

    Raises:
        GcpOpenemrError: neither could be had.
    """
    cache = cache or cache_directory()
    with locked(cache / "mysql.lock", log=log):
        found = _fetched(cache) or _system_mysql(path)
        if found is not None:
            return _prepared(found, cache)
        failed = cache / "mysql.failed"
        try:
            if not _is_fresh(failed):
                return _prepared(_fetch_from_debian(cache, log=log), cache)
        except GcpOpenemrError as error:
            failed.write_text(error.what)
        log(f"No MySQL: {failed.read_text()}")
        log("MariaDB serves instead. It cannot keep two passwords for one account, so a rotation rehearsed with it")
        log(f"proves less. MySQL is tried again after a day, or when {failed} is deleted.")
    if _system_mariadb(path) is None:
        system.install(FALLBACK_PACKAGES, log=log)
    return locate(cache=cache, path=path)


def _is_fresh(failed: Path) -> bool:
    return failed.exists() and time.time() - failed.stat().st_mtime < SECONDS_BEFORE_RETRY


def _fetch_from_debian(cache: Path, *, log: Log) -> MysqlInstallation:
    work = cache / "mysql.partial"
    log(f"Fetching MySQL from Debian's {SUITE} suite (about 65 MB) into {cache}; nothing on the system changes.")
    archives = apt.download(PACKAGES, suite=SUITE, into=work, log=log)
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda archive: process.run(["dpkg-deb", "--extract", str(archive), str(root)]), archives))
    _prune(root)
    version = _archive_version(archives)
    answer = process.run([*_loaded(root, "usr/sbin/mysqld"), "--version"]).stdout
    if version not in answer:
        raise ToolMissing(f"mysqld does not start as version {version}: {answer.strip()}")
    root.rename(cache / f"mysql-{version}")
    shutil.rmtree(work, ignore_errors=True)
    (cache / "mysql.failed").unlink(missing_ok=True)
    return _installation(cache / f"mysql-{version}")


def _archive_version(archives: Sequence[Path]) -> str:
    """Upstream version of the server package among `NAME_VERSION_ARCHITECTURE.deb` files."""
    for archive in archives:
        name, version, *_ = archive.name.split("_")
        found = re.fullmatch(r"(?:\d+%3a)?(\d+(?:\.\d+)+).*", version)
        if name == PACKAGES[0] and found:
            return found[1]
    raise ToolMissing(f"Debian's {SUITE} suite did not bring {PACKAGES[0]}.")


def _prune(root: Path) -> None:
    """Keep what the server and its clients open: 170 of 410 MB."""
    kept = {root / name for name in _KEPT} | {path for path in root.glob(f"{_LIBRARIES}/*") if not path.is_dir()}
    ways = {parent for path in kept for parent in path.parents}

    def visit(folder: Path) -> None:
        for entry in folder.iterdir():
            if entry in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                if entry in ways:
                    visit(entry)
                else:
                    shutil.rmtree(entry)
            else:
                entry.unlink()

    visit(root)


def _prepared(found: MysqlInstallation, cache: Path) -> MysqlInstallation:
    """With an empty data directory beside its tree; the system's MySQL, which changes under us, does without."""
    tree = cache / f"mysql-{found.version}"
    if not tree.is_dir():
        return found
    mysql_data.prepare(found.initialize, tree / _PREPARED)
    return _installation(tree)


def _fetched(cache: Path) -> MysqlInstallation | None:
    trees = [tree for tree in cache.glob("mysql-*") if (tree / "usr/sbin/mysqld").is_file() and any(tree.glob(_LOADER))]
    return _installation(max(trees, key=lambda tree: version_numbers(_version_of(tree)))) if trees else None


def _version_of(tree: Path) -> str:
    return tree.name.removeprefix("mysql-")


def _loaded(root: Path, program: str) -> tuple[str, ...]:
    """A program of another Debian release starts through that release's own loader and libraries."""
    loader = next(root.glob(_LOADER), None)
    if loader is None:
        raise ToolMissing(f"{root} holds no dynamic loader.")
    return (str(loader), "--library-path", str(loader.parent), str(root / program))


def _installation(root: Path) -> MysqlInstallation:
    base = (
        "--no-defaults",
        f"--basedir={root / 'usr'}",
        f"--lc-messages-dir={root / 'usr/share/mysql'}",
        f"--character-sets-dir={root / 'usr/share/mysql/charsets'}",
        f"--plugin-dir={root / 'usr/lib/mysql/plugin'}",
        "--secure-file-priv=NULL",  # the built-in folder does not exist here; Cloud SQL gives nobody FILE either
    )
    server = (*_loaded(root, "usr/sbin/mysqld"), *base)
    client_base = ("--no-defaults", f"--character-sets-dir={root / 'usr/share/mysql/charsets'}")
    return MysqlInstallation(
        flavor="MySQL",
        version=_version_of(root),
        server=server,
        client=(*_loaded(root, "usr/bin/mysql"), *client_base),
        dump=(*_loaded(root, "usr/bin/mysqldump"), *client_base),
        initialize=(*server, "--initialize-insecure"),
        prepared=root / _PREPARED if (root / _PREPARED).is_dir() else None,
    )


def _programs(path: str, *names: str) -> dict[str, str] | None:
    found = {name: shutil.which(name, path=path) for name in names}
    present = {name: program for name, program in found.items() if program}
    return present if len(present) == len(names) else None


def _server_version(program: str) -> tuple[str, bool]:
    """Version, and whether it is MariaDB's, from `… Ver 10.11.19-MariaDB …`."""
    answer = process.run([program, "--version"]).stdout
    found = re.search(r"Ver (\d+(?:\.\d+)+)", answer)
    return (found[1] if found else ""), "MariaDB" in answer


def _system_mysql(path: str) -> MysqlInstallation | None:
    programs = _programs(path, "mysqld", "mysql", "mysqldump")
    if programs is None:
        return None
    version, mariadb = _server_version(programs["mysqld"])
    if mariadb or version_numbers(version) < DUAL_PASSWORDS_SINCE:
        return None
    server = (programs["mysqld"], "--no-defaults", "--secure-file-priv=NULL")
    return MysqlInstallation(
        flavor="MySQL",
        version=version,
        server=server,
        client=(programs["mysql"], "--no-defaults"),
        dump=(programs["mysqldump"], "--no-defaults"),
        initialize=(*server, "--initialize-insecure"),
    )


def _system_mariadb(path: str) -> MysqlInstallation | None:
    programs = _programs(path, "mariadbd", "mariadb", "mariadb-dump", "mariadb-install-db")
    if programs is None:
        return None
    install = (programs["mariadb-install-db"], "--no-defaults", "--auth-root-authentication-method=normal")
    return MysqlInstallation(
        flavor="MariaDB",
        version=_server_version(programs["mariadbd"])[0],
        server=(programs["mariadbd"], "--no-defaults"),
        client=(programs["mariadb"], "--no-defaults"),
        dump=(programs["mariadb-dump"], "--no-defaults"),
        initialize=(*install, "--skip-test-db"),
    )
