from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.sources import Limits
from tests.runs.formats import Tables, raw_text, read, read_bytes, rules, sample_ids, shared
from tests.runs.serving_files import vllm_result


def one(folder: Path, **changes: Any) -> Tables:
    return read_bytes(folder, "serving.json", json.dumps(vllm_result(0, **changes)).encode())


def metrics(tables: Tables) -> dict[tuple[str, str], float]:
    rows = tables["silver.run_metrics"].to_dicts()
    return {(row["metric"], row["variant"]): row["value"] for row in rows}


def test_settings_land(tmp_path: Path) -> None:
    tables = one(tmp_path)
    run = tables["silver.runs"].row(0, named=True)
    assert (run["suite"], run["backend"], run["model"], run["engine"]) == ("rates-0", "vllm", "org/tiny", "vllm")
    # The date is written when the benchmark is over, 1.5 s after its start.
    assert run["ended_at"] == dt.datetime(2026, 3, 1, 10, 20, 30, tzinfo=dt.UTC)
    assert run["ended_at"] - run["started_at"] == dt.timedelta(seconds=1.5)
    assert run["code_version"] == {
        "commit": "c0ffee",
        "branch": "main",
        "pull_request": "12",
        "is_dirty": None,
        "repository_url": None,
    }
    fingerprint = run["fingerprint"]
    assert (fingerprint["tokenizer"], fingerprint["concurrency"], fingerprint["hardware"]) == ("org/tiny", 2, "L4")
    assert run["tags"] == ["nightly", "serving"]
    parameters = {row["parameter"]: row for row in tables["silver.run_params"].to_dicts()}
    assert parameters["temperature"]["number"] == 0
    assert parameters["request_rate"]["value"] == "inf"
    # What has a column of its own is no parameter, and neither is a result.
    assert not {"git_commit", "branch", "pr", "tags", "completed", "mean_ttft_ms", "date"} & parameters.keys()


def test_statistics_have_one_name_and_unit(tmp_path: Path) -> None:
    tables = one(tmp_path)
    found = metrics(tables)
    assert found["time_to_first_token_ms", "mean"] == 375.0
    assert found["time_to_first_token_ms", "p99.9"] == 499.9
    assert found["time_per_output_token_ms", "mean"] == 250.0
    assert found["inter_token_latency_ms", "mean"] == 250.0
    assert found["latency_ms", "mean"] == 750.0
    assert (found["requests_per_s", ""], found["output_tokens_per_s", ""]) == (1.25, 3.25)
    assert found["output_tokens_per_s", "max"] == 4.0
    assert found["runtime_ms", ""] == 1500.0
    # No goodput was asked for, and no audio heard.
    assert not {"good_requests_per_s", "rtfx"} & {metric for metric, _ in found}
    rows = {(row["metric"], row["variant"]): row for row in tables["silver.run_metrics"].to_dicts()}
    mean = rows["time_to_first_token_ms", "mean"]
    assert (mean["unit"], mean["is_higher_better"], mean["standard_deviation"], mean["sample_count"]) == (
        "ms",
        False,
        125.0,
        2,
    )
    assert rows["time_to_first_token_ms", "std"]["is_higher_better"] is None


def test_requests_are_outputs_in_milliseconds(tmp_path: Path) -> None:
    outputs = one(tmp_path)["silver.outputs"]
    assert outputs["sample_id"].to_list() == ["0", "1"]
    assert outputs["time_to_first_token_ms"].to_list() == [250.0, 500.0]
    # Without latencies: 0.25 + 0.25 s, 0.5 + 2 x 0.25 s.
    assert outputs["latency_ms"].to_list() == [500.0, 1000.0]
    assert outputs["output"].to_list() == ["one", "two three"]
    assert (outputs["input_token_count"].to_list(), outputs["output_token_count"].to_list()) == ([4, 5], [2, 3])
    first, second = outputs["started_at"].to_list()
    assert second - first == dt.timedelta(seconds=0.125)


def test_latencies_of_the_file_count(tmp_path: Path) -> None:
    assert one(tmp_path, latencies=[0.75, 1.25])["silver.outputs"]["latency_ms"].to_list() == [750.0, 1250.0]


def test_latencies_without_details_are_outputs_too(tmp_path: Path) -> None:
    detailed = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors")
    result = {key: value for key, value in vllm_result(0).items() if key not in detailed}
    result |= {"latencies": [0.5, 0.0], "queue_times": [0.0, 0.0], "completed": 1, "failed": 1}
    outputs = read_bytes(tmp_path, "serving.json", json.dumps(result).encode())["silver.outputs"]
    assert outputs["latency_ms"].to_list() == [500.0, None]
    assert outputs["status"].to_list() == ["ok", "error"]


def test_failed_requests_have_no_times(tmp_path: Path) -> None:
    errors = ["ClientError: 500", "asyncio.TimeoutError: too slow"]
    tables = one(tmp_path, errors=errors, ttfts=[0.0, 0.0], itls=[[], []], output_lens=[0, 0], completed=0, failed=2)
    outputs = tables["silver.outputs"]
    assert outputs["status"].to_list() == ["error", "timeout"]
    assert outputs["error_message"].to_list() == errors
    for name in ("latency_ms", "time_to_first_token_ms", "output", "output_token_count"):
        assert outputs[name].to_list() == [None, None]


def test_an_all_failed_benchmark_has_no_latencies(tmp_path: Path) -> None:
    zeros = {key: 0.0 for key in vllm_result(0) if key.endswith("_ms") or "throughput" in key}
    tables = one(tmp_path, **zeros, completed=0, failed=2, mean_client_queue_time_ms=0.0, max_output_tokens_per_s=0.0)
    found = metrics(tables)
    assert [metric for metric, _ in found if metric.endswith("_ms")] == []
    assert (found["failed_count", ""], found["completed_count", ""], found["requests_per_s", ""]) == (2, 0, 0)
    run = tables["silver.runs"].row(0, named=True)
    assert (run["status"], run["error_message"]) == ("error", "All 2 requests failed.")


def test_a_measure_that_was_not_taken_is_no_zero(tmp_path: Path) -> None:
    """One token an answer: there are no gaps between tokens, and the file says 0.0."""
    zeros = {"mean_itl_ms": 0.0, "median_itl_ms": 0.0, "p99_itl_ms": 0.0, "std_itl_ms": 0.0}
    names = {metric for metric, _ in metrics(one(tmp_path, **zeros))}
    assert "inter_token_latency_ms" not in names
    assert "time_to_first_token_ms" in names


def test_arrays_of_unequal_length_cost_only_what_they_do_not_reach(tmp_path: Path) -> None:
    tables = one(tmp_path, ttfts=[0.25], errors="none")
    assert sample_ids(tables) == ["0"]
    assert rules(tables) == ["errors: list", "length"]
    none = one(tmp_path, ttfts=[0.25, 0.5, 1.0, 2.0])
    assert (sample_ids(none), rules(none)) == (["0", "1"], ["length", "length"])
    assert "Request 1 has no entry in ttfts" in tables["bronze.rejects"]["message"][1]


def test_an_embedding_benchmark_has_its_own_counts(tmp_path: Path) -> None:
    result = vllm_result(0, total_input_sequences=6, input_sequence_throughput=4.5, errors=["", ""], latencies=[0.5, 1])
    for key in ("output_lens", "ttfts", "itls", "generated_texts", "start_times", "total_output_tokens"):
        del result[key]
    tables = read_bytes(tmp_path, "serving.json", json.dumps(result).encode())
    assert metrics(tables)["input_sequences_per_s", ""] == 4.5
    assert tables["silver.outputs"]["latency_ms"].to_list() == [500.0, 1000.0]
    assert tables["silver.outputs"]["output"].to_list() == [None, None]


def test_speculative_decoding_and_probes(tmp_path: Path) -> None:
    found = metrics(
        one(
            tmp_path,
            spec_decode_acceptance_rate=62.5,
            spec_decode_per_position_acceptance_rates=[0.75, 0.5],
            probe_median_e2el_ms=12.5,
        )
    )
    assert found["spec_decode_acceptance_ratio", ""] == pytest.approx(0.625)
    assert found["spec_decode_acceptance_ratio", "position 1"] == 0.5
    assert found["probe_latency_ms", "median"] == 12.5


def test_the_old_name_of_goodput_is_known(tmp_path: Path) -> None:
    result = vllm_result(0) | {"request_goodput:": 0.5}
    del result["request_goodput"]
    assert metrics(read_bytes(tmp_path, "a.json", json.dumps(result).encode()))["good_requests_per_s", ""] == 0.5


def test_a_result_keeps_its_run_when_others_are_appended(tmp_path: Path) -> None:
    first = json.dumps(vllm_result(0)).encode()
    alone = read_bytes(tmp_path, "serving.json", first)
    both = read_bytes(tmp_path, "serving.json", first + b"\n" + json.dumps(vllm_result(1)).encode())
    assert both["silver.runs"]["run_id"][0] == alone["silver.runs"]["run_id"][0]
    assert both["silver.runs"].height == 2


def test_a_result_that_broke_off_costs_none_after_it(tmp_path: Path) -> None:
    whole = [json.dumps(vllm_result(index)).encode() for index in range(3)]
    tables = read_bytes(tmp_path, "serving.json", b"\n".join([whole[0], whole[1][:200], b"", whole[2]]))
    assert sorted(tables["silver.runs"]["suite"]) == ["rates-0", "rates-2"]
    assert rules(tables) == ["truncated"]
    assert tables["bronze.rejects"]["record_index"].to_list() == [1]


def test_an_object_that_is_no_result_and_one_that_is_too_long_are_refused(tmp_path: Path) -> None:
    long = json.dumps(vllm_result(1, note="x" * 5_000)).encode()
    content = b"\n".join([json.dumps(vllm_result(0)).encode(), long, b'{"hello": "world"}'])
    tables = read_bytes(tmp_path, "serving.json", content, limits=Limits(member_bytes=4_000))
    assert tables["silver.runs"]["suite"].to_list() == ["rates-0"]
    assert rules(tables) == ["member_bytes", "result"]


def test_a_bom_and_gzip_do_not_matter(tmp_path: Path) -> None:
    content = json.dumps(vllm_result(0), indent=1, sort_keys=True).encode()
    tables = read_bytes(tmp_path, "serving.json", gzip.compress(b"\xef\xbb\xbf" + content))
    assert (sample_ids(tables), rules(tables)) == (["0", "1"], [])


def test_a_long_detailed_result_is_recognised_by_its_beginning(tmp_path: Path) -> None:
    count = 4_000
    keys = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors")
    detail: dict[str, Any] = {key: [vllm_result(0)[key][0]] * count for key in keys}
    for sort_keys in (False, True):
        content = json.dumps(vllm_result(0) | detail, sort_keys=sort_keys)
        assert read_bytes(tmp_path, "long.json", content.encode())["silver.outputs"].height == count


def pytorch(result: dict[str, Any]) -> bytes:
    """What vLLM writes with SAVE_TO_PYTORCH_BENCHMARK_FORMAT=1."""
    chosen = [key for key in result if key.endswith(("ttft_ms", "tpot_ms", "itl_ms")) and not key.startswith("p99.9")]
    rest = {key: value for key, value in result.items() if key not in (*chosen, "ttfts", "itls", "generated_texts")}
    return json.dumps(
        [
            {
                "benchmark": {"name": "vLLM benchmark", "extra_info": {"args": {"tensor_parallel_size": 2}}},
                "model": {"name": result["model_id"]},
                "metric": {"name": key, "benchmark_values": [result[key]], "extra_info": rest},
            }
            for key in chosen
        ]
    ).encode()


def test_the_pytorch_form_is_the_same_run(tmp_path: Path) -> None:
    result = one(tmp_path / "a")
    form = read_bytes(tmp_path / "b", "serving.pytorch.json", pytorch(vllm_result(0)))
    assert form["silver.runs"]["run_id"].to_list() == result["silver.runs"]["run_id"].to_list()
    assert metrics(form) == metrics(result)
    assert "args.tensor_parallel_size" in form["silver.run_params"]["parameter"].to_list()
    (tmp_path / "a" / "serving.pytorch.json").write_bytes(pytorch(vllm_result(0)))
    together = read(tmp_path / "a" / "serving.json", tmp_path / "a" / "serving.pytorch.json")
    for table in ("silver.run_metrics", "silver.outputs"):
        assert together[table].equals(result[table])
    assert together["silver.runs"].height == 1
    assert "benchmark_values" in raw_text(together)


def test_a_cut_pytorch_form_is_refused(tmp_path: Path) -> None:
    content = pytorch(vllm_result(0))
    assert rules(read_bytes(tmp_path, "x.pytorch.json", content[:-300], kind="vllm_bench")) == ["truncated"]


def test_real_results() -> None:
    folder = shared("vllm_bench")
    good = read(folder / "bench_serve_v0.25.1.json")
    assert metrics(good)["time_to_first_token_ms", "median"] == pytest.approx(55.68139649994919)
    assert (good["silver.runs"]["status"][0], rules(good)) == ("success", [])
    failed = read(folder / "bench_serve_all_requests_failed_v0.25.1.json")
    assert failed["silver.runs"]["status"].to_list() == ["error"]
    assert [name for name, _ in metrics(failed) if name.endswith("_ms")] == []
    assert metrics(failed)["failed_count", ""] == 8
