"""Do the gates cry wolf, and would they hear a real one? Published in docs/trust.md.

Real outputs and latencies: the embedded model answers the shipped suite a dozen times at a temperature above 0 (once,
kept in .benchlake/bench). An A/A pair is two different repeats of every sample drawn at random, so nothing but the
model's own noise tells its sides apart. Floor: the nominal false-alarm rate, half of one minus the confidence.
`--trials N` and `--repeats N` change the size.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from lake.store import Lake
from pipelines.evidence.gates import judge_together, lay_side_by_side
from pipelines.evidence.policy import Gate, load_policy
from pipelines.evidence.statistics import wilson
from pipelines.evidence.verdicts import JUDGED_COLUMNS
from pipelines.runs.run_lines import CodeVersion
from pipelines.runs.steps import import_paths
from pipelines.runs.suite_runs import run_suite
from resources.backends import open_backend
from resources.config import DEFAULTS, Config
from resources.installation import Installation

PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"
SEED = 20_261_121
TEMPERATURE = 0.7
Injection = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def answer(installation: Installation, repeats: int) -> pl.DataFrame:
    """Outputs of the shipped suite, asked `repeats` times; what was answered before is not asked again."""
    config = Config.load(DEFAULTS)
    sampling = installation.suite.sampling.model_copy(
        update={"temperature": TEMPERATURE, "seed": 1, "top_k_logprobs": 0}
    )
    suite = installation.suite.model_copy(update={"sampling": sampling})
    folder = installation.state.home / "bench" / "calibration"
    name = "llama.cpp"

    def tell(done: int, total: int, _label: str) -> None:
        print(f"\r  asking the model: {done} of {total}", end="", file=sys.stderr, flush=True)

    run_suite(
        suite,
        lambda: open_backend(name, config.backends[name], installation.state.home),
        run_id=f"calibration-{repeats}-{suite.digest[:12]}",
        backend_name=name,
        repeats=repeats,
        work=folder / "work",
        landing=folder / "landing",
        code_version=CodeVersion(),
        tags=[],
        clock=lambda: dt.datetime.now(dt.UTC),
        progress=tell,
    )
    print(file=sys.stderr)
    lake = Lake.open(folder / "lake")
    import_paths(lake, [folder / "landing"], now=dt.datetime.now(dt.UTC))
    run_id = lake.sql(f"select run_id from silver.runs where run_id = 'calibration-{repeats}-{suite.digest[:12]}'")[
        "run_id"
    ][0]
    return lake.read("silver.outputs", columns=list(JUDGED_COLUMNS), where={"run_id": run_id})


def draw_pair(outputs: list[pl.DataFrame], rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two runs of one repeat: for every sample two different repeats, drawn at random."""
    samples, repeats = outputs[0].height, len(outputs)
    order = np.argsort(rng.random((samples, repeats)), axis=1)[:, :2]
    stacked = pl.concat(outputs)
    sides = [stacked[(order[:, side] * samples + np.arange(samples)).tolist()] for side in (0, 1)]
    first, second = (side.with_columns(repeat_index=pl.lit(0, dtype=pl.Int32)) for side in sides)
    return first, second


def share_failing(
    gates: tuple[Gate, ...], outputs: list[pl.DataFrame], *, trials: int, inject: Injection | None = None
) -> dict[str, float]:
    """Share of drawn pairs in which a gate fails, by gate and for `any` of them, and in which every gate passes."""
    rng = np.random.default_rng(SEED)
    failed = dict.fromkeys([*(gate.name for gate in gates), "any", "all pass"], 0)
    for _ in range(trials):
        candidate, baseline = draw_pair(outputs, rng)
        if inject is not None:
            candidate = inject(candidate, rng)
        found = judge_together(gates, lay_side_by_side(candidate, baseline), [()] * len(gates))
        verdicts = [judgement.verdict for judgement in found]
        for gate, verdict in zip(gates, verdicts, strict=True):
            failed[gate.name] += verdict == "fail"
        failed["any"] += "fail" in verdicts
        failed["all pass"] += set(verdicts) == {"pass"}
    return {name: count / trials for name, count in failed.items()}


def slower(ratio: float) -> Injection:
    return lambda rows, _rng: rows.with_columns(pl.col("latency_ms") * ratio)


def wrong(share: float) -> Injection:
    """Of all answers, this share loses its scores."""

    def inject(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        spoiled = pl.Series(rng.random(rows.height) < share)
        zero = pl.col("scores").list.eval(pl.struct(pl.element().struct.field("scorer"), pl.lit(0.0).alias("value")))
        return rows.with_columns(pl.when(spoiled).then(zero).otherwise("scores").alias("scores"))

    return inject


def failing(share: float) -> Injection:
    def inject(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        broken = pl.Series(rng.random(rows.height) < share)
        return rows.with_columns(
            pl.when(broken).then(pl.lit("error")).otherwise("status").alias("status"),
            pl.when(broken).then(pl.lit([], dtype=rows.schema["scores"])).otherwise("scores").alias("scores"),
        )

    return inject


POWER: dict[str, tuple[tuple[str, Injection], ...]] = {
    "latency_regression": tuple((f"{ratio:g} times slower", slower(ratio)) for ratio in (1.1, 1.25, 1.5, 2.0, 3.0)),
    "score_parity": tuple((f"{share:.0%} of answers spoiled", wrong(share)) for share in (0.1, 0.2, 0.4, 0.6, 0.8)),
    "failure_rate": tuple((f"{share:.0%} of requests fail", failing(share)) for share in (0.05, 0.1, 0.2, 0.3, 0.5)),
}


def shown(share: float, trials: int) -> str:
    low, high = wilson(round(share * trials), trials, confidence=0.95)
    return f"{share:.2%} [{low:.2%}, {high:.2%}]"


def report(gates: tuple[Gate, ...], outputs: list[pl.DataFrame], trials: int) -> str:
    nominal = (1 - gates[0].confidence) / 2
    strict = tuple(gate.model_copy(update={"margin": 1.0 if gate.is_ratio else 0.0, "minimum_n": 2}) for gate in gates)
    size = f"{outputs[0].height} samples, {len(outputs)} repeats, {trials} A/A pairs"
    lines = [
        f"{size}; llama.cpp, temperature {TEMPERATURE}. Nominal rate of false alarms of a policy: {nominal:.1%}.",
        "",
        "| A/A pairs in which | shipped margins | margins of nothing at all |",
        "|---|---|---|",
    ]
    shipped_rates = share_failing(gates, outputs, trials=trials)
    strict_rates = share_failing(strict, outputs, trials=trials)
    for name in [*(gate.name for gate in gates), "any"]:
        what = "**any gate fails**" if name == "any" else f"`{name}` fails"
        lines.append(f"| {what} | {shown(shipped_rates[name], trials)} | {shown(strict_rates[name], trials)} |")
    lines.append(
        f"| every gate passes | {shown(shipped_rates['all pass'], trials)} "
        f"| {shown(strict_rates['all pass'], trials)} |"
    )
    lines += ["", "| injected into the candidate | gate | fails | passes all |", "|---|---|---|---|"]
    few = max(100, trials // 5)
    for name, injections in POWER.items():
        for label, injection in injections:
            rates = share_failing(gates, outputs, trials=few, inject=injection)
            lines.append(f"| {label} | `{name}` | {rates[name]:.0%} | {rates['all pass']:.0%} |")
    worst = wilson(round(strict_rates["any"] * trials), trials, confidence=0.95).low
    lines += ["", f"False alarms are {'within' if worst <= nominal else 'ABOVE'} the nominal rate."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=12)
    options, _ = parser.parse_known_args()
    installation = Installation(folder=Path.cwd())
    outputs = answer(installation, options.repeats)
    parts = [part.sort("sample_id") for part in outputs.partition_by("repeat_index")]
    found = report(load_policy(DEFAULTS / "gates.yaml").gates, parts, options.trials)
    print(found)
    page = PAGE.read_text("utf-8")
    PAGE.write_text(
        re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{found}\n{END}", page, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
