"""The demo of prompt optimisation: a task in a house style that no model knows, and examples of it.

Built here by rule, so that there are enough for a test that can show a difference. A small model cannot guess the
style from the instruction; from a few demos it can copy it. The texts are our own.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

from lake.store import Lake
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.importing import ensure_examples
from pipelines.optimization.template_registry import SavedTemplate, save_template
from pipelines.optimization.templates import Template, parse_template
from resources.config import DEFAULTS

TEMPLATE_FILE = DEFAULTS / "transport-orders.template.yaml"
EXAMPLE_COUNT = 320
# Of the rule below; another seed gives other messages.
_SEED = 7
_CITIES = (
    *("Oslo", "Bergen", "Lyon", "Porto", "Graz", "Turku", "Malmo", "Gent", "Bern", "Krakow"),
    *("Cork", "Leeds", "Lille", "Trier", "Basel", "Parma", "Delft", "Vigo", "Brno", "Riga"),
)
_GOODS = ("screws", "tiles", "cables", "pumps", "lamps", "chairs", "bricks", "filters", "valves", "ropes")
_PHRASES = (
    "Please move {count} {goods} from {source} to {target}.",
    "{count} {goods} go from {source} to {target} tomorrow.",
    "From {source} to {target}: {count} {goods}, as agreed.",
    "Take {count} {goods} in {source} and bring them to {target}.",
    "Can you pick up {count} {goods} at {source} and drop them in {target}?",
    "Our store in {source} sends {count} {goods} to {target}.",
)


def demo_template(path: Path = TEMPLATE_FILE) -> Template:
    """The template as it ships."""
    return parse_template(path.read_text(encoding="utf-8"), source=str(path))


def save_demo(lake: Lake, *, now: dt.datetime, author: str) -> SavedTemplate:
    """Put the demo's template and examples into the lake; a second call changes nothing."""
    ensure_examples(lake, demo_examples(), now=now, author=author)
    return save_template(lake, demo_template(), now=now, author=author, note="the demo that ships with Benchlake")


def demo_examples(count: int = EXAMPLE_COUNT) -> Iterator[ExampleDraft]:
    """Messages of customers with the order that the house makes of each, always the same ones."""
    rng = random.Random(_SEED)  # noqa: S311 - no secret
    name = demo_template().template
    for _ in range(count):
        source, target = rng.sample(_CITIES, 2)
        amount, goods = rng.randint(2, 99), rng.choice(_GOODS)
        message = rng.choice(_PHRASES).format(count=amount, goods=goods, source=source, target=target)
        yield ExampleDraft(
            inputs={"message": message},
            expected_output=f"{source}>{target} {amount} {goods}",
            function_name=name,
            tags=("demo",),
            source="benchlake demo",
            license="Apache-2.0",
            creator="benchlake",
        )
