import pytest

from lake.errors import UserError
from lake.tables.evidence import GATE_FAMILIES
from pipelines.evidence.policy import load_policy, parse_policy
from resources.config import DEFAULTS
from tests.evidence.rows import POLICY, policy

HEAD = "version: 1\ncomparisons:\n  - {name: previous, baseline: previous}\n"


def refused(text: str) -> str:
    with pytest.raises(UserError) as error:
        parse_policy(text, source="gates.yaml")
    return str(error.value)


def test_the_shipped_policy_is_valid_and_covers_every_family():
    shipped = load_policy(DEFAULTS / "gates.yaml")
    assert [rule.name for rule in shipped.comparisons] == [
        "transformers-vs-llama.cpp",
        "previous-night",
        "designated-baseline",
    ]
    assert {gate.family for gate in shipped.gates} == set(GATE_FAMILIES)
    assert shipped.on_inconclusive == "hold"


def test_defaults_are_filled_in():
    gates = policy().gates
    assert [gate.metric for gate in gates] == ["score", "latency_ms", "failure_rate"]
    assert [gate.unit for gate in gates] == ["score", "ratio", "ratio"]
    assert (gates[0].confidence, gates[0].severity, gates[0].applies_to) == (0.95, "block", None)


def test_the_digest_is_of_what_is_said_not_of_how():
    spelled_out = POLICY.replace("minimum_n: 5}", "minimum_n: 5, confidence: 0.95}", 1) + "# a comment\n"
    assert policy(spelled_out).digest == policy().digest
    assert policy(POLICY.replace("margin: 0.1,", "margin: 0.2,")).digest != policy().digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "gates: [{name: g, family: score_parity, margn: 0.1}]", ["gates.0.margn", "Did you mean 'margin'?"]),
        (HEAD + "gates: [{name: g, family: score, margin: 0.1}]", ["gates.0.family", "'score_parity'", "'score'"]),
        (HEAD + "gates: [{name: g, family: score_parity}]", ["gates.0.margin", "required"]),
        (HEAD + "gates: [{name: g, family: score_parity, margin: -1}]", ["gates.0.margin", "greater than", "-1"]),
        (HEAD + "gates: [{name: g, family: score_parity, margin: .nan}]", ["gates.0.margin", "finite"]),
        (HEAD + "gates: [{name: g, family: latency_regression, margin: 0.1}]", ["at least 1", "0.1"]),
        (HEAD + "gates: [{name: g, family: failure_rate, margin: 2}]", ["at most 1", "2"]),
        (
            HEAD + "gates: [{name: g, family: latency_regression, margin: 1.1, metric: speed}]",
            ["'speed'", "latency_ms, time_to_first_token_ms"],
        ),
        (
            HEAD + "gates: [{name: g, family: score_parity, margin: 0, applies_to: [last]}]",
            ["gates.g.applies_to", "'last'", "known: previous"],
        ),
        (HEAD + "gates: [{name: g, family: score_parity, margin: 0, severity: stop}]", ["'block' or 'warn'", "'stop'"]),
        (HEAD + "gates: [{name: g, family: score_parity, margin: 0, confidence: 95}]", ["less than 1", "95"]),
        (HEAD + "  - {name: previous, baseline: previous}", ["comparisons", "'previous' is used more than once"]),
        ("version: 2\ncomparisons: []", ["version", "2", "comparisons"]),
        ("version: 1\ncomparisons: [{name: c, baseline: last}]", ["comparisons.0.baseline", "'previous'"]),
        ("version: 1\ncomparisons: [{name: c, baseline: {backnd: b}}]", ["backnd", "Did you mean 'backend'?"]),
        ("- just\n- a list", ["version, comparisons and gates", "list"]),
        ("version: [1", ["not valid YAML"]),
        ("", ["version, comparisons and gates"]),
    ],
)
def test_errors_name_file_key_value_and_what_is_allowed(text, says):
    message = refused(text)
    for part in ["gates.yaml", *says]:
        assert part in message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_policy(tmp_path / "nowhere.yaml")


def test_yaml_cannot_make_objects():
    assert "not valid YAML" in refused("version: !!python/object/apply:os.getpid []")


def test_filters_take_one_value_or_several_and_any_tag():
    rule = policy(
        "version: 1\ncomparisons: [{name: c, candidate: {backend: [a, b], tag: nightly}, baseline: previous}]"
    ).comparisons[0]
    run = {"suite": "s", "backend": "b", "model": "m", "engine": None, "tags": ["nightly", "x"]}
    assert rule.candidate.admits(run)
    assert not rule.candidate.admits(run | {"tags": ["x"]})
    assert not rule.candidate.admits(run | {"backend": "c"})
