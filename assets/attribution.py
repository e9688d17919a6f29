"""Assets of the attribution room."""

from assets.rooms import Room

ROOM = Room()
