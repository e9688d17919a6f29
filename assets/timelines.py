"""Assets of the timelines room."""

from assets.rooms import Room

ROOM = Room()
