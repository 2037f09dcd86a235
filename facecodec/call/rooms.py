"""Rooms of the signalling server: who may enter, and who is the other one. No network here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from facecodec.errors import RefusedError

T = TypeVar("T")
PEOPLE = 2
"""In a room at most."""


@dataclass(slots=True)
class _Room(Generic[T]):
    auth: bytes
    members: list[T] = field(default_factory=list)


class Rooms(Generic[T]):
    """All rooms. Whoever enters an empty one gives it its token; it ends when the last one leaves.

    Args:
        most: rooms open at once.
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._rooms: dict[str, _Room[T]] = {}

    def __len__(self) -> int:
        """Rooms with somebody in them."""
        return len(self._rooms)

    def enter(self, name: str, auth: str, member: T) -> T | None:
        """Let somebody in.

        Returns:
            The other person, if there is one.

        Raises:
            RefusedError: another token than the room's (``wrong-token``), two people are in it
                (``room-full``), or too many rooms are open (``server-full``).
        """
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self._most:
                raise RefusedError("server-full", "the server has no room left; try again later")
            room = self._rooms[name] = _Room(auth.encode())
        elif not hmac.compare_digest(room.auth, auth.encode()):
            raise RefusedError("wrong-token", f"room {name} is open, and has another token")
        elif len(room.members) >= PEOPLE:
            raise RefusedError("room-full", f"{PEOPLE} people are in room {name} already")
        room.members.append(member)
        return self.other(name, member)

    def leave(self, name: str, member: T) -> T | None:
        """Let somebody out; returns the other person, if there is one."""
        room = self._rooms.get(name)
        if room is None or member not in room.members:
            return None
        other = self.other(name, member)
        room.members.remove(member)
        if not room.members:
            del self._rooms[name]
        return other

    def other(self, name: str, member: T) -> T | None:
        """Give the other person in the room, if there is one."""
        room = self._rooms.get(name)
        others = [m for m in room.members if m is not member] if room is not None else []
        return others[0] if others else None
