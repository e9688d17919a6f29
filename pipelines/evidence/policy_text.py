"""A policy in sentences, for whoever wants to know what a gate asks before it fails. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.evidence.policy import AUTO, ComparisonRule, Gate, Policy, RunFilter

_NOISE = "the noise between the repeats of a run, or without repeats between earlier runs of unchanged code,"

_DIVERGENCE = {
    "mean_kl": "The mean divergence KL(baseline || candidate) over the baseline's own tokens{of}",
    "other_top_ratio": "The share of the baseline's tokens{of} at which the candidate's backend prefers another",
    "shift_ratio": "The share of samples{of} that part by a shifted distribution",
}


def explain_policy(policy: Policy) -> str:
    """Every comparison and gate of a policy in plain sentences."""
    lines = ["Comparisons"]
    lines += [f"  {rule.name}: {explain_comparison(rule)}" for rule in policy.comparisons]
    lines.append("Gates")
    for gate in policy.gates:
        lines.append(f"  {gate.name}: {explain_gate(gate)}")
        judged = [rule.name for rule in policy.comparisons if gate.applies(rule.name)]
        lines.append(f"    Judges {_listed(judged)}.")
    if policy.unchanged_runs is not None:
        lines.append(
            f"Runs {_filter(policy.unchanged_runs)} count as runs of one code, whatever commit they name, when "
            "the noise between runs is the margin."
        )
    undecided = "is held back" if policy.on_inconclusive == "hold" else "is promoted all the same"
    lines.append(f"A run is promoted when every blocking gate passed; with an undecided one it {undecided}.")
    return "\n".join(lines)


def explain_comparison(rule: ComparisonRule) -> str:
    """Which runs a rule pairs."""
    who = f"Runs {_filter(rule.candidate)}"
    same = _listed(rule.matched_columns)
    if isinstance(rule.baseline, RunFilter):
        return (
            f"{who} are compared with the run {_filter(rule.baseline)} of the same {same} that started nearest on the "
            "same date, else the latest of an earlier one."
        )
    if rule.baseline == "previous":
        return f"{who} are compared with the latest successful run before them of the same {same}."
    return f"{who} are compared with the baseline that somebody designated for runs like them, of the same {same}."


def explain_gate(gate: Gate) -> str:
    """What a gate asks, and what a failure does."""
    return " ".join(_gate_sentences(gate))


def _gate_sentences(gate: Gate) -> Iterator[str]:
    margin = _NOISE if gate.margin == AUTO else f"{gate.margin:g}"
    of = f" of samples tagged {_listed(gate.sample_tag)}" if gate.sample_tag else ""
    if gate.family == "score_parity":
        worse = "below" if gate.is_higher_better else "above"
        yield f"The mean {gate.metric}{of} must not be more than {margin} {worse} the baseline's."
    elif gate.family == "latency_regression":
        name = "median" if gate.quantile == 0.5 else f"p{100 * gate.quantile:g}"  # noqa: PLR2004  # the default
        yield f"The {name} {gate.metric}{of} must not be more than {margin} times the baseline's."
    elif gate.family == "token_divergence":
        unit = " nats" if gate.unit == "nats" else ""
        yield f"{_DIVERGENCE[gate.metric].format(of=of)} must not be more than {margin}{unit}."
    else:
        yield f"The share of outputs{of} that fail or time out must not be more than {margin} above the baseline's."
    yield (
        f"It passes when the whole {gate.confidence:.0%} interval is inside, fails when all of it is beyond and that "
        "is more than chance brings among so many gates, and is inconclusive otherwise or with fewer than "
        f"{gate.minimum_n} samples."
    )
    if gate.confirm_on_rerun:
        yield (
            "A failure is inconclusive, unless the run before it of the same code and settings failed too, until a "
            "re-run decides: the first that fails or passes against the same baseline."
        )
    yield "A failure blocks promotion." if gate.severity == "block" else "A failure warns and blocks nothing."


def _filter(wanted: RunFilter) -> str:
    given = wanted.model_dump(exclude_none=True)
    if not given:
        return "of any kind"
    return "with " + " and ".join(f"{name} {_listed(values, joint=' or ')}" for name, values in given.items())


def _listed(words: Sequence[str], *, joint: str = " and ") -> str:
    if not words:
        return "nothing"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + joint + words[-1]
