"""Cloud SQL: a real server, reached over TLS by its name, from a container of the network."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509

from gcp_openemr.sandbox.interfaces import Json, Refused
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import ACCOUNT, LOCATION, NETWORK, PROJECT, REPOSITORY, World

HOST = "db.example.europe-west1.sql.goog"
INSTANCE = f"{PROJECT}/instances/oe-sql"
FULL = f"sqladmin.googleapis.com/{INSTANCE}"
ADDRESS = "10.8.0.5"
PASSWORD = "pw-1"

CLIENT = """
import json, os, ssl, pymysql
context = None
if os.environ.get("CA"):
    context = ssl.create_default_context(cadata=os.environ["CA"])
elif os.environ.get("TRUST") == "system":
    context = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
try:
    database = pymysql.connect(host=os.environ["HOST"], user=os.environ["DBUSER"], password=os.environ["DBPASS"],
                               ssl=context, ssl_disabled=context is None, connect_timeout=5, autocommit=True)
    with database, database.cursor() as cursor:
        rows = []
        for statement in json.loads(os.environ["STATEMENTS"]):
            cursor.execute(statement)
            rows = [list(map(str, row)) for row in cursor.fetchall()]
    print(json.dumps({"rows": rows}))
except Exception as error:
    print(json.dumps({"error": repr(error)}))
"""

DOCKERFILE = """\
FROM alpine:3.20
COPY client.py /client.py
USER 1000
CMD ["python3", "/client.py"]
"""


def instance(**settings: Any) -> Json:
    flags = [{"name": "local_infile", "value": "off"}]
    return {
        "name": "oe-sql",
        "project": "clinic",
        "region": "europe-west1",
        "state": "RUNNABLE",
        "dnsNames": [{"name": f"{HOST}.", "connectionType": "PRIVATE_SERVICE_CONNECT"}],
        "settings": {"databaseFlags": flags, "ipConfiguration": {"sslMode": "ENCRYPTED_ONLY"}, **settings},
    }


def cloud() -> dict[str, Json]:
    """The endpoint's rule, and its names: the right one, and one that the certificate does not carry."""
    zone = f"dns.googleapis.com/{PROJECT}/managedZones/sql"
    network = {"networkUrl": f"https://www.googleapis.com/compute/v1/{NETWORK}"}
    rule = {"IPAddress": ADDRESS, "network": f"https://www.googleapis.com/compute/v1/{NETWORK}"}
    names = (HOST, "other.example.europe-west1.sql.goog")
    records = {f"{zone}/rrsets/{n}/A": {"name": f"{n}.", "type": "A", "rrdatas": [ADDRESS]} for n in names}
    return {
        FULL: instance(),
        zone: {"dnsName": "europe-west1.sql.goog.", "privateVisibilityConfig": {"networks": [network]}},
        f"compute.googleapis.com/{PROJECT}/regions/europe-west1/forwardingRules/sql": rule,
        **records,
    }


class Client:
    """Asks the database from a job's container."""

    def __init__(self, world: World) -> None:
        self.world = world
        files = {"Dockerfile": DOCKERFILE, "client.py": CLIENT}
        digest = world.build(files, name="client")["images"][0]["digest"]
        self.image = f"{REPOSITORY}/client@{digest}"
        self.count = 0

    def __call__(self, *statements: str, user: str = "admin", password: str = PASSWORD, **environment: str) -> Any:
        self.count += 1
        name = f"client{self.count}-{time.monotonic_ns()}"
        values = {"HOST": HOST, "DBUSER": user, "DBPASS": password, "STATEMENTS": json.dumps(statements)}
        values |= {"CA": self.world.call("database_certificate", {})} | environment
        container = {"image": self.image, "env": [{"name": key, "value": value} for key, value in values.items()]}
        template = {
            "containers": [container],
            "serviceAccount": ACCOUNT,
            "vpcAccess": {"networkInterfaces": [{"network": "net", "subnetwork": "sub"}]},
        }
        execution = {"name": f"{LOCATION}/jobs/client/executions/{name}", "template": template, "taskCount": 1}
        self.world.run(inside.execute, execution)
        answer = json.loads(self.world.log(name)[-1].split(" ", 2)[2])
        return answer.get("rows", answer.get("error"))


@pytest.fixture(scope="module")
def client(world: World) -> Client:
    world.run(inside.put, cloud())
    world.call("start_database", instance())
    world.call("connect_endpoint", ADDRESS, FULL)
    world.call("create_database_user", FULL, "admin", "", PASSWORD)
    return Client(world)


def test_a_client_logs_in_over_tls_by_the_instances_name(client: Client) -> None:
    rows = client("SELECT CURRENT_USER(), @@local_infile", "SHOW STATUS LIKE 'Ssl_version'")
    assert rows[0][1].startswith("TLSv1.")


def test_another_name_fails_at_the_certificate(client: Client) -> None:
    assert "Hostname mismatch" in client("SELECT 1", HOST="other.example.europe-west1.sql.goog")


def test_the_authority_is_not_one_that_machines_trust(client: Client) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in client("SELECT 1", CA="", TRUST="system")


def test_without_tls_nobody_comes_in(client: Client) -> None:
    assert "require_secure_transport" in client("SELECT 1", CA="")


def test_root_cannot_come_in_from_the_network(client: Client) -> None:
    assert "Access denied" in client("SELECT 1", user="root", password="")


def test_an_account_of_the_api_may_make_others_and_is_listed(world: World, client: Client) -> None:
    made = client(
        "CREATE DATABASE IF NOT EXISTS oe_main",
        "CREATE USER IF NOT EXISTS oe_main@'%' IDENTIFIED BY 'clinic'",
        "GRANT ALL ON oe_main.* TO oe_main@'%'",
        "SELECT 'done'",
    )
    assert made == [["done"]]
    assert client("SELECT DATABASE()", user="oe_main", password="clinic") == [["None"]]
    assert {"name": "admin", "host": "%"} in world.call("list_database_users", FULL)
    assert not {"root", "cloudsqlsuperuser"} & {one["name"] for one in world.call("list_database_users", FULL)}


def test_a_clinics_account_keeps_its_old_password_beside_the_new_one(client: Client) -> None:
    made = client(
        "CREATE USER rotating@'%' IDENTIFIED BY 'old'",
        "GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO rotating@'%'",
        "SELECT 'done'",
    )
    assert made == [["done"]]
    rotate = "ALTER USER USER() IDENTIFIED BY 'new' RETAIN CURRENT PASSWORD"
    assert client(rotate, "SELECT 1", user="rotating", password="old") == [["1"]]
    assert [client("SELECT 1", user="rotating", password=word) for word in ("old", "new")] == [[["1"]], [["1"]]]


def test_the_api_replaces_a_password_and_removes_the_account(world: World, client: Client) -> None:
    world.call("create_database_user", FULL, "temporary", "%", "first")
    world.call("create_database_user", FULL, "temporary", "%", "it's \\ second")
    assert "Access denied" in client("SELECT 1", user="temporary", password="first")
    assert client("SELECT 1", user="temporary", password="it's \\ second") == [["1"]]
    world.call("delete_database_user", FULL, "temporary", "%")
    assert "Access denied" in client("SELECT 1", user="temporary", password="it's \\ second")


def test_the_certificate_carries_the_instances_name_alone(world: World, client: Client) -> None:
    found = x509.load_pem_x509_certificate(world.run(inside.read_sql, "clinic/oe-sql", "server.pem"))
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert len(names) == 1


def test_schemas_are_made_changed_and_dropped(world: World, client: Client) -> None:
    world.call("create_schema", FULL, "it`s", "latin1", "")
    world.call("create_schema", FULL, "it`s", "utf8mb4", "utf8mb4_bin")
    assert {"name": "it`s", "charset": "utf8mb4", "collation": "utf8mb4_bin"} in world.call("list_schemas", FULL)
    with pytest.raises(Refused, match="Unknown collation"):
        world.call("create_schema", FULL, "it`s", "", "nonsense")
    world.call("delete_schema", FULL, "it`s")
    assert "it`s" not in [one["name"] for one in world.call("list_schemas", FULL)]


def test_the_api_keeps_or_discards_an_old_password(world: World, client: Client) -> None:
    world.call("create_database_user", FULL, "dual", "%", "one")
    world.call("set_database_password", FULL, "dual", "%", "two", "retain")
    assert [client("SELECT 1", user="dual", password=word) for word in ("one", "two")] == [[["1"]], [["1"]]]
    world.call("set_database_password", FULL, "dual", "%", "", "discard")
    assert "Access denied" in client("SELECT 1", user="dual", password="one")
    assert client("SELECT 1", user="dual", password="two") == [["1"]]


def test_a_backup_is_a_copy_of_one_moment_and_can_be_brought_back(world: World, client: Client) -> None:
    client("CREATE DATABASE IF NOT EXISTS past", "CREATE TABLE past.t (i INT)", "INSERT INTO past.t VALUES (1)")
    backup = f"{FULL}/backupRuns/1"
    world.call("copy_database", FULL, backup, "")
    client("DELETE FROM past.t")
    with pytest.raises(Refused, match="what it holds cannot be replaced"):
        world.call("copy_database", backup, FULL, "")
    world.call("stop_database", FULL)
    world.call("copy_database", backup, FULL, "")
    world.call("start_database", instance())
    assert client("SELECT i FROM past.t") == [["1"]]
    world.call("delete_database", backup)
    assert not (world.directory / "sql/clinic/oe-sql@1.img").exists()


def test_a_copy_is_as_of_a_moment_and_can_be_exported(world: World, client: Client) -> None:
    logged = {"backupConfiguration": {"enabled": True, "binaryLogEnabled": True}}
    full, copied = f"{FULL}-log", f"{FULL}-log-then"
    world.call("start_database", {**instance(**logged), "name": "oe-sql-log"})
    rows = "SELECT i, j FROM past.t"
    world.run(inside.sql, full, "CREATE DATABASE past", "CREATE TABLE past.t (i INT PRIMARY KEY, j INT)")
    world.run(
        inside.sql, full, "INSERT INTO past.t VALUES (1, 1), (2, 2)", "FLUSH BINARY LOGS", "UPDATE past.t SET j = 3"
    )
    time.sleep(1.1)
    moment = datetime.now(UTC).isoformat()
    time.sleep(1.1)
    world.run(inside.sql, full, "DELETE FROM past.t WHERE i = 1", "FLUSH BINARY LOGS", "DROP TABLE past.t")
    world.call("copy_database", full, copied, moment)
    world.call("start_database", {**instance(**logged), "name": "oe-sql-log-then"})
    assert world.run(inside.sql, copied, rows) == [["1", "3"], ["2", "3"]]
    assert b"INSERT INTO `t` VALUES (1,3),(2,3);" in world.run(inside.exported, copied, "past")
    with pytest.raises(Refused, match=r"mysqldump: .*Unknown database"):
        world.run(inside.exported, copied, "nothing")
    with pytest.raises(Refused, match="does not go back to its beginning"):
        world.call("copy_database", FULL, f"{FULL}-then", moment)
    for name in (full, copied, f"{FULL}-then"):
        world.call("delete_database", name)


def test_an_instance_has_bad_days(world: World, client: Client) -> None:
    client("CREATE DATABASE IF NOT EXISTS days", "CREATE TABLE days.t (b LONGBLOB)")
    fill = ["INSERT INTO days.t VALUES (REPEAT('x', 16000000))"] * 3
    world.call("disturb", "database", "oe-sql", "full")
    assert "full" in client(*fill)
    world.call("disturb", "database", "oe-sql", "well")
    assert client(*fill, "SELECT COUNT(*) > 2 FROM days.t") == [["1"]]
    world.call("disturb", "database", "oe-sql", "stopped")
    assert "Can't connect" in client("SELECT 1")
    with pytest.raises(Refused, match="instance is not running"):
        world.call("create_database_user", FULL, "x", "", "y")
    world.call("disturb", "database", "oe-sql", "slow")
    assert client("SELECT 1") == [["1"]]
    world.call("disturb", "database", "oe-sql", "well")
    with pytest.raises(Refused, match="no database instance other"):
        world.call("disturb", "database", "other", "slow")


def test_changed_flags_restart_the_server_and_clients_find_it_again(world: World, client: Client) -> None:
    client("CREATE DATABASE IF NOT EXISTS kept", "CREATE TABLE kept.t (i INT)", "INSERT INTO kept.t VALUES (7)")
    before = dict(world.run(inside.containers))["mysqld"]
    world.call("start_database", instance())
    assert dict(world.run(inside.containers))["mysqld"] == before
    world.call("start_database", instance(databaseFlags=[{"name": "max_connections", "value": "33"}]))
    assert client("SELECT @@max_connections, i FROM kept.t") == [["33", "7"]]


def test_a_stopped_instance_refuses_users(world: World, client: Client) -> None:
    world.call("start_database", instance(activationPolicy="NEVER"))
    with pytest.raises(Refused, match="instance is not running"):
        world.call("create_database_user", FULL, "x", "", "y")
    world.call("start_database", instance())


def test_after_a_kill_of_everything_the_data_is_there_at_the_same_address(world: World, client: Client) -> None:
    client("CREATE DATABASE IF NOT EXISTS safe", "CREATE TABLE safe.t (i INT)", "INSERT INTO safe.t VALUES (1)")
    world.kill()
    # As if the first initialisation of another instance had been cut short by the same kill.
    (world.directory / "sql/clinic").mkdir(exist_ok=True)
    (world.directory / "sql/clinic/cut.img").touch()
    world.restart()
    world.basics()
    cut = f"sqladmin.googleapis.com/{PROJECT}/instances/cut"
    made = {**instance(), "name": "cut", "state": "PENDING_CREATE"}
    world.run(inside.put, {**cloud(), cut: made})
    world.call("resume")
    assert client("SELECT i FROM safe.t") == [["1"]]
    with pytest.raises(Refused, match="instance is not running"):
        world.call("list_database_users", cut)  # who is making it goes on with it
    world.call("start_database", made)
    assert world.call("list_database_users", cut) == []


def test_a_deleted_instance_leaves_no_data(world: World, client: Client) -> None:
    for name in ("cut", "oe-sql"):
        world.call("delete_database", f"sqladmin.googleapis.com/{PROJECT}/instances/{name}")
        assert not list((world.directory / "sql/clinic").glob(f"{name}*"))
    assert "mysqld" not in dict(world.run(inside.containers))
