"""The index follows its table: after any changes it is what building it from nothing would give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.identity import text_digest
from lake.store import Lake
from pipelines.embeddings import index_files, index_sync, segments
from pipelines.embeddings.embedder import ModelIdentity
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.index_files import IndexUnusableError, index_folder, load_index, save_index
from pipelines.embeddings.index_sync import new_segment, read_vectors, sync_index
from pipelines.embeddings.texts import vector_id
from tests.embeddings.rows import EMBEDDINGS, MODEL, unit_vectors, vector_keys, vector_rows

NAMES = [f"text {number}" for number in range(12)]
VECTORS = dict(zip(NAMES, unit_vectors(1, len(NAMES)).tolist(), strict=True))
OTHERS = dict(zip(NAMES, unit_vectors(2, len(NAMES)).tolist(), strict=True))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


def held(index):
    """Every living vector by id."""
    found = {}
    for segment in index.segments:
        places = np.flatnonzero(~segment.is_dead)
        found |= dict(zip(segment.ids[places].tolist(), segment.vectors_at(places).round(4).tolist(), strict=True))
    return found


def stored(lake, model=MODEL):
    ids, vectors = read_vectors(lake, model, version=lake.version(EMBEDDINGS))
    return dict(zip(ids.tolist(), vectors.round(4).tolist(), strict=True))


def follow(lake, folder, **options):
    index, result = sync_index(lake, folder, MODEL, **options)
    assert index.version == lake.version(EMBEDDINGS)
    assert held(index) == stored(lake)
    assert sum(segment.alive_count for segment in index.segments) == len(held(index))  # none twice
    return index, result


def test_additions_changes_and_deletions_are_followed(lake, folder) -> None:
    assert follow(lake, folder)[1].mode == "unchanged"  # there is no table yet
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    first = follow(lake, folder)[1]
    assert (first.mode, first.reason, first.vector_count) == ("rebuilt", "there is none yet", 12)
    lake.upsert(EMBEDDINGS, vector_rows({NAMES[0]: OTHERS[NAMES[0]], "new": OTHERS[NAMES[1]]}))
    lake.remove(EMBEDDINGS, vector_keys(NAMES[3:5]))
    second = follow(lake, folder)[1]
    assert (second.mode, second.added_count, second.removed_count, second.vector_count) == ("applied", 2, 2, 11)
    assert follow(lake, folder)[1].mode == "unchanged"


@settings(deadline=None, max_examples=8)
@given(
    rounds=st.lists(
        st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["add", "change", "remove"])), max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_any_history_ends_as_a_build_from_nothing_does(rounds, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("history")
    lake = Lake.open(folder / "lake")
    lake.upsert(EMBEDDINGS, vector_rows({"standing": VECTORS[NAMES[0]]}))
    index = None
    with pytest.MonkeyPatch.context() as patch:
        # So small that heads are sealed, merged and built again within a few rows.
        patch.setattr(index_sync, "HEAD_ROWS", 2)
        patch.setattr(index_sync, "MERGED_ROWS", 4)
        for changes in rounds:
            for name, change in changes:
                if change == "remove":
                    lake.remove(EMBEDDINGS, vector_keys([name]))
                else:
                    lake.upsert(EMBEDDINGS, vector_rows({name: (VECTORS if change == "add" else OTHERS)[name]}))
            index, _ = follow(lake, folder / "index", known=index)
        fresh, _ = follow(lake, folder / "index")
        assert held(fresh) == held(index)


def test_small_segments_become_one_and_patchwork_is_built_again(lake, folder, monkeypatch) -> None:
    monkeypatch.setattr(index_sync, "HEAD_ROWS", 10)
    monkeypatch.setattr(index_sync, "MERGED_ROWS", 30)
    vectors = unit_vectors(3, 400)
    lake.upsert(EMBEDDINGS, vector_rows({f"base {place}": vectors[place] for place in range(200)}))
    follow(lake, folder)
    shapes, modes = [], []
    for start in range(200, 272, 12):
        lake.upsert(EMBEDDINGS, vector_rows({f"more {place}": vectors[place] for place in range(start, start + 12)}))
        index, result = follow(lake, folder)
        shapes.append(sorted(len(segment.ids) for segment in index.segments))
        modes.append(result.mode)
    assert shapes[:3] == [[12, 200], [12, 12, 200], [36, 200]]  # three of twelve reach thirty: one
    assert modes == [*["applied"] * 4, "rebuilt", "applied"]  # 60 of 260 are more than 20 %


def test_models_and_revisions_are_never_mixed(lake, folder) -> None:
    later = ModelIdentity(model_name=MODEL.model_name, revision="two", dimension=8)
    other = ModelIdentity(model_name="lab/other", revision="one", dimension=8)
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    lake.upsert(EMBEDDINGS, vector_rows(OTHERS, other))
    follow(lake, folder)
    lake.upsert(EMBEDDINGS, vector_rows({NAMES[0]: OTHERS[NAMES[0]]}, later))  # one is of the next revision now
    index, result = sync_index(lake, folder, MODEL)
    assert (result.removed_count, len(index)) == (1, 11)
    assert vector_id(text_digest(NAMES[0])) not in held(index)
    with pytest.raises(IndexUnusableError, match="it is of lab/words, revision one"):
        load_index(folder, model=other, table_id=None)
    folders = {index_folder(folder, lake_uri="a", model=model) for model in (MODEL, later, other)}
    assert len(folders | {index_folder(folder, lake_uri="b", model=MODEL)}) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "junk manifest", "no manifest"])
def test_damaged_or_missing_files_mean_a_build_not_a_failure(lake, folder, damage) -> None:
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    follow(lake, folder)
    vectors = next(folder.glob("*.faiss"))
    content = vectors.read_bytes()
    if damage == "flip":
        vectors.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif damage == "cut":
        vectors.write_bytes(content[:60])
    elif damage == "remove":
        vectors.unlink()
    elif damage == "junk manifest":
        (folder / index_files.MANIFEST).write_text('{"format": 1, "model": 3}')
    else:
        (folder / index_files.MANIFEST).unlink()
    result = follow(lake, folder)[1]
    assert result.mode == "rebuilt"
    assert result.reason
    assert follow(lake, folder)[1].mode == "unchanged"


def test_a_feed_that_was_cut_short_and_a_table_made_anew_mean_a_build(lake, folder, monkeypatch) -> None:
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    follow(lake, folder)
    lake.upsert(EMBEDDINGS, vector_rows({"new": OTHERS[NAMES[1]]}))

    def cut_short(*_: object, **__: object) -> None:
        raise UserError("cannot be read any more")

    with monkeypatch.context() as patch:
        patch.setattr(lake, "changes", cut_short)
        assert "no longer reaches back" in follow(lake, folder)[1].reason
    anew = Lake.open(f"{lake.uri} anew")
    for rows in (vector_rows(OTHERS), vector_rows({"a": OTHERS[NAMES[2]]}), vector_rows({"b": OTHERS[NAMES[3]]})):
        anew.upsert(EMBEDDINGS, rows)
    assert "made anew" in follow(anew, folder)[1].reason


def test_a_kill_while_writing_leaves_the_index_as_it_was(lake, folder, monkeypatch) -> None:
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    before = held(follow(lake, folder)[0])
    lake.upsert(EMBEDDINGS, vector_rows({NAMES[0]: OTHERS[NAMES[0]], "new": OTHERS[NAMES[1]]}))
    with monkeypatch.context() as patch:
        patch.setattr(index_files.Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            sync_index(lake, folder, MODEL)
    identity = index_files.read_manifest(folder).table_id
    assert held(load_index(folder, model=MODEL, table_id=identity)) == before
    assert follow(lake, folder)[1].mode == "applied"
    named = index_files.read_manifest(folder).names | {index_files.MANIFEST, index_files.LOCK}
    assert {path.name for path in folder.iterdir()} == named  # nothing is left of the killed one


def test_a_graph_is_searched_as_this_release_does_whoever_wrote_it(folder, monkeypatch) -> None:
    vectors = unit_vectors(3, 40)
    with monkeypatch.context() as older:
        older.setattr(segments, "HNSW_SEARCH_EFFORT", 7)
        built = new_segment(np.arange(40), vectors, kind="hnsw")
    save_index(folder, VectorIndex(model=MODEL, version=0, segments=[built]), table_id="table")
    (loaded,) = load_index(folder, model=MODEL, table_id="table").segments
    assert (built.index.hnsw.efSearch, loaded.index.hnsw.efSearch) == (7, segments.HNSW_SEARCH_EFFORT)


def test_compaction_changes_nothing(lake, folder) -> None:
    for part in range(4):
        lake.upsert(EMBEDDINGS, vector_rows({name: VECTORS[name] for name in NAMES[part::4]}))
    follow(lake, folder)
    lake.maintain(EMBEDDINGS)
    result = follow(lake, folder)[1]
    assert (result.mode, result.version) == ("unchanged", lake.version(EMBEDDINGS))


def test_an_asked_for_build_is_one(lake, folder) -> None:
    lake.upsert(EMBEDDINGS, vector_rows(VECTORS))
    follow(lake, folder)
    told = []
    result = follow(lake, folder, mode="all", on_progress=lambda *facts: told.append(facts))[1]
    assert (result.mode, result.reason) == ("rebuilt", "it was asked for")
    assert told[0] == (12, 12, "reading vectors")
