"""A model that is a rule, behind the engine interface; and a task of a few words that it can or cannot do."""

import json
import re
from typing import Any

from pipelines.optimization.items import Item
from pipelines.optimization.template_registry import TemplateVersion
from pipelines.optimization.templates import Template, parse_template

TEMPLATE = """
template: orders
instructions: Write the order.
inputs: [{name: message, description: What the customer wrote.}]
outputs: [{name: order, description: The order in house style.}]
example_query: {message: 3 lamps from Oslo to Bern}
"""
CITIES = ("Oslo", "Bern", "Lyon", "Graz", "Cork", "Gent")
_MESSAGE = re.compile(r"(\d+) lamps from (\w+) to (\w+)")


def template(**changes: Any) -> Template:
    return parse_template(TEMPLATE, source="test").revised(**changes)


def version(content: Template | None = None) -> TemplateVersion:
    return TemplateVersion(template=content or template(), row={"template_id": "t-1", "version_index": 1})


def items(count: int) -> list[Item]:
    made = []
    for index in range(count):
        source, target = CITIES[index % 6], CITIES[(index + 1 + index // 6 % 5) % 6]
        message = f"{index + 1} lamps from {source} to {target}"
        made.append(Item.of(f"e{index:03}", {"message": message}, {"order": f"{source}>{target}"}))
    return made


class RuleEngine:
    """Answers in house style only when it was shown a demo in that style, or is told how; keeps every request.

    Without either it is right on every tenth message, so that bootstrapping finds something.
    """

    name = "rule"
    model = "rule-1"
    supports_response_schema = True
    supported_params = frozenset({"response_format", "temperature", "max_tokens", "seed"})

    def __init__(self, *, max_concurrency: int = 1, seen: dict[str, str] | None = None) -> None:
        self.max_concurrency = max_concurrency
        self.requests: list[Any] = []
        self.seen = seen
        self.fail_at: int | None = None

    def complete(self, request: Any) -> Any:
        from dspy.lm15 import Message, Response, Usage

        self.requests.append(request)
        if self.fail_at is not None and len(self.requests) > self.fail_at:
            raise KeyboardInterrupt
        key = repr((request.system, request.messages, request.config))
        is_cached = self.seen is not None and key in self.seen
        text = json.dumps(self._answer(request))
        if self.seen is not None:
            self.seen[key] = text
        usage = Usage(input_tokens=100, output_tokens=10)
        return Response(
            id="cache:x" if is_cached else None,
            model=request.model,
            message=Message.assistant(text),
            finish_reason="stop",
            usage=usage,
        )

    def cost_usd(self, response: Any) -> float | None:
        return 0.001

    def _answer(self, request: Any) -> dict[str, Any]:
        names = _properties(request)
        question = _MESSAGE.search(_text(request.messages[-1]))
        shown = any(">" in _text(message) for message in request.messages[:-1])
        told = "arrow" in str(request.system)
        values: dict[str, Any] = {}
        for name in names:
            if name == "order" and question is not None:
                number, source, target = question.groups()
                right = shown or told or int(number) % 10 == 0
                values[name] = f"{source}>{target}" if right else f"{number} lamps"
            elif "instruction" in name:
                values[name] = "Write source and target with an arrow between."
            else:
                values[name] = f"some words about {name}"
        return values


def _properties(request: Any) -> list[str]:
    form = request.config.response_format or {}
    schema = form.get("schema") or form.get("json_schema", {}).get("schema") or form
    return list(schema.get("properties", {}))


def _text(message: Any) -> str:
    return message.text or ""
