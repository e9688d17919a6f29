import pytest

from pipelines.evidence import references
from pipelines.evidence.diff import split_words
from pipelines.evidence.references import Reference, nearer_side, reference_similarity


@pytest.mark.parametrize(
    ("reference", "output", "expected"),
    [
        ("Paris", "Paris", "equal"),
        ("Paris", " paris.\n", "equal"),
        ("1,000", "1000.0", "equal"),
        ("Paris", "It is Paris, of course.", "contained"),
        ("Paris", "Parisians", "absent"),
        ("New York", "new\nyork city", "contained"),
        ("New York", "York is new", "absent"),
        ("1000", "about 1,000 of them", "contained"),
        ("1000", "about 10,000 of them", "absent"),
        ("42", "`42`", "contained"),
        ("B", "The answer is B.", "contained"),
        ("A", "a good question", "absent"),  # an article, not the choice
        ("A", "(A)", "contained"),
        ("\u6771\u4eac", "\u6771\u4eac \u3067\u3059", "contained"),
        ('{"a": 1}', '```json\n{"a": 1.0}\n```', "equal"),
        ('{"a": 1}', '{"a": 2}', "absent"),
        (" . ", "anything", "absent"),
    ],
)
def test_relations_by_hand(reference, output, expected):
    assert Reference(reference).relation_of(output) == expected


def test_similarity_counts_words_as_between_two_outputs():
    # "is", " ", "Paris" against "It", " ", "is", " ", "Paris": 3 kept of 3 + 5
    assert reference_similarity(split_words("is Paris"), split_words("It is Paris")) == pytest.approx(2 * 3 / 8)


def test_similarity_of_endless_texts_is_not_told(monkeypatch):
    monkeypatch.setattr(references, "MAX_CELLS", 5)
    assert reference_similarity(["a", "b"], ["a", "b", "c"]) is None


def test_the_nearer_side_has_the_better_relation_then_more_words_in_common():
    assert nearer_side("contained", "absent", 0.1, 0.9) == "candidate"
    assert nearer_side("contained", "equal", 0.9, 1.0) == "baseline"
    assert nearer_side("absent", "absent", 0.3, 0.2) == "candidate"
    assert nearer_side("absent", "absent", None, None) == "neither"
