"""The story of a night: it names every table, and none that does not exist."""

from __future__ import annotations

import re

from lake.tables import CONTRACTS
from studio.documentation import DOCS

PAGE = (DOCS / "how-it-works.md").read_text("utf-8")


def test_the_story_of_a_night_names_every_table() -> None:
    named = set(re.findall(r"`((?:bronze|silver|gold)\.\w+)`", PAGE))
    assert named == set(CONTRACTS)
