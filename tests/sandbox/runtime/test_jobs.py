"""Cloud Run job executions in real containers."""

from __future__ import annotations

import json
import time
from typing import Any

from gcp_openemr.sandbox.interfaces import Json
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import ACCOUNT, LOCATION, World


def execution(name: str, image: str, *arguments: str, container: Json | None = None, **template: Any) -> Json:
    counts: Json = {key: template.pop(key) for key in ("taskCount", "parallelism") if key in template}
    described = {"image": image, "args": list(arguments), **(container or {})}
    body = {"containers": [described], "serviceAccount": ACCOUNT, "maxRetries": 0, "timeout": "20s", **template}
    return {"name": f"{LOCATION}/jobs/work/executions/{name}", "template": body, "taskCount": 1, **counts}


def completed(update: Json) -> tuple[str, str]:
    condition = next(one for one in update["conditions"] if one["type"] == "Completed")
    return condition["state"], condition.get("message", "")


def texts(world: World, name: str) -> list[str]:
    return [line.split(" ", 2)[2] for line in world.log(name)]


def test_success_is_counted_and_reported_as_it_happens(world: World, image: str) -> None:
    final, updates = world.run(inside.execute, execution("fine", image, "exit", "0", taskCount=3, parallelism=2))
    assert completed(final)[0] == "CONDITION_SUCCEEDED"
    assert (final["succeededCount"], final["failedCount"], final["runningCount"]) == (3, 0, 0)
    assert final["startTime"] <= final["completionTime"]
    assert max(update.get("runningCount", 0) for update in updates) == 2
    assert completed(updates[0])[0] == "CONDITION_RECONCILING"
    assert texts(world, "fine").count("going") == 3


def test_a_failure_names_the_exit_code(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("bad", image, "exit", "65"))
    message = "Task bad-task0 failed with exit code: 65 and message: The container exited with an error."
    assert completed(final) == ("CONDITION_FAILED", message)
    assert (final["failedCount"], final["retriedCount"]) == (1, 0)
    assert next(one for one in final["conditions"] if one["type"] == "Completed")["executionReason"] == (
        "NON_ZERO_EXIT_CODE"
    )


def test_a_task_is_tried_again_and_knows_it(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("second", image, "second", maxRetries=2))
    assert completed(final)[0] == "CONDITION_SUCCEEDED"
    assert (final["succeededCount"], final["retriedCount"]) == (1, 1)


def test_retries_end(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("never", image, "exit", "4", maxRetries=2))
    assert (completed(final)[0], final["failedCount"], final["retriedCount"]) == ("CONDITION_FAILED", 1, 2)
    assert texts(world, "never").count("going") == 3


def test_the_timeout_stops_an_attempt_politely(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("slow", image, "sleep", "30", timeout="1s"))
    assert completed(final)[1].startswith("Task slow-task0 failed with message: The configured timeout was reached")
    assert "got SIGTERM" in texts(world, "slow")


def test_a_cancelled_execution_says_so(world: World, image: str) -> None:
    running = world.begin(inside.execute, execution("dropped", image, "sleep", "30", maxRetries=3))
    while "sleeping" not in "".join(world.log("dropped")):
        time.sleep(0.05)
    world.call("cancel_execution", f"{LOCATION}/jobs/work/executions/dropped")
    final, _ = running.result(timeout=15)
    assert final["cancelledCount"] == 1
    assert completed(final) == ("CONDITION_FAILED", "Execution was cancelled.")


def test_googles_library_finds_the_jobs_identity_without_any_setting(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("who", image, "who"))
    assert completed(final)[0] == "CONDITION_SUCCEEDED", world.log("who")
    told = json.loads(texts(world, "who")[-1])
    token = f"token-of-{ACCOUNT}-for-https://www.googleapis.com/auth/cloud-platform"
    assert told == {"token": token, "project": "clinic", "email": ACCOUNT}


def test_a_job_that_may_not_read_its_secret_does_not_start(world: World, image: str) -> None:
    secret = {"name": "X", "valueSource": {"secretKeyRef": {"secret": "hidden", "version": "1"}}}
    wanted = execution("secretless", image, "exit", "0", container={"env": [secret]}, maxRetries=3)
    final, _ = world.run(inside.execute, wanted)
    assert "Permission denied on secret: projects/clinic/secrets/hidden/versions/1" in completed(final)[1]
    assert final["retriedCount"] == 0


def test_a_command_of_its_own_replaces_entrypoint_and_arguments(world: World, image: str) -> None:
    script = (
        'echo "$CLOUD_RUN_JOB $CLOUD_RUN_EXECUTION $CLOUD_RUN_TASK_INDEX/$CLOUD_RUN_TASK_COUNT $(id -u) $*"; exit 9'
    )
    wanted = execution("own", image, "one", container={"command": ["/bin/sh", "-c", script], "args": ["sh", "two"]})
    final, _ = world.run(inside.execute, wanted)
    assert "exit code: 9" in completed(final)[1]
    assert "work own 0/1 1000 two" in texts(world, "own")


def test_a_program_that_is_not_there_fails_the_task(world: World, image: str) -> None:
    final, _ = world.run(inside.execute, execution("missing", image, container={"command": ["/no/such"]}))
    assert "The container failed to start: [Errno 2] No such file or directory" in completed(final)[1]
