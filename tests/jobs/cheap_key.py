"""A restic repository whose key is cheap to derive: half of what each restic of a test costs is scrypt's hard work.

The key's file holds the repository's keys, encrypted with what scrypt makes of the password (restic's
doc/design.rst, "Keys, Encryption and MAC"). Here they are encrypted again, with the least work that scrypt knows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

__all__ = ["weaken"]

_CHEAP = {"N": 2, "r": 1, "p": 1}
_NONCE = _TAG = 16


def weaken(repository: Path, password: str) -> None:
    """Put a cheap key in the place of a repository's only one."""
    (file,) = (repository / "keys").iterdir()
    key = json.loads(file.read_text())
    sealed = base64.b64decode(key["data"])
    nonce, encrypted, tag = sealed[:_NONCE], sealed[_NONCE:-_TAG], sealed[-_TAG:]
    encryption, authentication = _derived(key, password)
    assert _sealed_with(authentication, nonce, encrypted) == tag
    plain = _in_counter_mode(encryption, nonce, encrypted)
    key |= _CHEAP
    encryption, authentication = _derived(key, password)
    encrypted = _in_counter_mode(encryption, nonce, plain)
    sealed = nonce + encrypted + _sealed_with(authentication, nonce, encrypted)
    content = json.dumps({**key, "data": base64.b64encode(sealed).decode()}).encode()
    file.unlink()
    file.with_name(hashlib.sha256(content).hexdigest()).write_bytes(content)


def _derived(key: dict[str, object], password: str) -> tuple[bytes, bytes]:
    """The keys of encryption and of authentication, 32 bytes each."""
    cost = {name.lower(): int(str(key[name])) for name in _CHEAP}
    salt = base64.b64decode(str(key["salt"]))
    made = hashlib.scrypt(password.encode(), salt=salt, **cost, maxmem=1 << 28, dklen=64)
    return made[:32], made[32:]


def _in_counter_mode(key: bytes, nonce: bytes, content: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(content)


def _sealed_with(key: bytes, nonce: bytes, content: bytes) -> bytes:
    """Poly1305-AES: the first half of the key encrypts the nonce, the second is Poly1305's own."""
    block = Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor().update(nonce)  # noqa: S305  # one block
    return Poly1305.generate_tag(key[16:] + block, content)
