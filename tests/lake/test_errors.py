"""Messages about names: the nearest first, never a page of them, and what to do where there is none."""

from lake.errors import UserError, nearest_names

TABLES = ["silver.runs", "silver.run_metrics", "gold.gate_results", "gold.promoted_runs"]


def test_names_are_near_as_a_whole_or_after_the_dot() -> None:
    assert nearest_names("silver.run", TABLES)[0] == "silver.runs"
    assert nearest_names("gate_result", TABLES)[0] == "gold.gate_results"
    assert nearest_names("silver.gate_results", TABLES)[0] == "gold.gate_results"
    assert nearest_names("xyz", TABLES) == []


def test_an_unknown_name_is_told_by_what_there_is() -> None:
    def told(name: str, known: list[str], **more: str) -> str:
        return str(UserError.unknown("thing", name, known, **more))

    assert told("ab", []) == "There is no thing named 'ab'. There is none at all."
    assert told("ab", [], none="Make one.") == "There is no thing named 'ab'. Make one."
    assert told("zz", ["one", "two"]) == "There is no thing named 'zz'. Known: one, two."
    assert told("tow", ["one", "two"]) == "There is no thing named 'tow'. Did you mean two?"
    many = [f"name-{index:02d}" for index in range(30)]
    assert told("zz", many).endswith("name-19, and 10 more.")
    # Where a command lists them, nobody needs the first of many.
    assert told("zz", many, list_all="list it") == "There is no thing named 'zz'. All of them:  list it"


def test_a_beginning_must_mean_one() -> None:
    def told(found: list[str], **more: str) -> str:
        return str(UserError.not_one("unit", "3f", found, see="list units", **more))

    assert told([]) == "No unit has an id that begins with '3f'. See them:  list units"
    assert told([], none="Make one.") == "No unit has an id that begins with '3f'. Make one."
    assert told(["3fb", "3fa"]) == "2 units have an id that begins with '3f': 3fa, 3fb. Write more of it."
    assert "at least 4 characters" in str(UserError.not_one("unit", "3f", ["3fa"], see="list units", least=4))
