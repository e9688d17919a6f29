"""Assets of the experiments room."""

from assets.rooms import Room

ROOM = Room()
