"""Assets of the databits room."""

from assets.rooms import Room

ROOM = Room()
