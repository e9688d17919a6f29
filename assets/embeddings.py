"""Assets of the embeddings room."""

from assets.rooms import Room

ROOM = Room()
