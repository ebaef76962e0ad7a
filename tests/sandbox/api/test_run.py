"""Cloud Run over the wire with Google's client."""

from __future__ import annotations

import time

import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import run_v2
from google.oauth2.credentials import Credentials
from google.protobuf import duration_pb2, field_mask_pb2

from gcp_openemr.sandbox.api.artifactregistry import parse_image, push
from gcp_openemr.sandbox.api.compute.network import HELD
from gcp_openemr.sandbox.interfaces import Refused, TrafficTarget
from gcp_openemr.sandbox.runtime import wiring
from tests.sandbox.api.support import IMAGES, PROJECT, REGION, Cloud

PARENT = f"projects/{PROJECT}/locations/{REGION}"
DIGEST = "sha256:" + "a" * 64
IMAGE = f"{IMAGES}/service@{DIGEST}"
SERVICE = f"{PARENT}/services/oe-prod-main-web"
JOB = f"{PARENT}/jobs/oe-prod-main-nfs-init"


@pytest.fixture
def image(cloud: Cloud) -> str:
    body = {"format": "DOCKER", "dockerConfig": {"immutableTags": True}}
    cloud.wait(
        cloud.call("POST", "artifactregistry", f"v1/{PARENT}/repositories?repositoryId=oe-prod", body),
    )
    reference = parse_image(f"{IMAGES}/service:7.0.4")
    assert reference is not None
    push(cloud.app.store, reference, DIGEST)
    return IMAGE


def options(cloud: Cloud) -> ClientOptions:
    return ClientOptions(api_endpoint=f"{cloud.url}/run.googleapis.com")


@pytest.fixture
def services(cloud: Cloud, credentials: Credentials, image: str) -> run_v2.ServicesClient:
    return run_v2.ServicesClient(credentials=credentials, transport="rest", client_options=options(cloud))


@pytest.fixture
def jobs(cloud: Cloud, credentials: Credentials, image: str) -> run_v2.JobsClient:
    return run_v2.JobsClient(credentials=credentials, transport="rest", client_options=options(cloud))


@pytest.fixture
def executions(cloud: Cloud, credentials: Credentials) -> run_v2.ExecutionsClient:
    return run_v2.ExecutionsClient(credentials=credentials, transport="rest", client_options=options(cloud))


def template(account: str, **changes: object) -> run_v2.RevisionTemplate:
    fields: dict[str, object] = {"service_account": account, "containers": [{"image": IMAGE}], **changes}
    return run_v2.RevisionTemplate(fields)


def deploy(services: run_v2.ServicesClient, account: str, **changes: object) -> run_v2.Service:
    service = run_v2.Service(template=template(account, **changes))
    created: run_v2.Service = services.create_service(
        parent=PARENT, service=service, service_id="oe-prod-main-web"
    ).result(timeout=20)
    return created


def test_deploys_a_service_and_sends_it_all_traffic(
    cloud: Cloud, services: run_v2.ServicesClient, account: str
) -> None:
    made = deploy(services, account)
    assert made.name == SERVICE
    assert made.uri == cloud.runtime.service_uri(SERVICE)
    assert list(made.urls) == [made.uri]
    assert made.latest_ready_revision == made.latest_created_revision
    assert made.latest_ready_revision.startswith(f"{SERVICE}/revisions/oe-prod-main-web-00001-")
    assert made.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    assert made.observed_generation == made.generation == 1
    assert not made.reconciling
    assert made.template.max_instance_request_concurrency == 80
    assert made.template.containers[0].resources.limits == {"cpu": "1000m", "memory": "512Mi"}
    revision = made.latest_ready_revision.rpartition("/")[2]
    assert [call[0] for call in cloud.runtime.calls[-2:]] == ["start_revision", "set_traffic"]
    assert cloud.runtime.calls[-1][2] == [TrafficTarget(revision=revision, percent=100)]


def test_a_changed_template_makes_a_revision_and_a_changed_label_does_not(
    cloud: Cloud, services: run_v2.ServicesClient, credentials: Credentials, account: str
) -> None:
    first = deploy(services, account)
    current = services.get_service(name=SERVICE)
    current.labels["tier"] = "front"
    same = services.update_service(service=current).result(timeout=20)
    assert same.latest_created_revision == first.latest_created_revision
    assert same.generation == 2
    same.template.containers[0].env = [run_v2.EnvVar(name="A", value="b")]
    second = services.update_service(service=same, update_mask=field_mask_pb2.FieldMask(paths=["template"])).result(
        timeout=20
    )
    assert second.latest_created_revision != first.latest_created_revision
    revisions = run_v2.RevisionsClient(credentials=credentials, transport="rest", client_options=options(cloud))
    listed = {revision.name: revision for revision in revisions.list_revisions(parent=SERVICE)}
    assert set(listed) == {first.latest_created_revision, second.latest_created_revision}
    assert not listed[first.latest_created_revision].containers[0].env
    assert listed[second.latest_created_revision].containers[0].env[0].value == "b"
    assert listed[second.latest_created_revision].service == "oe-prod-main-web"


def test_traffic_pinned_to_a_revision_stays_there(cloud: Cloud, services: run_v2.ServicesClient, account: str) -> None:
    first = deploy(services, account)
    pinned = first.latest_ready_revision.rpartition("/")[2]
    by_name = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    first.traffic = [run_v2.TrafficTarget(type_=by_name, revision=pinned, percent=100)]
    services.update_service(service=first).result(timeout=20)
    current = services.get_service(name=SERVICE)
    current.template.containers[0].env = [run_v2.EnvVar(name="A", value="b")]
    latest = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
    current.traffic.append(run_v2.TrafficTarget(type_=latest, tag="next"))
    second = services.update_service(service=current).result(timeout=20)
    fresh = second.latest_ready_revision.rpartition("/")[2]
    assert cloud.runtime.calls[-1][2] == [
        TrafficTarget(revision=pinned, percent=100),
        TrafficTarget(revision=fresh, percent=0, tag="next"),
    ]
    assert [(status.revision, status.percent, status.tag) for status in second.traffic_statuses] == [
        (pinned, 100, ""),
        (fresh, 0, "next"),
    ]
    assert "next---" in second.traffic_statuses[1].uri


def test_a_revision_that_does_not_start_leaves_the_old_one_serving(
    cloud: Cloud, services: run_v2.ServicesClient, account: str
) -> None:
    first = deploy(services, account)
    cloud.runtime.refuse["start_revision"] = Refused("The user-provided container failed to start and listen.")
    current = services.get_service(name=SERVICE)
    current.template.containers[0].env = [run_v2.EnvVar(name="A", value="b")]
    with pytest.raises(exceptions.GoogleAPICallError, match=r"is not ready and cannot serve traffic\. The user-prov"):
        services.update_service(service=current).result(timeout=20)
    after = services.get_service(name=SERVICE)
    assert after.latest_ready_revision == first.latest_ready_revision
    assert after.latest_created_revision != first.latest_created_revision
    assert after.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    assert "failed to start and listen" in after.terminal_condition.message
    assert cloud.runtime.calls[-1][2] == [
        TrafficTarget(revision=first.latest_ready_revision.rpartition("/")[2], percent=100)
    ]


@pytest.mark.parametrize(
    ("granted", "version", "sentence"),
    [
        (False, "1", "Permission denied on secret: projects/[0-9]+/secrets/pw/versions/1 for Revision service account"),
        (True, "2", "Secret projects/[0-9]+/secrets/pw/versions/2 was not found"),
    ],
)
def test_a_service_needs_its_secrets(
    cloud: Cloud, services: run_v2.ServicesClient, account: str, granted: bool, version: str, sentence: str
) -> None:
    secret = f"v1/projects/{PROJECT}/secrets"
    cloud.call("POST", "secretmanager", f"{secret}?secretId=pw", {"replication": {"automatic": {}}})
    cloud.call("POST", "secretmanager", f"{secret}/pw:addVersion", {"payload": {"data": "aGk="}})
    if granted:
        binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{account}"]}
        cloud.call("POST", "secretmanager", f"{secret}/pw:setIamPolicy", {"policy": {"bindings": [binding]}})
    source = {"value_source": {"secret_key_ref": {"secret": "pw", "version": version}}}
    containers = [{"image": IMAGE, "env": [{"name": "MYSQL_PASS", **source}]}]
    with pytest.raises(exceptions.GoogleAPICallError, match=sentence):
        deploy(services, account, containers=containers)
    failed = services.get_service(name=SERVICE)
    assert failed.terminal_condition.reason == run_v2.Condition.CommonReason.SECRETS_ACCESS_CHECK_FAILED
    assert "start_revision" not in cloud.runtime.names()


def test_validate_only_writes_nothing(cloud: Cloud, services: run_v2.ServicesClient, account: str) -> None:
    request = run_v2.CreateServiceRequest(
        parent=PARENT, service=run_v2.Service(template=template(account)), service_id="x", validate_only=True
    )
    assert services.create_service(request=request).result(timeout=20).template.timeout.seconds == 300
    assert list(services.list_services(parent=PARENT)) == []
    assert "start_revision" not in cloud.runtime.names()


def make_job(jobs: run_v2.JobsClient, account: str) -> run_v2.Job:
    task = run_v2.TaskTemplate(
        service_account=account,
        max_retries=0,
        containers=[
            {"image": IMAGE, "args": ["nfs-init"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
        ],
    )
    job = run_v2.Job(template=run_v2.ExecutionTemplate(template=task))
    made: run_v2.Job = jobs.create_job(parent=PARENT, job=job, job_id="oe-prod-main-nfs-init").result(timeout=20)
    return made


def test_runs_a_job_with_overrides_to_its_end(
    cloud: Cloud, jobs: run_v2.JobsClient, executions: run_v2.ExecutionsClient, account: str
) -> None:
    made = make_job(jobs, account)
    assert made.template.template.max_retries == 0
    assert made.template.template.timeout.seconds == 600
    assert made.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    override = run_v2.RunJobRequest.Overrides.ContainerOverride(
        args=["nfs-init", "--dry-run"], env=[run_v2.EnvVar(name="B", value="3"), run_v2.EnvVar(name="C", value="4")]
    )
    overrides = run_v2.RunJobRequest.Overrides(
        container_overrides=[override], timeout=duration_pb2.Duration(seconds=7200)
    )
    operation = jobs.run_job(request=run_v2.RunJobRequest(name=JOB, overrides=overrides))
    assert operation.metadata.name.startswith(f"{JOB}/executions/oe-prod-main-nfs-init-")
    done = operation.result(timeout=20)
    assert (done.succeeded_count, done.failed_count, done.task_count) == (1, 0, 1)
    ran = next(call[1] for call in cloud.runtime.calls if call[0] == "run_execution")
    container = ran["template"]["containers"][0]
    assert container["args"] == ["nfs-init", "--dry-run"]
    assert {item["name"]: item["value"] for item in container["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert ran["template"]["timeout"] == "7200s"
    after = jobs.get_job(name=JOB)
    assert after.template.template.containers[0].args == ["nfs-init"]
    assert after.execution_count == 1
    assert after.latest_created_execution.name == done.name.rpartition("/")[2]
    assert after.latest_created_execution.completion_time
    assert [found.name for found in executions.list_executions(parent=JOB)] == [done.name]


def test_a_failed_execution_fails_its_operation_and_stays_to_be_read(
    cloud: Cloud, jobs: run_v2.JobsClient, executions: run_v2.ExecutionsClient, account: str
) -> None:
    make_job(jobs, account)
    message = "Task x-task0 failed with message: The container exited with an error."
    cloud.runtime.result = {
        "failedCount": 1,
        "completionTime": "2026-01-02T03:04:05Z",
        "conditions": [{"type": "Completed", "state": "CONDITION_FAILED", "message": message}],
    }
    operation = jobs.run_job(name=JOB)
    with pytest.raises(exceptions.GoogleAPICallError, match="exited with an error"):
        operation.result(timeout=20)
    state = executions.get_execution(name=operation.metadata.name)
    assert (state.failed_count, state.succeeded_count) == (1, 0)
    assert state.completion_time


def test_a_running_execution_can_be_watched_and_cancelled(
    cloud: Cloud, jobs: run_v2.JobsClient, executions: run_v2.ExecutionsClient, account: str
) -> None:
    make_job(jobs, account)
    cloud.runtime.hold.clear()
    operation = jobs.run_job(name=JOB)
    name = operation.metadata.name
    assert executions.get_execution(name=name).running_count == 1
    with pytest.raises(exceptions.BadRequest, match="running executions"):
        jobs.delete_job(name=JOB)
    executions.cancel_execution(name=name)
    with pytest.raises(exceptions.GoogleAPICallError):
        operation.result(timeout=20)
    assert executions.get_execution(name=name).cancelled_count == 1
    executions.delete_execution(name=name).result(timeout=20)
    jobs.delete_job(name=JOB).result(timeout=20)
    with pytest.raises(exceptions.NotFound):
        jobs.get_job(name=JOB)


def test_overrides_need_their_own_permission(cloud: Cloud, jobs: run_v2.JobsClient, account: str) -> None:
    make_job(jobs, account)
    token = cloud.app.mint_token(account)
    path = f"v2/{JOB}:run"
    refused = cloud.call("POST", "run", path, {}, token=token)
    assert refused.status == 403
    assert "Permission 'run.jobs.run' denied on resource" in refused.message
    policy = {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{account}"]}]}
    assert cloud.call("POST", "run", f"v2/{JOB}:setIamPolicy", {"policy": policy}).status == 200
    assert cloud.call("POST", "run", path, {}, token=token).status == 200
    overridden = cloud.call("POST", "run", path, {"overrides": {"taskCount": 2}}, token=token)
    assert overridden.status == 403
    assert "run.jobs.runWithOverrides" in overridden.message


def test_a_deleted_service_holds_its_addresses_for_a_while(
    cloud: Cloud, services: run_v2.ServicesClient, account: str, network: str
) -> None:
    cloud.app.change_settings({"held_addresses": 0.5})
    deploy(services, account, vpc_access={"network_interfaces": [{"network": network, "subnetwork": "oe-prod-run"}]})
    services.delete_service(name=SERVICE).result(timeout=20)
    (held,) = cloud.app.store.list(f"{HELD}{PROJECT}/{REGION}/oe-prod-run/")
    assert time.time() - 10 < held.body["since"] <= time.time()
    assert held.body["kind"] == "serverless.googleapis.com/addressReservations"


def test_a_subnetwork_stays_while_a_service_or_a_job_has_addresses_in_it(
    cloud: Cloud, services: run_v2.ServicesClient, jobs: run_v2.JobsClient, account: str, network: str
) -> None:
    path = f"compute/v1/projects/{PROJECT}/regions/{REGION}/subnetworks/oe-prod-run"
    interface = {"network": network, "subnetwork": "oe-prod-run"}
    deploy(services, account, vpc_access={"network_interfaces": [interface]})
    refused = cloud.call("DELETE", "compute", path)
    assert (refused.status, refused.message.endswith(f"is already being used by '{SERVICE}'")) == (400, True)
    services.delete_service(name=SERVICE).result(timeout=20)
    tasks = {"containers": [{"image": IMAGE}], "vpcAccess": {"networkInterfaces": [interface]}}
    cloud.wait(cloud.call("POST", "run", f"v2/{PARENT}/jobs?jobId=inside", {"template": {"template": tasks}}))
    refused = cloud.call("DELETE", "compute", path)
    assert (refused.status, refused.message.endswith(f"is already being used by '{PARENT}/jobs/inside'")) == (400, True)
    jobs.delete_job(name=f"{PARENT}/jobs/inside").result(timeout=20)
    assert cloud.wait(cloud.call("DELETE", "compute", path))["error"] is None


def test_an_identity_token_opens_the_service_that_it_was_made_for(
    cloud: Cloud, services: run_v2.ServicesClient, account: str
) -> None:
    uri = deploy(services, account).uri

    def answer(token: str) -> int | None:
        refused = wiring.may_invoke(cloud.app)(SERVICE, f"Bearer {token}")
        return refused[0] if refused else None

    token = cloud.app.access.mint_identity(account, uri)
    assert answer(token) == 403
    policy = {"bindings": [{"role": "roles/run.invoker", "members": [f"serviceAccount:{account}"]}]}
    assert cloud.call("POST", "run", f"v2/{SERVICE}:setIamPolicy", {"policy": policy}).status == 200
    assert answer(token) is None
    assert answer(cloud.app.access.mint_identity(account, "https://another.example")) == 401
    assert answer(f"{token}x") == 401
    assert cloud.call("GET", "run", f"v2/{SERVICE}", token=token).status == 401
