"""The environment file as a file: what cannot be read, what is no TOML, and every problem at its own line."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from gcp_openemr.environment import load_environment
from gcp_openemr.errors import EnvironmentInvalid, InputMissing

WHOLE = '[environment]\nname = "test"\nproject = "my-clinic-test"\nregion = "europe-west1"\nprofile = "developer"\n'


def report(path: Path, content: str | bytes) -> list[str]:
    """What is said of a file with this content, without its folder."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EnvironmentInvalid) as caught:
        load_environment(path, overrides={})
    assert caught.value.exit_code == 65
    assert caught.value.do
    return caught.value.what.replace(f"{path.parent}/", "").splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openemr.toml"


def test_several_problems_are_told_at_once_in_the_order_of_their_lines(path: Path) -> None:
    content = textwrap.dedent(
        """\
        # a comment with [service] in it
        service.cpu = 3
        [environment]
        name = "test"   # [environment] again
        project = 'my-clinic-test'
        "regoin" = "europe-west1"
        profile = "developer"
        labels = { team = "it", \
Team = "x" }

        [clinics]
        north.memory = "2"
        north.restore = { uri = \"\"\"
        gs://bucket/\"\"\", sorce = "gcs" }
        [clinics.'south']
        min_instances = 9

        [service.environment_variables]
        PORT = 1
        SMTP_PORT = 25
        [[databse]]
        tier = "x"
        """
    )
    lines = report(path, content)
    assert [line.partition(": ")[0] + ": " + line.split(": ")[1] for line in lines] == [
        "openemr.toml:2: [service] cpu",
        "openemr.toml:3: [environment] region",
        "openemr.toml:6: [environment] regoin",
        "openemr.toml:8: [environment.labels] Team",
        "openemr.toml:11: [clinics.north] memory",
        "openemr.toml:12: [clinics.north.restore] uri",
        "openemr.toml:13: [clinics.north.restore] sorce",
        "openemr.toml:15: [clinics.south] min_instances",
        "openemr.toml:18: [service.environment_variables] PORT",
        "openemr.toml:19: [service.environment_variables] SMTP_PORT",
        "openemr.toml:20: databse",
    ]


def test_a_message_is_line_key_fault_value_and_way_out(path: Path) -> None:
    assert report(path, WHOLE.replace("developer", "prod")) == [
        'openemr.toml:5: [environment] profile: must be "production" or "developer" (found "prod"); '
        'did you mean "production"?'
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a = \n", "openemr.toml:1: is not TOML: Invalid value"),
        (WHOLE + "[openemr\n", "openemr.toml:6: is not TOML: Expected ']' at the end of a table declaration"),
        (WHOLE + "[files]\n[files]\n", "openemr.toml:7: is not TOML: Cannot declare ('files',) twice"),
        (WHOLE + 'zone = "open', "openemr.toml:6: is not TOML: Unterminated string"),
        ("a = 1" + "0" * 5000, "openemr.toml:1: holds a number that is too large"),
        ("a = " + "[" * 20000, "openemr.toml:1: holds values nested too deeply"),
        (WHOLE.encode() + b'[openemr]\nadmin_user = "J\xfcrgen"', "openemr.toml:7: is not UTF-8"),
        (WHOLE.encode("utf-16"), "openemr.toml:1: is not UTF-8"),
        ("\0", "openemr.toml:1: is not TOML"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(path: Path, content: str | bytes, said: str) -> None:
    (line,) = report(path, content)
    assert line.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "environment = 3\nopenemr.acknowledge_end_of_support = true",
            "openemr.toml:1: [environment]: must be a table; write [environment] once",
        ),
        (WHOLE + "[[service]]\n[[service]]\n", "openemr.toml:6: [service]: must be a table; write [service] once"),
        ("clinics = 1\n" + WHOLE, "openemr.toml:1: [clinics]: must hold tables; write [clinics.NAME] for each clinic"),
        ('region = "a"\n' + WHOLE, "openemr.toml:1: region: unknown key outside every section; it belongs in [environ"),
        ('backup_uri = "a"\n' + WHOLE, 'openemr.toml:1: backup_uri: unknown key outside every section; it is "uri" in'),
        (WHOLE + '"" = 1', 'openemr.toml:6: [environment] "": unknown key; known here'),
        (WHOLE + '"a\\u001b[0m" = 1', 'openemr.toml:6: [environment] "a\\u001b[0m": unknown key; known here'),
        (
            WHOLE + "[network]\ncidr = 0x" + "F" * 9000,
            "openemr.toml:7: [network] cidr: must be text in quotes (found a",
        ),
        (WHOLE + "[service]\ncpu = inf", "openemr.toml:7: [service] cpu: must be 1, 2, 4, 6 or 8 vCPU (found inf)"),
        (
            WHOLE + "[service]\nmax_instances = 2020-01-01",
            "openemr.toml:7: [service] max_instances: must be a whole numb",
        ),
    ],
)
def test_odd_shapes_are_told_like_any_other_problem(path: Path, content: str, said: str) -> None:
    (line,) = report(path, content)
    assert line.startswith(said)


def test_a_long_value_is_cut_and_control_characters_are_written_out(path: Path) -> None:
    (line,) = report(path, WHOLE + 'zone = "\\u0007' + "x" * 500 + '"')
    assert '(found "\\u0007xxx' in line
    assert len(line) < 250


@pytest.mark.parametrize("content", ["\ufeff" + WHOLE, WHOLE.replace("\n", "\r\n")])
def test_files_saved_by_windows_editors_are_read(path: Path, content: str) -> None:
    path.write_bytes(content.encode())
    assert load_environment(path, overrides={}).name == "test"


def test_lines_are_counted_with_windows_line_ends_too(path: Path) -> None:
    (line,) = report(path, (WHOLE + "zone = 3\n").replace("\n", "\r\n"))
    assert line.startswith("openemr.toml:6:")


def test_a_missing_file_is_told_with_the_command_that_makes_one(path: Path) -> None:
    with pytest.raises(InputMissing, match=r"no environment file .*openemr\.toml") as caught:
        load_environment(path, overrides={})
    assert "gcp-openemr init" in caught.value.do
    assert caught.value.exit_code == 66


def test_a_directory_is_no_environment_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="is a directory"):
        load_environment(tmp_path, overrides={})


def test_a_path_below_a_file_cannot_be_read(path: Path) -> None:
    path.write_text(WHOLE)
    with pytest.raises(InputMissing, match="cannot be read: Not a directory"):
        load_environment(path / "openemr.toml", overrides={})


def test_a_name_with_a_nul_cannot_be_read() -> None:
    with pytest.raises(InputMissing, match="cannot be read"):
        load_environment(Path("a\0b"), overrides={})


def test_a_file_without_read_permission_cannot_be_read(path: Path) -> None:
    path.write_text(WHOLE)
    path.chmod(0)
    path.parent.chmod(0o755)
    read, write = os.pipe()
    child = os.fork()  # root may read everything, so another user has to try
    if child == 0:
        said = b"it was read"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            load_environment(path, overrides={})
        except InputMissing as error:
            said = f"{error.what} {error.do}".encode()
        except BaseException as error:
            said = repr(error).encode()
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as told:
        said_by_child = told.read()
    assert "cannot be read: Permission denied. Mend its permissions" in said_by_child


def test_a_large_file_is_no_environment_file(path: Path) -> None:
    path.write_text(WHOLE + "#" * 70_000)
    with pytest.raises(InputMissing, match="larger than 64 KiB"):
        load_environment(path, overrides={})


def test_an_endless_file_is_no_environment_file() -> None:
    with pytest.raises(InputMissing, match="larger than 64 KiB"):
        load_environment(Path("/dev/zero"), overrides={})
