"""MySQL comes from another Debian suite, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gcp_openemr.errors import ToolMissing
from gcp_openemr.setup import apt, mysql
from tests.unit.setup_programs import Machine

NOWHERE = "/nonexistent"
COMMAND = (sys.executable, "-m", "gcp_openemr.setup", "mysql")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine.at(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "gcp-openemr"


def mariadb(folder: Path) -> str:
    """A PATH on which Debian's MariaDB is installed."""
    folder.mkdir()
    for name in ("mariadbd", "mariadb", "mariadb-dump", "mariadb-install-db"):
        (folder / name).write_text("#!/bin/sh\necho 'mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu'\n")
        (folder / name).chmod(0o755)
    return str(folder)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_a_fetched_mysql_runs_through_its_own_loader_and_reads_no_option_file(machine: Machine, cache: Path) -> None:
    found = mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    root = cache / "mysql-9.9.1"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    assert str(found) == "MySQL 9.9.1"
    assert found.dual_passwords
    assert found.server[:4] == (
        str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries), str(root / "usr/sbin/mysqld")
    )  # fmt: skip
    assert found.server[4] == "--no-defaults"
    assert found.initialize == (*found.server, "--initialize-insecure")
    assert mysql.locate(cache=cache, path=NOWHERE) == found


def test_only_what_the_server_opens_is_kept(machine: Machine, cache: Path) -> None:
    mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    root = "mysql-9.9.1/usr"
    kept = {str(path.relative_to(cache)) for path in (cache / root).rglob("*") if path.is_file()}
    assert kept == {
        f"{root}/sbin/mysqld", f"{root}/bin/mysql", f"{root}/bin/mysqldump",
        f"{root}/share/mysql/charsets/Index.xml", f"{root}/lib/mysql/plugin/mysql_native_password.so",
        f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", f"{root}/lib/x86_64-linux-gnu/libc.so.6",
    }  # fmt: skip


def test_a_second_fetch_asks_nobody(machine: Machine, cache: Path) -> None:
    mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    assert len(machine.apt_get_calls("update")) == 1


def test_an_empty_data_directory_is_made_once_and_is_no_server_s_own(machine: Machine, cache: Path) -> None:
    made = mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None).prepared
    assert made == cache / "mysql-9.9.1/empty" == mysql.locate(cache=cache, path=NOWHERE).prepared
    assert [path.name for path in made.iterdir()] == ["ibdata1"]
    made.rename(made.with_suffix(".partial"))  # as a setup leaves it that was killed, or one of before
    assert mysql.locate(cache=cache, path=NOWHERE).prepared is None
    assert mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None).prepared == made


def test_a_fetch_that_was_killed_leaves_no_mysql_and_the_next_one_brings_it(machine: Machine, tmp_path: Path) -> None:
    machine.plans(seconds=60)
    environment = machine.environment(tmp_path / "cache")
    killed = subprocess.Popen(COMMAND, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(machine.programs / "started")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    cache = tmp_path / "cache" / "gcp-openemr"
    with pytest.raises(ToolMissing):
        mysql.locate(cache=cache, path=NOWHERE)

    machine.plans()
    assert str(mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)) == "MySQL 9.9.1"
    assert sorted(path.name for path in cache.iterdir()) == ["mysql-9.9.1", "mysql.lock"]


def test_of_two_fetches_at_once_one_waits_and_finds_the_work_done(machine: Machine, tmp_path: Path) -> None:
    machine.plans(seconds=0.5)
    environment = machine.environment(tmp_path / "cache")
    both = [subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Another setup is at work" in words for words in said) == 1
    assert len(machine.apt_get_calls("--download-only")) == 1


@pytest.mark.parametrize(
    "plan",
    [
        {"update": "E: Failed to fetch the suite"},
        {"install": "E: Unable to locate package mysql-server-core"},
        {"answer": "mysqld: FATAL: kernel too old"},
        {"archives": ["libc6_2.43-7_amd64.deb"]},
        {"mirrors": ["'mirror://ubuntu/dists/trusty/InRelease' ubuntu_InRelease 0 "]},
    ],
)
def test_without_mysql_mariadb_serves_with_a_notice(
    machine: Machine, cache: Path, tmp_path: Path, plan: dict[str, object]
) -> None:
    machine.plans(**plan)
    said: list[str] = []
    found = mysql.fetch(cache=cache, path=mariadb(tmp_path / "system"), log=said.append)
    assert (str(found), found.dual_passwords) == ("MariaDB 10.11.19", False)
    assert found.initialize[0].endswith("/mariadb-install-db")
    assert any("cannot keep two passwords" in line for line in said)
    assert not list(cache.glob("mysql-*"))


def test_after_a_failure_mysql_is_not_tried_again_for_a_day(machine: Machine, cache: Path, tmp_path: Path) -> None:
    machine.plans(update="E: Failed to fetch the suite")
    system = mariadb(tmp_path / "system")
    mysql.fetch(cache=cache, path=system, log=lambda _: None)
    machine.plans()
    said: list[str] = []
    assert mysql.fetch(cache=cache, path=system, log=said.append).flavor == "MariaDB"
    assert "Failed to fetch the suite" in said[0]
    long_ago = time.time() - mysql.SECONDS_BEFORE_RETRY - 1
    os.utime(cache / "mysql.failed", (long_ago, long_ago))
    assert mysql.fetch(cache=cache, path=system, log=said.append).flavor == "MySQL"
    assert not (cache / "mysql.failed").exists()


def test_a_mysql_of_the_cache_goes_before_the_systems_mariadb(machine: Machine, cache: Path, tmp_path: Path) -> None:
    system = mariadb(tmp_path / "system")
    assert mysql.locate(cache=cache, path=system).flavor == "MariaDB"
    mysql.fetch(cache=cache, path=system, log=lambda _: None)
    assert mysql.locate(cache=cache, path=system).flavor == "MySQL"


@pytest.mark.parametrize(("version", "flavor"), [("8.0.36", "MySQL"), ("8.0.13", "MariaDB"), ("5.7.44", "MariaDB")])
def test_a_mysql_of_the_system_serves_when_it_knows_dual_passwords(tmp_path: Path, version: str, flavor: str) -> None:
    system = mariadb(tmp_path / "system")
    for name in ("mysqld", "mysql", "mysqldump"):
        (Path(system) / name).write_text(f"#!/bin/sh\necho '/usr/sbin/mysqld  Ver {version} for Linux on x86_64'\n")
        (Path(system) / name).chmod(0o755)
    assert mysql.locate(cache=tmp_path, path=system).flavor == flavor


def test_the_newest_of_several_versions_is_taken_by_number_and_not_by_letter(machine: Machine, cache: Path) -> None:
    mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    (cache / "mysql-9.9.1").rename(cache / "mysql-9.10.0")
    mysql.fetch(cache=cache, path=NOWHERE, log=lambda _: None)
    (cache / "mysql-10.0.0").mkdir()
    assert mysql.locate(cache=cache, path=NOWHERE).version == "9.10.0"


def test_no_server_at_all_is_told_with_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing) as refused:
        mysql.locate(cache=tmp_path, path=NOWHERE)
    assert refused.value.do == "Run: make setup"


def test_apt_gets_its_own_lists_and_state_and_only_the_way_to_the_mirror_from_the_machine(
    machine: Machine, tmp_path: Path
) -> None:
    into = tmp_path / "private"
    apt.download(["mysql-server-core"], suite="sid", into=into, log=lambda _: None)
    source = (into / "sources.list").read_text()
    assert source == f"deb [arch=amd64 signed-by={apt.KEYRING}] mirror://debian sid main\n"
    settings = (into / "apt.conf").read_text().splitlines()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in settings
    assert not any(line.startswith("Other") for line in settings)
    places = [line.split('"')[1] for line in settings if line.startswith("Dir::")]
    assert places
    assert all(place.startswith(str(into)) for place in places)


@pytest.mark.parametrize("form", ["deb822", "one line"])
def test_the_mirror_is_read_from_both_forms_of_apts_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    suite = apt.codename()
    texts = {
        "deb822": f"Types: deb\nURIs: http://mirror.example/debian\nSuites: {suite}\nComponents: main\n",
        "one line": f"deb http://security.example/debian {suite}-security main\n"
        f"deb [arch=amd64] http://mirror.example/debian {suite} main contrib\n",
    }
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / ("x.sources" if form == "deb822" else "x.list")).write_text(texts[form])
    config = tmp_path / "apt.conf"
    config.write_text(f'Dir::Etc::sourcelist "{tmp_path}/none"; Dir::Etc::sourceparts "{parts}";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))
    assert apt.mirrors() == ["http://mirror.example/debian"]


@pytest.mark.parametrize(
    ("text", "expected"), [("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"), ("ID=fedora\n", "")]
)
def test_the_release_is_told_on_debian_only(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert apt.codename(tmp_path / "os-release") == expected
