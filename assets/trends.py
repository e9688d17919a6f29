"""Assets of the trends room."""

from assets.rooms import Room

ROOM = Room()
