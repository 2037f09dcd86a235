"""What a room's token is used for, without ever giving it to the server.

The token is spread into two keys by HKDF (RFC 5869, SHA-256). The server sees the first, which says who may
enter. The second signs session descriptions: they hold the fingerprints of the DTLS certificates, so a server
that would put itself between the two ends is found out, as far as the token cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from facecodec.errors import ConfigError

TOKEN_LONGEST = 256
"""Characters of a token at most."""


def new_token() -> str:
    """Make a token that cannot be guessed: 128 random bits in URL-safe base64."""
    return secrets.token_urlsafe(16)


class RoomKey:
    """The keys of a room.

    Args:
        room: name of the room.
        token: shared by the two people, 1 to 256 characters.

    Attributes:
        auth: what the server compares, 64 hexadecimal digits.

    Raises:
        ConfigError: the token is empty or too long.
    """

    def __init__(self, room: str, token: str) -> None:
        if not 1 <= len(token) <= TOKEN_LONGEST:
            raise ConfigError("token", f"{len(token)} characters", f"1 to {TOKEN_LONGEST} characters")
        extracted = hmac.digest(b"facecodec call 1", token.encode(), hashlib.sha256)
        self.auth = _expand(extracted, f"enter {room}").hex()
        self._signing = _expand(extracted, f"sign {room}")

    def sign(self, kind: str, sdp: str) -> str:
        """Sign a session description: 64 hexadecimal digits.

        Args:
            kind: ``offer`` or ``answer``; one cannot be taken for the other.
            sdp: the description.
        """
        return hmac.digest(self._signing, f"{kind}\0{sdp}".encode(), hashlib.sha256).hex()

    def verify(self, kind: str, sdp: str, mac: str) -> bool:
        """Say, in constant time, whether ``mac`` is :meth:`sign`'s."""
        return hmac.compare_digest(self.sign(kind, sdp).encode(), mac.encode())


def _expand(key: bytes, info: str) -> bytes:
    """HKDF's second step, one block of it."""
    return hmac.digest(key, info.encode() + b"\x01", hashlib.sha256)
