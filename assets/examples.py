"""Assets of the examples room."""

from assets.rooms import Room

ROOM = Room()
