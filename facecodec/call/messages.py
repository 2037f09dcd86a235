"""Messages of the signalling socket: JSON objects, one to a text frame, checked field by field.

| ``type`` | from | fields |
|---|---|---|
| ``join`` | client | ``version`` 1, ``room``, ``auth`` |
| ``joined`` | server | ``peer``: somebody is there already, and waits for an offer |
| ``peer-joined``, ``peer-left`` | server | none |
| ``offer``, ``answer`` | either, passed on | ``sdp``, ``mac`` |
| ``bye`` | client | none |
| ``error`` | server | ``code``, ``message`` |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from facecodec.errors import TransportError

VERSION = 1
MESSAGE_BYTES = 32 << 10
"""A message is no longer than this in UTF-8."""
SDP_LONGEST = 24 << 10
"""Characters of a session description at most."""
_ROOM = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CODE = re.compile(r"[a-z-]{1,32}")


@dataclass(frozen=True, slots=True)
class Join:
    """A client wants to enter.

    Attributes:
        room: 1 to 64 letters, digits, ``.``, ``_`` or ``-``.
        auth: 64 hexadecimal digits of ``RoomKey``.
    """

    room: str
    auth: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The client is in.

    Attributes:
        peer: the other person is there, and waits for an offer.
    """

    peer: bool


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """The other person has come, and will send an offer."""


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The other person has left, or the connection to them was lost."""


@dataclass(frozen=True, slots=True)
class Bye:
    """The client leaves."""


@dataclass(frozen=True, slots=True)
class Description:
    """An offer or answer (RFC 8829).

    Attributes:
        kind: ``offer`` or ``answer``.
        sdp: the description, at most 24 KiB.
        mac: 64 hexadecimal digits of ``RoomKey.sign``.
    """

    kind: str
    sdp: str
    mac: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server refuses, and closes.

    Attributes:
        code: for programs, such as ``room-full``.
        message: for people.
    """

    code: str
    message: str


Message = Join | Joined | PeerJoined | PeerLeft | Bye | Description | Refusal

_Fields = dict[str, object]


def room_name(text: object) -> str:
    """Check the name of a room.

    Raises:
        TransportError: it is none.
    """
    return _text({"room": text}, "room", _ROOM)


def parse_message(text: str) -> Message:
    """Read a message.

    Raises:
        TransportError: it is none; says which field.
    """
    if len(text) > MESSAGE_BYTES or len(text.encode("utf-8", "replace")) > MESSAGE_BYTES:
        raise TransportError(f"message of more than {MESSAGE_BYTES} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise TransportError("message is no JSON") from err
    if not isinstance(fields, dict):
        raise TransportError("message is no JSON object")
    kind = fields.pop("type", None)
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parser is None:
        raise TransportError("message has no known type")
    message, names = parser(fields)
    extra = fields.keys() - names
    if extra:
        raise TransportError(f"{kind} message has {len(extra)} unknown fields")
    return message


def write_message(message: Message) -> str:
    """Write a message; the inverse of :func:`parse_message`."""
    fields: _Fields
    if isinstance(message, Join):
        fields = {"type": "join", "version": VERSION, "room": message.room, "auth": message.auth}
    elif isinstance(message, Joined):
        fields = {"type": "joined", "peer": message.peer}
    elif isinstance(message, Description):
        fields = {"type": message.kind, "sdp": message.sdp, "mac": message.mac}
    elif isinstance(message, Refusal):
        fields = {"type": "error", "code": message.code, "message": message.message}
    else:
        fields = {"type": {PeerJoined: "peer-joined", PeerLeft: "peer-left", Bye: "bye"}[type(message)]}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _text(fields: _Fields, name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise TransportError(f"{name} is not of the form {pattern.pattern}")
    return value


def _free_text(fields: _Fields, name: str, longest: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or _CONTROL.search(value):
        raise TransportError(f"{name} is no text of 1 to {longest} characters")
    return value


def _join(fields: _Fields) -> tuple[Message, set[str]]:
    version = fields.get("version")
    if version != VERSION or isinstance(version, bool):
        raise TransportError(f"version is not {VERSION}: both ends need the same facecodec")
    return Join(_text(fields, "room", _ROOM), _text(fields, "auth", _DIGEST)), {"version", "room", "auth"}


def _joined(fields: _Fields) -> tuple[Message, set[str]]:
    peer = fields.get("peer")
    if not isinstance(peer, bool):
        raise TransportError("peer is neither true nor false")
    return Joined(peer), {"peer"}


def _description(kind: str) -> Callable[[_Fields], tuple[Message, set[str]]]:
    def parse(fields: _Fields) -> tuple[Message, set[str]]:
        sdp = _free_text(fields, "sdp", SDP_LONGEST)
        return Description(kind, sdp, _text(fields, "mac", _DIGEST)), {"sdp", "mac"}

    return parse


def _refusal(fields: _Fields) -> tuple[Message, set[str]]:
    return Refusal(_text(fields, "code", _CODE), _free_text(fields, "message", 500)), {"code", "message"}


_PARSERS: dict[str, Callable[[_Fields], tuple[Message, set[str]]]] = {
    "join": _join,
    "joined": _joined,
    "peer-joined": lambda fields: (PeerJoined(), set()),
    "peer-left": lambda fields: (PeerLeft(), set()),
    "bye": lambda fields: (Bye(), set()),
    "offer": _description("offer"),
    "answer": _description("answer"),
    "error": _refusal,
}
