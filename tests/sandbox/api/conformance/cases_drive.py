"""Google Drive: one request for each of its refusals."""

from __future__ import annotations

import uuid

from tests.sandbox.api.conformance.target import Target, case, rest
from tests.sandbox.api.support import Answer

FILES = "drive/v3/files"
UPLOAD = "upload/drive/v3/files?uploadType=media"
DRIVE = "https://www.googleapis.com/auth/drive"
READER = {"type": "user", "role": "reader"}


def made(target: Target, **fields: object) -> str:
    """The id of a new file or folder of the operator's."""
    answer = target.call("POST", "www", f"{FILES}?supportsAllDrives=true", fields)
    assert answer.status == 200, answer.body
    return str(answer.body["id"])


def shared(target: Target, **fields: object) -> str:
    """One that the account without rights may read."""
    file = made(target, **fields)
    given = {**READER, "emailAddress": target.account}
    answer = target.call("POST", "www", f"{FILES}/{file}/permissions?sendNotificationEmail=false", given)
    assert answer.status == 200, answer.body
    return file


def reader(target: Target) -> str:
    """A token of the account without rights that is good for Drive."""
    return target.here.app.mint_token(target.account, [DRIVE])


rest("drive.not-found", "GET", "www", f"{FILES}/1NoSuchFileHasThisIdOfThirtyThree")
rest("drive.field", "GET", "www", f"{FILES}/1NoSuchFileHasThisIdOfThirtyThree?fields=id,title")


@case("google.scope")
def token_for_the_cloud_alone(target: Target) -> Answer:
    return target.call("GET", "www", f"{FILES}/{shared(target, name='x')}", token=target.token())


@case("drive.editors")
def document_of_googles_own(target: Target) -> Answer:
    file = made(target, mimeType="application/vnd.google-apps.document")
    return target.call("GET", "www", f"{FILES}/{file}?alt=media")


@case("drive.download")
def file_that_readers_may_only_look_at(target: Target) -> Answer:
    file = shared(target, copyRequiresWriterPermission=True)
    return target.call("GET", "www", f"{FILES}/{file}?alt=media", token=reader(target))


@case("drive.file-permission")
def reader_who_shares(target: Target) -> Answer:
    given = {**READER, "emailAddress": "colleague@example.com"}
    path = f"{FILES}/{shared(target, name='x')}/permissions"
    return target.call("POST", "www", path, given, token=reader(target))


@case("drive.parent-permission")
def reader_who_adds(target: Target) -> Answer:
    folder = shared(target, mimeType="application/vnd.google-apps.folder")
    return target.call("POST", "www", FILES, {"name": "y", "parents": [folder]}, token=reader(target))


@case("drive.no-quota")
def service_account_with_a_file_of_its_own(target: Target) -> Answer:
    return target.call("POST", "www", UPLOAD, b"bytes", token=reader(target))


@case("drive.permission-field")
def permission_for_no_kind_of_grantee(target: Target) -> Answer:
    return target.call("POST", "www", f"{FILES}/{made(target, name='x')}/permissions", {"role": "reader"})


@case("drive.no-account")
def share_with_an_account_that_is_not_there_yet(target: Target) -> Answer:
    given = {**READER, "emailAddress": f"conf-none@{target.project}.iam.gserviceaccount.com"}
    path = f"{FILES}/{made(target, name='x')}/permissions?sendNotificationEmail=false"
    return target.call("POST", "www", path, given)


def _on_a_bad_day(refusal: str) -> None:
    @case(refusal)
    def answer(target: Target) -> Answer:
        app = target.here.app
        app.faults.add({"effect": "status", "refusal": refusal, "method": "drive.files.get", "times": 1})
        return target.call("GET", "www", f"{FILES}/{uuid.uuid4()}?alt=media")


_on_a_bad_day("drive.download-quota")
_on_a_bad_day("drive.user-rate")
