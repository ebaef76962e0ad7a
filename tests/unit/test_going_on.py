"""What a command writes into the environment's lock: the words that go on with it, should it die."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gcp_openemr import backups
from gcp_openemr.cli import cli
from gcp_openemr.clients import Cloud
from gcp_openemr.commands import deploy, destroy, leaving, moments, recover, restore, state, upgrade, upgrade_back
from gcp_openemr.commands import deployed as settled
from gcp_openemr.commands.context import Context
from gcp_openemr.commands.leaving import Leaving, Wish
from gcp_openemr.commands.recover import Old
from gcp_openemr.commands.releases import Standing
from gcp_openemr.image import Images
from tests.unit import cloud as clouds
from tests.unit.test_backups import SETS

NEWEST = SETS[1].set
OLD = Old(bucket="p-oe-prod-backups", clinic="north", project="p", secret="s", version=2)
DESTROYED = Wish(named="test", clinic="main", final_backup=False, again="gcp-openemr destroy -y …")
STANDING = Standing(clinic="main", version="7.0.4", jobs_version="7.0.4", images=Images(service="s", job="j"))
Command = Callable[[Context], None]


class Began(Exception):
    """It holds the lock with these words, and has changed nothing yet."""


@pytest.fixture
def context(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Of an environment of which is known just as much as the commands look at before they take the lock."""

    def changing(_: Context, command: str) -> None:
        raise Began(command)

    for module in (deploy, destroy, recover, restore, upgrade, upgrade_back):
        monkeypatch.setattr(module, "changing", changing)
    going = Leaving(
        wish=DESTROYED, clinic="main", clinics=("main",), platform=False, foundation=False, sets=False, there=()
    )
    known: dict[Any, dict[str, Any]] = {
        leaving: {"look": going},
        recover: {"_password": None, "_old_sets": (SETS, [])},
        backups: {"read_sets": (SETS, [])},
        moments: {"check": None},
        settled: {"check": []},
        state: {"ensure_apis": None, "ensure_bucket": None, "exists": True},
        upgrade: {"_check_file": None, "_check_way": None, "look": [STANDING]},
        upgrade_back: {"_way_back": SETS[1], "look": [STANDING]},
    }
    for module, answers in known.items():
        for name, answer in answers.items():
            monkeypatch.setattr(module, name, lambda *_, _answer=answer, **_options: _answer)
    return clouds.context(cloud, tmp_path, yes=True)


def restored(wanted: str, *, exact: bool = False, set_first: bool = True) -> Command:
    return lambda context: restore.restore(
        context, clinic="main", wanted=wanted, drain=0, set_first=set_first, exact=exact
    )


def upgraded(clinic: str | None) -> Command:
    return lambda context: upgrade.upgrade(context, to="8.4.0", clinic=clinic, drain=0)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (deploy.deploy, "deploy"),
        (lambda context: deploy.deploy(context, upgrade=True), "deploy --upgrade"),
        (lambda context: destroy.destroy(context, DESTROYED), "destroy --clinic main --without-final-backup"),
        (restored("latest"), f"restore --from {NEWEST} --clinic main"),
        (
            restored("gs://old-clinic/a.zip", set_first=False),
            "restore --from gs://old-clinic/a.zip --clinic main --without-set",
        ),
        (
            restored("2026-11-21T14:09:30", exact=True),
            "restore --from 2026-11-21T14:09:30 --point-in-time --clinic main",
        ),
        (
            lambda context: restore.undo(context, clinic="main", drain=0, set_first=True),
            "restore --undo --clinic main",
        ),
        (
            lambda context: recover.recover(context, OLD, clinic=None, wanted="latest", upgrade=True),
            "recover --from-bucket p-oe-prod-backups --from-clinic north --password projects/p/secrets/s/versions/2 "
            f"--set {NEWEST} --clinic main --upgrade",
        ),
        (upgraded(None), "upgrade --to 8.4.0"),
        (upgraded("main"), "upgrade --to 8.4.0 --clinic main"),
        (
            lambda context: upgrade.rehearse(context, to="8.4.0", clinic="main"),
            "upgrade --to 8.4.0 --rehearse --clinic main",
        ),
        (
            lambda context: upgrade_back.back(context, clinic="main", drain=0, set_first=False),
            "upgrade --back --clinic main --without-set",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_lock_has_the_words_that_go_on(context: Context, begin: Command, words: str) -> None:
    with pytest.raises(Began) as began:
        begin(context)
    assert str(began.value) == words
    explained = CliRunner().invoke(cli, [*shlex.split(words), "--help"])
    assert explained.exit_code == 0, explained.output


def test_the_deploy_of_a_recovery_is_the_recovery(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fills the clinic; a deploy alone would begin it with nothing."""
    monkeypatch.setattr(recover, "changing", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(recover, "_has_begun", lambda *_: True)
    with pytest.raises(Began, match=r"^recover --from-bucket .* --set"):
        recover.recover(context, OLD, clinic=None, wanted="latest")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(named="test"), "destroy"),
        (Wish(foundation="test"), "destroy --foundation test"),
        (Wish(keep_foundation=True), "destroy --keep-foundation"),
    ],
)
def test_a_destroy_goes_on_with_what_it_takes_and_asks_again(wish: Wish, words: str) -> None:
    assert wish.command == words
