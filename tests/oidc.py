"""An issuer of OpenID Connect tokens, as GitHub and GitLab have one: it signs with a key of its own."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gcp_openemr.sandbox.api.federation import ISSUERS

__all__ = ["Issuer"]

_KEY_ID = "test"


class Issuer:
    """`url` is what its tokens say in `iss`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwks(self) -> dict[str, Any]:
        """The JSON Web Key Set at which a reader of the tokens looks."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": _KEY_ID}
        return {"keys": [{**key, "n": _of_number(numbers.n), "e": _of_number(numbers.e)}]}

    def trusted_by(self, sandbox: Path) -> Issuer:
        """Make the keys known to a sandbox, which cannot fetch them. Returns itself."""
        file = sandbox / ISSUERS
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, self.url: self.jwks}))
        return self

    def token(self, *, audience: str, **claims: Any) -> str:
        """A signed token, good for five minutes; `claims` have the last word."""
        now = int(time.time())
        said = {"iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": now + 300, **claims}
        parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": _KEY_ID}, said)]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, _encoded(signature)])

    def credentials_file(self, folder: Path, *, cloud: str, provider: str, account: str, **claims: Any) -> Path:
        """What a runner's step that authenticates leaves behind: a token, and the file that says what to do with it.

        `cloud` is the sandbox's address; `provider` the full name that `bootstrap` prints.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(self.token(audience=f"https://iam.googleapis.com/{provider}", **claims))
        credentials = {
            "type": "external_account",
            "audience": f"//iam.googleapis.com/{provider}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{cloud}/sts.googleapis.com/v1/token",
            "service_account_impersonation_url": f"{cloud}/iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
            f"{account}:generateAccessToken",
            "credential_source": {"file": str(folder / "token")},
        }
        file = folder / "credentials.json"
        file.write_text(json.dumps(credentials))
        return file


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _of_number(number: int) -> str:
    return _encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
