"""How numbers are shown wherever a person reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.plain_texts import shown_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.123456, "0.1235"),
        (-12.3456, "-12.35"),
        (9_999.4, "9999"),
        (87_036.7, "87,040"),
        (-559_812_345.0, "-559,800,000"),
        (0.00001234, "1.234e-05"),
        (1.5e17, "1.5e+17"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
    ],
)
def test_a_number_has_four_digits_and_its_thousands_parted(value: float, text: str) -> None:
    assert shown_number(value) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert shown_number(None) == "-"


def test_a_change_has_its_sign() -> None:
    assert [shown_number(value, is_signed=True) for value in (12_345.0, -0.5, 0.0)] == ["+12,340", "-0.5", "+0"]


@given(st.floats(-1e300, 1e300))
def test_what_is_shown_is_the_number_to_four_digits(value: float) -> None:
    shown = float(shown_number(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.6e-3, abs=0)
