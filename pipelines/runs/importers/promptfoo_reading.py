"""What becomes of each result of a promptfoo file: which run and sample it is, and what is kept of it.

What a run is called and from what is `promptfoo_runs.py`, its aggregates `promptfoo_metrics.py`, which sample a test
is `promptfoo_tests.py`, what a result says `promptfoo_results.py`, version 2 `promptfoo_tables.py`, traces
`promptfoo_traces.py`; going through a file is `promptfoo.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.runs.importers.frames import BatchBuilder, OutputRow
from pipelines.runs.importers.promptfoo_metrics import find_disagreement, read_metrics
from pipelines.runs.importers.promptfoo_results import Result, read_result
from pipelines.runs.importers.promptfoo_runs import Evaluation, PromptRun
from pipelines.runs.importers.promptfoo_tables import TableCells
from pipelines.runs.importers.promptfoo_tests import Place, SamplePlaces
from pipelines.runs.importers.promptfoo_traces import place_of_trace, read_spans
from pipelines.runs.records import SHAPE_ERRORS, Fault, JsonObject, as_index, as_object, as_text, canonical_json

# Where traces stand in a file, and the member under which they are kept.
TRACES = "traces"


@dataclass(kw_only=True)
class Reading:
    """The evaluation that is being read and what must be known of its earlier results."""

    builder: BatchBuilder
    evaluation: Evaluation
    tests: SamplePlaces
    cells: TableCells = field(default_factory=TableCells)
    ids: set[tuple[str, str]] = field(default_factory=set)
    used: set[tuple[str, str, int]] = field(default_factory=set)

    def add(self, value: JsonObject, raw: bytes | None, faults: list[Fault], *, index: int, where: str) -> None:
        """One result: kept as received, and as rows if it says which test it is of."""
        run_id, sample_id = None, None
        try:
            run, place = self._find(value, faults)
            if run is not None and place is not None:
                run_id, sample_id = run.run_id, place.sample_id
                self._take(value, run, place, faults)
        except SHAPE_ERRORS as error:
            faults.append(Fault("shape", f"the result has an unexpected shape ({type(error).__name__})."))
        if raw is not None:
            self.builder.keep(raw, record_index=index, run_id=run_id, sample_id=sample_id)
        self.builder.note(faults, record_index=index, where=where)

    def _find(self, value: JsonObject, faults: list[Fault]) -> tuple[PromptRun | None, Place | None]:
        """The column and the test of a result; of version 2, by the table."""
        cell = None if "testIdx" in value else self.cells.take(value)
        if cell is not None:
            return self.evaluation.run_of(cell.prompt_index, value), self.tests.place_of(cell.test_index)
        if value.get("testIdx") is None:
            faults.append(Fault("testIdx", "the result does not say which test it is of; it was left out."))
            return None, None
        test_index = as_index(value["testIdx"], "testIdx", faults)
        given = value.get("promptIdx")
        prompt_index = self.evaluation.find_column(value) if given is None else as_index(given, "promptIdx", faults)
        if test_index is None or prompt_index is None:
            return None, None
        return self.evaluation.run_of(prompt_index, value), self.tests.place_of(test_index)

    def _take(self, value: JsonObject, run: PromptRun, place: Place, faults: list[Fault]) -> None:
        identity = as_text(value.get("id"))
        if identity is not None and (run.run_id, identity) in self.ids:
            faults.append(Fault("duplicate", f"result {identity} came before; the first one counts."))
            return
        if identity is not None:
            self.ids.add((run.run_id, identity))
        metadata = as_object(self.evaluation.config.get("metadata"))
        result = read_result(value, faults, shared_metadata=metadata)
        row = _row(result, run, self._free(run, place))
        run.add(result)
        self.builder.outputs.append(row)
        if result.tokens:
            self.builder.tokens.append((row, result.tokens))

    def _free(self, run: PromptRun, place: Place) -> Place:
        """The place, or the next repeat of the same sample where it is taken."""
        repeat_index = place.repeat_index
        while (run.run_id, place.sample_id, repeat_index) in self.used:
            repeat_index += 1
        self.used.add((run.run_id, place.sample_id, repeat_index))
        return Place(place.sample_id, repeat_index)

    def add_trace(self, value: JsonObject, raw: bytes, faults: list[Fault], *, index: int) -> None:
        """One trace, as spans of the result that it was collected for."""
        test_index, prompt_index = place_of_trace(value)
        run = self.evaluation.run_of(prompt_index or 0, {})
        sample_id = None if test_index is None else self.tests.place_of(test_index).sample_id
        self.builder.keep(raw, member=TRACES, record_index=index, run_id=run.run_id, sample_id=sample_id)
        try:
            self.builder.spans.extend(read_spans(value, run, sample_id, faults))
        except SHAPE_ERRORS as error:
            faults.append(Fault("shape", f"the trace has an unexpected shape ({type(error).__name__})."))
        self.builder.note(faults, record_index=index, where=f"Trace {index + 1}")

    def finish(self) -> None:
        """Hand in the runs; where the aggregates differ from the results, both are kept and the difference is named."""
        faults = self.evaluation.faults
        for index, run in sorted(self.evaluation.runs.items()):
            self.builder.runs.append(self.evaluation.finished_row(run))
            self.builder.metrics.extend(read_metrics(run, faults))
            difference = find_disagreement(run) if self.evaluation.status == "success" else None
            if difference is not None:
                raw = canonical_json({"promptIdx": index, "metrics": run.aggregates}).encode()
                self.builder.reject("aggregates", f"Prompt {index} of the header {difference}.", raw=raw)
        self.builder.note(faults, record_index=0, where="Header")


def _row(result: Result, run: PromptRun, place: Place) -> OutputRow:
    return OutputRow(
        run_id=run.run_id,
        sample_id=place.sample_id,
        repeat_index=place.repeat_index,
        run_date=run.run_date,
        prompt=result.prompt,
        output=result.output,
        reference=result.reference,
        status=result.status,
        finish_reason=result.finish_reason,
        input_token_count=result.input_token_count,
        output_token_count=result.output_token_count,
        latency_ms=result.latency_ms,
        time_to_first_token_ms=None,
        scores=result.scores,
        tags=result.tags,
        error_message=result.error_message,
        started_at=None,
    )
