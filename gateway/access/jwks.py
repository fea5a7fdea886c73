"""The public keys of an OpenID provider: which of them may verify what. Pure; `gateway/app` fetches them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from gateway.access.jwt import strict_object

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 64
REFETCH_INTERVAL_SECONDS = 60
_RSA_BITS = range(2048, 8193)
# In base64. Parsing a longer number into a key would take too long.
_MAX_NUMBER_LENGTH = 8192 // 6 + 2
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

KEY_OF_ALGORITHM: Mapping[str, str] = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
}  # fmt: skip
"""Algorithm → the one type of key that it is used with: a token never chooses how a key is interpreted."""


class PublicKey(NamedTuple):
    """`type` is a value of `KEY_OF_ALGORITHM`; `algorithm` is the only one it may be used with, "" any that fits."""

    key_id: str | None
    type: str
    algorithm: str
    key: object
    source: str
    """The key itself as text, to compare keys by."""

    def fits(self, algorithm: str) -> bool:
        return KEY_OF_ALGORITHM.get(algorithm) == self.type and self.algorithm in ("", algorithm)


def read_keys(document: bytes) -> tuple[PublicKey, ...]:
    """The keys of a JWKS that can verify signatures; all others are skipped.

    Raises `ValueError` for a document that is not a JWKS, is too large or has no such key.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"the key set is larger than {MAX_DOCUMENT_BYTES >> 10} KiB")
    listed = strict_object(document).get("keys")
    if not isinstance(listed, list):
        raise ValueError('the key set has no list "keys"')
    if len(listed) > MAX_KEYS:
        raise ValueError(f"the key set holds more than {MAX_KEYS} keys")
    found = tuple(key for each in listed if isinstance(each, dict) and (key := _read_key(each)) is not None)
    if not found:
        raise ValueError("the key set holds no key that could verify a signature")
    return found


def _read_key(jwk: dict[str, object]) -> PublicKey | None:
    key_id, use, operations, algorithm = (jwk.get(name) for name in ("kid", "use", "key_ops", "alg"))
    if not isinstance(key_id, str | None) or use not in (None, "sig") or _PRIVATE & jwk.keys():
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    if algorithm is not None and not (isinstance(algorithm, str) and algorithm in KEY_OF_ALGORITHM):
        return None
    read = _READERS.get(str(jwk.get("kty")))
    if read is None:
        return None
    try:
        key_type, key = read(jwk)
    except (PyJWTError, ValueError, TypeError, AttributeError, KeyError):
        return None
    found = PublicKey(key_id, key_type, str(algorithm or ""), key, str(sorted(jwk.items())))
    return found if any(map(found.fits, KEY_OF_ALGORITHM)) else None


def _rsa(jwk: dict[str, object]) -> tuple[str, object]:
    if max(len(str(jwk["n"])), len(str(jwk["e"]))) > _MAX_NUMBER_LENGTH:
        raise ValueError("too long")
    key = RSAAlgorithm.from_jwk(jwk)
    if key.key_size not in _RSA_BITS:
        raise ValueError("too short or too long")
    return "RSA", key


def _elliptic(jwk: dict[str, object]) -> tuple[str, object]:
    return str(jwk["crv"]), ECAlgorithm.from_jwk(jwk)


def _edwards(jwk: dict[str, object]) -> tuple[str, object]:
    return str(jwk["crv"]), OKPAlgorithm.from_jwk(jwk)


_READERS = {"RSA": _rsa, "EC": _elliptic, "OKP": _edwards}


class KeyRing:
    """The keys at one URL as last read, shared by all apps that name it.

    `current`: the last attempt to read them succeeded. `generation` increases when a key is removed, which invalidates
    every cached token that it verified.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.current = False
        self.generation = 0
        self._keys: tuple[PublicKey, ...] = ()
        self._last_attempt_at: int | None = None

    @property
    def loaded(self) -> bool:
        """Whether the keys were read at least once."""
        return bool(self._keys)

    def find(self, algorithm: str, key_id: str | None) -> tuple[PublicKey, ...]:
        """The keys that may verify a token with this header. Without a key id, only a key that is the only one to
        fit."""
        fitting = tuple(key for key in self._keys if key.fits(algorithm))
        if key_id is None:
            return fitting if len(fitting) == 1 else ()
        return tuple(key for key in fitting if key.key_id == key_id)

    def may_refetch(self, now: int) -> bool:
        """Whether the URL may be read for a missing key: not if it was read within the last minute."""
        return self._last_attempt_at is None or not 0 <= now - self._last_attempt_at < REFETCH_INTERVAL_SECONDS

    def tried(self, now: int) -> None:
        """Record that the URL is being read."""
        self._last_attempt_at = now

    def failed(self) -> None:
        """Record that the URL could not be read: the keys stay, but there may be newer ones."""
        self.current = False

    def replace(self, keys: Iterable[PublicKey]) -> bool:
        """Set the keys. Returns whether one was removed."""
        before = {key.source for key in self._keys}
        self._keys = tuple(keys)
        self.current = True
        gone = bool(before - {key.source for key in self._keys})
        self.generation += gone
        return gone
