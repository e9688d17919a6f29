"""Assets of the optimization room."""

from assets.rooms import Room

ROOM = Room()
