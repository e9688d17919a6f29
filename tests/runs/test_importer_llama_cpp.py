from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.importers import detect_importer
from pipelines.runs.sources import Limits, identify, read_head
from tests.runs.declared.llama_cpp import answer, bench, bench_list, bench_table, pair
from tests.runs.formats import Tables, read_bytes, rules
from tests.runs.run_files import json_lines


def answers(tmp_path: Path, records: list[dict[str, Any]]) -> Tables:
    return read_bytes(tmp_path, "answers.jsonl", json_lines(records), kind="llama_cpp")


def benched(tmp_path: Path, records: list[dict[str, Any]]) -> Tables:
    return read_bytes(tmp_path, "bench.json", bench_list(records))


def outputs(tables: Tables) -> list[dict[str, Any]]:
    return tables["silver.outputs"].to_dicts()


def metrics(tables: Tables) -> dict[tuple[str, str, int], float]:
    return {
        (row["metric"], row["variant"], row["repeat_index"]): row["value"]
        for row in tables["silver.run_metrics"].to_dicts()
    }


def test_fields_of_an_answer_land(tmp_path: Path) -> None:
    record = pair(0) | {"started_at": "2026-03-01T23:59:59Z", "metadata": {"git_commit": "c0ffee", "suite": "capitals"}}
    tables = answers(tmp_path, [record])
    (row,) = outputs(tables)
    assert (row["prompt"], row["output"], row["status"]) == ("Capital number 0?", " City 0", "ok")
    assert (row["finish_reason"], row["input_token_count"], row["output_token_count"]) == ("length", 5, 2)
    # The server's 40 ms for the prompt and 20.5 ms for the answer.
    assert (row["time_to_first_token_ms"], row["latency_ms"], row["tags"]) == (40.0, 60.5, [])
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert (tokens["tokens"], tokens["token_ids"]) == ([" City", " 0"], [7, 8])
    assert (tokens["token_bytes"][0], tokens["logprobs"]) == (b" City", [-0.25, -1.5])
    assert tokens["top_k"] == [[{"token_id": 7, "token": " City", "logprob": -0.25}], None]
    run = tables["silver.runs"].row(0, named=True)
    assert (run["suite"], run["backend"], run["engine"]) == ("capitals", "llama.cpp", "llama.cpp")
    assert (run["model"], run["run_date"], run["code_version"]["commit"]) == (
        "tiny-1.Q4_1.gguf",
        dt.date(2026, 3, 1),
        "c0ffee",
    )
    assert run["fingerprint"]["logprobs_mode"] == "raw"
    parameters = {row["parameter"]: row["value"] for row in tables["silver.run_params"].to_dicts()}
    assert parameters == {
        "cache_prompt": "false",
        "n_predict": "2",
        "seed": "1",
        "stop": "[]",
        "temperature": "0.0",
        "top_k": "40",
    }
    # 5 tokens in 40 ms, 2 in 20.5 ms.
    assert metrics(tables) == {
        ("input_tokens_per_s", "", 0): 125.0,
        ("output_tokens_per_s", "", 0): pytest.approx(2 / 0.0205),
    }


def test_bare_answers_pair_by_their_prompts(tmp_path: Path) -> None:
    tables = answers(tmp_path, [answer(0), answer(1), answer(0, timings={"prompt_ms": 41.0, "predicted_ms": 20.0})])
    rows = outputs(tables)
    assert rows[0]["sample_id"] == rows[2]["sample_id"] != rows[1]["sample_id"]
    assert [row["repeat_index"] for row in rows] == [0, 0, 1]


def test_probabilities_after_sampling_are_told_apart(tmp_path: Path) -> None:
    entry = {
        "id": 7,
        "token": " City",
        "bytes": [32],
        "prob": 0.5,
        "top_probs": [{"id": 9, "token": "x", "prob": 0.25}],
    }
    tables = answers(tmp_path, [answer(0, tokens=[7], completion_probabilities=[entry])])
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert tokens["logprobs"] == [math.log(0.5)]
    assert tokens["top_k"] == [[{"token_id": 9, "token": "x", "logprob": math.log(0.25)}]]
    assert tables["silver.runs"]["fingerprint"][0]["logprobs_mode"] == "processed"


def test_probabilities_of_old_builds_are_read(tmp_path: Path) -> None:
    entry = {"content": " City", "probs": [{"tok_str": " City", "prob": 0.5}, {"tok_str": " Town", "prob": 0.0}]}
    record = {
        "content": " City",
        "generation_settings": {"temp": 0.0},
        "stopped_limit": True,
        "tokens_predicted": 1,
        "completion_probabilities": [entry],
    }
    tables = answers(tmp_path, [record])
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert (tokens["tokens"], tokens["token_ids"], tokens["logprobs"]) == ([" City"], [None], [math.log(0.5)])
    # A probability of 0 has no logarithm.
    assert tokens["top_k"] == [[{"token_id": None, "token": " City", "logprob": math.log(0.5)}]]
    assert outputs(tables)[0]["finish_reason"] == "length"


def test_tokens_that_only_begin_a_character_are_kept_by_their_ids(tmp_path: Path) -> None:
    # The server reports the four bytes of one character under the id of the last of its two tokens.
    entry = {"id": 12, "token": "🙂", "bytes": list("🙂".encode()), "logprob": -0.5, "top_logprobs": []}
    tables = answers(tmp_path, [answer(0, tokens=[11, 12], completion_probabilities=[entry])])
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert tokens["token_ids"] == [11, 12]
    assert tokens["tokens"] == ["", "🙂"]
    assert tokens["logprobs"] == [None, -0.5]
    assert tokens["token_bytes"] == [None, "🙂".encode()]


def test_errors_are_outputs_of_the_model_that_the_file_names(tmp_path: Path) -> None:
    error = {"code": 400, "message": "the prompt is too long", "type": "exceed_context_size_error"}
    failed = {"request": {"prompt": "x", "n_predict": 1}, "response": {"error": error}}
    late = {"request": {"prompt": "y", "n_predict": 1}, "response": {"error": {"code": 504, "message": "too late"}}}
    tables = answers(tmp_path, [failed, pair(0), late])
    rows = outputs(tables)
    assert [row["status"] for row in rows] == ["error", "ok", "timeout"]
    assert (rows[0]["error_message"], rows[0]["output"], rows[0]["latency_ms"]) == (
        "the prompt is too long",
        None,
        None,
    )
    assert tables["silver.runs"]["model"].to_list() == ["tiny-1.Q4_1.gguf"]


def test_several_prompts_in_one_request_are_samples_each(tmp_path: Path) -> None:
    record = {"request": {"prompt": ["a", "b"], "n_predict": 2}, "response": [answer(0), answer(1) | {"index": 1}]}
    assert [row["prompt"] for row in outputs(answers(tmp_path, [record]))] == ["Capital number 0?", "Capital number 1?"]


def test_settings_that_vary_are_named_and_digests_do_not_depend_on_order(tmp_path: Path) -> None:
    cool, warm = pair(0), pair(1, generation_settings={"temperature": 0.8, "top_k": 40})
    first, second = answers(tmp_path / "a", [cool, warm]), answers(tmp_path / "b", [warm, cool])
    digests = {tables["silver.runs"]["fingerprint"][0]["sampling_digest"] for tables in (first, second)}
    assert len(digests) == 1
    parameters = json.loads(first["silver.runs"]["parameters"][0])
    assert parameters["varying"] == ["n_predict", "seed", "stop", "temperature"]
    assert parameters["top_k"] == 40
    alone = answers(tmp_path / "c", [cool])["silver.runs"]["fingerprint"][0]["sampling_digest"]
    assert alone not in digests


def test_a_prompt_from_the_cache_is_tagged(tmp_path: Path) -> None:
    timings = {"cache_n": 4, "prompt_n": 1, "prompt_ms": 9.0, "predicted_ms": 20.0}
    (row,) = outputs(answers(tmp_path, [answer(0, timings=timings)]))
    assert (row["tags"], row["input_token_count"]) == (["cached_prompt"], 5)


def test_a_piece_of_a_stream_is_no_answer(tmp_path: Path) -> None:
    tables = answers(tmp_path, [answer(0, stop=False), answer(1)])
    assert [row["status"] for row in outputs(tables)] == ["cancelled", "ok"]
    assert rules(tables) == ["stream"]


@pytest.mark.parametrize(
    "record",
    [
        {
            "object": "chat.completion",
            "model": "m",
            "choices": [{"message": {"content": "x"}}],
            "timings": {"prompt_n": 1},
        },
        {"content": "x", "role": "user"},
        {"request": {"model": "m", "messages": []}, "response": {"error": {"message": "x"}}},
    ],
)
def test_other_answers_are_not_this_importers(tmp_path: Path, record: dict[str, Any]) -> None:
    (tmp_path / "x.jsonl").write_bytes(json_lines([record]))
    file = identify(tmp_path / "x.jsonl", root=tmp_path.resolve(), limits=Limits())
    found = detect_importer(read_head(file, limits=Limits()))
    assert found is None or found.source_kind != "llama_cpp"


def test_fields_of_a_benchmark_land(tmp_path: Path) -> None:
    tables = benched(tmp_path, [bench(12), bench(0, n_prompt=0, n_gen=32, avg_ts=25.0, samples_ts=[25.0])])
    found = metrics(tables)
    assert found["input_tokens_per_s", "pp112", 0] == 400.5
    assert [found["input_tokens_per_s", "pp112 sample", index] for index in (0, 1)] == [401.75, 399.25]
    assert found["output_tokens_per_s", "tg32", 0] == 25.0
    assert found["wall_time_ms", "pp112", 0] == 250.0
    assert found["model_size_bytes", "", 0] == 91_000_000
    assert found["parameter_count", "", 0] == 134_515_008
    row = tables["silver.run_metrics"].filter(tables["silver.run_metrics"]["variant"] == "pp112").row(0, named=True)
    assert (row["standard_deviation"], row["sample_count"], row["unit"]) == (1.25, 2, "tokens/s")
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["model"], run["engine_version"]) == ("llama-bench", "tiny-1.Q4_1.gguf", "b5000-0123abcd")
    assert (run["code_version"]["commit"], run["fingerprint"]["hardware"]) == ("0123abcd", "Any CPU")
    assert run["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert json.loads(run["parameters"]) == {
        "model_type": "llama 135M Q4_1",
        "n_batch": 2048,
        "n_gpu_layers": 0,
        "n_threads": 4,
        "type_k": "f16",
    }


@pytest.mark.parametrize(
    ("change", "metric", "variant"),
    [
        ({"n_prompt": 512}, "input_tokens_per_s", "pp512"),
        ({"n_prompt": 0, "n_gen": 128}, "output_tokens_per_s", "tg128"),
        ({"n_prompt": 512, "n_gen": 128}, "total_tokens_per_s", "pp512+tg128"),
        ({"n_prompt": 0, "n_gen": 32, "n_depth": 4096}, "output_tokens_per_s", "tg32@d4096"),
    ],
)
def test_a_test_is_named_as_the_tool_names_it(
    tmp_path: Path, change: dict[str, int], metric: str, variant: str
) -> None:
    assert (metric, variant, 0) in metrics(benched(tmp_path, [bench(0, **change)]))


def test_settings_are_runs_and_suites_of_their_own(tmp_path: Path) -> None:
    tables = benched(tmp_path, [bench(0), bench(1), bench(0, n_threads=8), bench(1, n_threads=8)])
    assert tables["silver.runs"]["suite"].to_list() == ["llama-bench n_threads=4", "llama-bench n_threads=8"]
    digests = {fingerprint["suite_digest"] for fingerprint in tables["silver.runs"]["fingerprint"]}
    assert len(digests) == 2
    assert tables["silver.run_metrics"]["run_id"].n_unique() == 2


def test_a_history_that_grows_keeps_its_runs(tmp_path: Path) -> None:
    first = [bench(0), bench(1)]
    second = [bench(index, test_time="2026-03-02T10:00:00Z") for index in (0, 1)]
    before = read_bytes(tmp_path / "a", "bench.jsonl", json_lines(first))["silver.runs"]
    after = read_bytes(tmp_path / "b", "bench.jsonl", json_lines([*first, *second]))["silver.runs"]
    assert after["run_id"].to_list()[0] == before["run_id"][0]
    assert [str(date) for date in after["run_date"]] == ["2026-03-01", "2026-03-02"]


def test_the_table_says_what_the_list_says(tmp_path: Path) -> None:
    records = [bench(0), bench(1, n_gen=5)]
    as_list = benched(tmp_path / "a", records)
    as_table = read_bytes(tmp_path / "b", "bench.csv", bench_table(records))
    expected = {key: value for key, value in metrics(as_list).items() if not key[1].endswith("sample")}
    assert metrics(as_table) == expected
    for column in ("suite", "model", "engine_version", "parameters", "started_at", "run_id"):
        assert as_table["silver.runs"][column].equals(as_list["silver.runs"][column])


# As llama-perplexity prints it; the numbers are made up.
REPORT = """\
build: 5000 (0123abcd) with cc for x86_64-linux-gnu
llama_model_loader: loaded meta data with 30 pairs from /models/tiny-1.Q4_0.gguf (version GGUF V3)
kl_divergence: computing over 2 chunks, n_ctx=512, batch_size=2048, n_seq=4

chunk             PPL               KL Divergence
   1      12.0000 ±    3.0000       0.02000 ±    0.00100

====== Perplexity statistics ======
Mean PPL(Q)                   :  12.500000 ±   2.100000
Mean PPL(base)                :  12.250000 ±   2.000000
Cor(ln(PPL(Q)), ln(PPL(base))):  99.50%
Mean PPL(Q)/PPL(base)         :   1.020408 ±   0.003000

====== KL divergence statistics ======
Mean    KLD:   0.021000 ±   0.000500
Maximum KLD:   1.250000
99.9%   KLD:   0.900000
Median  KLD:   0.011000

====== Token probability statistics ======
Mean    Δp: -0.500 ± 0.100 %
RMS Δp    :  3.250 ± 0.150 %
Same top p: 92.500 ± 1.250 %
"""


def test_a_report_of_logits_becomes_metrics(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "report.txt", REPORT.encode())
    rows = {(row["metric"], row["variant"]): row for row in tables["silver.run_metrics"].to_dicts()}
    values = {key: (row["value"], row["standard_error"], row["unit"]) for key, row in rows.items()}
    assert values["perplexity", ""] == (12.5, 2.1, "1")
    assert values["perplexity", "base"] == (12.25, 2.0, "1")
    assert values["perplexity_ratio", ""] == (1.020408, 0.003, "ratio")
    assert values["kl_divergence", "mean"] == (0.021, 0.0005, "nats")
    assert values["kl_divergence", "max"] == (1.25, None, "nats")
    assert values["kl_divergence", "p99.9"] == (0.9, None, "nats")
    assert values["same_top_token_ratio", ""] == (pytest.approx(0.925), pytest.approx(0.0125), "ratio")
    assert values["token_probability_change_ratio", "rms"][0] == pytest.approx(0.0325)
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["model"], run["engine_version"], run["status"]) == ("tiny-1.Q4_0.gguf", "b5000-0123abcd", "success")
    assert rules(tables) == []


def test_a_report_without_results_is_no_success(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "report.txt", REPORT[: REPORT.index("======")].encode())
    assert tables["silver.runs"]["status"].to_list() == ["started"]
    assert rules(tables) == ["results"]


def test_a_plain_perplexity_is_read(tmp_path: Path) -> None:
    text = "perplexity: calculating perplexity over 2 chunks\n[1]4.5,[2]5.1,\nFinal estimate: PPL = 5.1234 +/- 0.0321\n"
    tables = read_bytes(tmp_path, "report.txt", text.encode())
    row = tables["silver.run_metrics"].row(0, named=True)
    assert (row["metric"], row["value"], row["standard_error"]) == ("perplexity", 5.1234, 0.0321)
