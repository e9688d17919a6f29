"""Commands of embeddings and the vector index: status, sync, rebuild, search."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import FormatOption, JsonOption, open_installation, say

if TYPE_CHECKING:
    import polars as pl

    from pipelines.embeddings.service import UpdateResult

_ID_CHARACTERS = 12

index_app = typer.Typer(
    no_args_is_help=True, help="Find texts by meaning: vectors of texts (silver.embeddings) and the index over them."
)


def register(app: typer.Typer) -> None:
    """Add the commands of embeddings and the vector index to the command line."""
    app.add_typer(index_app, name="index")


@index_app.command()
def status(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Show how far texts, vectors and the index are behind the tables they follow, in versions and seconds.

    Example:  benchlake index status --json
    """
    from pipelines.embeddings.freshness import measure_lag
    from studio.rendering import emit

    installation = open_installation()
    lag = measure_lag(installation.lake, installation.embedder, installation.state.indexes, now=dt.datetime.now(dt.UTC))
    if as_json or form != "table":
        emit(lag, "json" if as_json else form)
        return
    emit(_readable_lag(lag), "table")
    model = installation.embeddings.model
    sys.stdout.write(f"Model: {model.model_name}, {model.dimension} dimensions, revision {model.revision[:12]}.\n")
    behind = lag.filter((lag["lag_versions"] > 0) | (lag["note"] != "")).height
    if (lag["newest_version"] < 0).all():
        sys.stdout.write("There are no texts yet. Make some:  benchlake nightly   or   benchlake examples add\n")
        return
    sys.stdout.write("Bring it up to date:  benchlake index sync\n" if behind else "Everything is up to date.\n")


@index_app.command()
def sync(as_json: JsonOption = False) -> None:
    """Embed texts that are new or changed, drop those that went, and bring the index up to date.

    The work follows the change feeds; what was done before a crash is not done again.

    Example:  benchlake index sync
    """
    _update(is_rebuild=False, as_json=as_json)


@index_app.command()
def rebuild(as_json: JsonOption = False) -> None:
    """Look at every text instead of the changed ones, and build the index from nothing.

    Vectors that stand are kept: only texts without one are embedded. For use after files were damaged by hand; a
    missing or broken index is built again by itself.

    Example:  benchlake index rebuild
    """
    _update(is_rebuild=True, as_json=as_json)


@index_app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in any words.")],
    count: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 10,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Only texts of one source: example_inputs, example_outputs, databits, prompts."),
    ] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Find examples, data units and prompts by meaning rather than by words, nearest first.

    Similarity is the cosine of the vectors: 1 for equal texts, about 0 for texts that have nothing in common.

    Example:  benchlake index search 'How do I get my money back?' --source example_inputs
    """
    from studio.rendering import emit

    found = open_installation().embeddings.search(text, count=count, text_source=source)
    if as_json or form != "table":
        emit(found.rows, "json" if as_json else form)
    elif found.rows.is_empty():
        sys.stdout.write("Nothing found: no texts are in the index. Fill it:  benchlake index sync\n")
    else:
        emit(_readable_rows(found.rows), "table")
    if found.version < found.newest_version:
        say(
            f"Searched version {found.version} of silver.embeddings; the newest is {found.newest_version}. "
            "Bring the index up to date:  benchlake index sync"
        )


def _update(*, is_rebuild: bool, as_json: bool) -> None:
    import dataclasses

    import orjson

    from studio.progress import file_progress

    service = open_installation().embeddings
    with file_progress(enabled=not as_json) as progress:
        result = service.update(mode="all" if is_rebuild else "changed", on_progress=progress)
    if as_json:
        sys.stdout.write(orjson.dumps(dataclasses.asdict(result)).decode() + "\n")
    else:
        sys.stdout.write(_told(result))


def _told(result: UpdateResult) -> str:
    texts, vectors, index = result.texts, result.vectors, result.index
    why = f" ({index.reason})" if index.reason else ""
    return (
        f"Texts: {texts.written_count} new or changed, {texts.removed_count} removed.\n"
        f"Vectors: {vectors.embedded_count} embedded, {vectors.reused_count} known already, "
        f"{vectors.removed_count} removed.\n"
        f"Index: {index.mode}{why}, {index.vector_count} vectors, version {index.version} of silver.embeddings.\n"
    )


def _readable_lag(lag: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    # -1 stands for a table that does not exist yet, or of which nothing was seen.
    seen, newest = (
        pl.col(name).replace_strict({-1: "-"}, default=pl.col(name).cast(pl.String), return_dtype=pl.String)
        for name in ("version", "newest_version")
    )
    return lag.select(
        "stage",
        pl.col("table").alias("follows"),
        seen.alias("seen"),
        newest.alias("newest"),
        pl.col("lag_seconds").round(1).alias("seconds behind"),
        "note",
    )


def _readable_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """What fits a terminal: ids as far as commands need them, texts as one line."""
    import polars as pl

    return rows.select(
        "rank",
        pl.col("similarity").round(3),
        pl.col("text_source").alias("source"),
        pl.col("subject_id").str.head(_ID_CHARACTERS).alias("subject"),
        pl.col("text").str.replace_all(r"\s+", " ").alias("text"),
    )
