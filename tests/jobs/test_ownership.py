"""Owners and modes of a site, put right by the job's own user and by root."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import ownership
from jobs.errors import ShareUnusable

KEY = "documents/logs_and_misc/methods/sevena"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site as an older deployment left it: root's, and open to everyone. Its parents let others through."""
    root = tmp_path / "site"
    for name in (KEY, "sqlconf.php", "documents/1/report", "documents/certificates/oaprivate.key", "config.php"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o777)
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    os.chown(root, 1000, 1000)
    return root


def facts(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")
    }


RIGHT = {
    "documents": (1000, 0o750),
    "documents/1": (1000, 0o750),
    "documents/1/report": (1000, 0o640),
    "documents/certificates": (1000, 0o750),
    "documents/certificates/oaprivate.key": (1000, 0o600),
    "documents/logs_and_misc": (1000, 0o750),
    "documents/logs_and_misc/methods": (1000, 0o750),
    KEY: (1000, 0o600),
    "sqlconf.php": (1000, 0o600),
    "config.php": (1000, 0o640),
}


def as_the_job(work: Callable[[], int]) -> int:
    """The exit status of `work` in a child that is uid 1000."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def put_right(root: Path) -> int:
    seen = ownership.put_right(root)
    return 10 * min(seen.owners, 9) + min(seen.modes, 9)


def test_what_belongs_to_others_is_taken_over_without_root(site: Path) -> None:
    assert as_the_job(lambda: put_right(site)) == 99
    assert facts(site) == RIGHT
    assert all((site / name).read_text() == name for name in RIGHT if (site / name).is_file())


def test_root_gives_it_away(site: Path) -> None:
    assert put_right(site) == 99
    assert facts(site) == RIGHT


def test_what_is_right_is_not_touched(site: Path) -> None:
    ownership.put_right(site)
    before = {path: path.stat().st_ctime_ns for path in site.rglob("*")}
    assert as_the_job(lambda: put_right(site)) == 0
    assert {path: path.stat().st_ctime_ns for path in site.rglob("*")} == before


def test_only_what_differs_is_changed(site: Path) -> None:
    ownership.put_right(site)
    (site / "config.php").chmod(0o4755)
    before = {path: path.stat().st_ctime_ns for path in site.rglob("*") if path.name != "config.php"}
    assert as_the_job(lambda: put_right(site)) == 1
    assert facts(site) == RIGHT
    assert {path: path.stat().st_ctime_ns for path in before} == before


def test_what_cannot_be_read_is_named_and_the_rest_is_right(site: Path) -> None:
    (site / "documents/1/report").chmod(0o600)

    def work() -> int:
        with pytest.raises(ShareUnusable, match=r"1 entries .* documents/1/report"):
            ownership.put_right(site)
        return 7

    assert as_the_job(work) == 7
    assert {name: fact for name, fact in facts(site).items() if not name.endswith("report")} == {
        name: fact for name, fact in RIGHT.items() if not name.endswith("report")
    }


def test_the_folder_itself_is_taken_over_as_well(site: Path) -> None:
    """However often that is interrupted, what was in it is there afterwards."""
    os.chown(site.parent, 1000, 1000)
    os.chown(site, 0, 0)

    def killed(number: int) -> int:
        left = iter(range(number))

        def hook(name: str, _arguments: tuple[object, ...]) -> None:
            if name in ("os.rename", "os.mkdir", "os.rmdir") and next(left, None) is None:
                os.kill(os.getpid(), 9)

        sys.addaudithook(hook)
        return put_right(site)

    for number in range(1, 6):
        as_the_job(lambda number=number: killed(number))  # type: ignore[misc]
        assert as_the_job(lambda: ownership.finish(site) or 0) == 0  # type: ignore[func-returns-value]
        assert sum(path.is_file() for path in site.rglob("*")) == 5
    as_the_job(lambda: put_right(site))
    assert site.stat().st_uid == 1000
    assert facts(site) == RIGHT


def test_a_folder_that_cannot_be_taken_over_keeps_what_it_holds(site: Path) -> None:
    """To move a folder takes the right to write it, too."""
    (site / "documents/1").chmod(0o755)
    before = {path.relative_to(site) for path in site.rglob("*")}

    def work() -> int:
        with pytest.raises(ShareUnusable, match=r"cannot be taken over: documents, documents/1"):
            ownership.put_right(site)
        return 7

    assert as_the_job(work) == 7
    assert {path.relative_to(site) for path in site.rglob("*")} == before


def test_links_are_left_alone_and_not_followed(site: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o666)
    (site / "link").symlink_to(outside)
    ownership.put_right(site)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o666


@pytest.mark.parametrize("event", ["os.rename", "os.mkdir", "os.rmdir", "shutil.copyfile"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_pass_is_finished_by_the_next(site: Path, event: str, number: int) -> None:
    def killed() -> int:
        left = iter(range(number))

        def hook(name: str, _arguments: tuple[object, ...]) -> None:
            if name == event and next(left, None) is None:
                os.kill(os.getpid(), 9)

        sys.addaudithook(hook)
        return put_right(site)

    assert as_the_job(killed) == -9
    as_the_job(lambda: put_right(site))
    assert facts(site) == RIGHT
    assert all((site / name).read_text() == name for name in RIGHT if (site / name).is_file())
