from tests.kill_nightly import rounds


def test_a_night_killed_at_random_points_ends_as_an_undisturbed_one() -> None:
    assert rounds(2, seed=7) == []
