import numpy as np
import pytest
from scipy import stats

from helpers.chapters.comparisons import interval_in_words, with_interval


def test_interval_is_that_of_students_distribution():
    numbers = [0.2, 0.5, 0.8]
    low, high = stats.t.interval(0.95, 2, np.mean(numbers), stats.sem(numbers))
    assert with_interval(numbers) == f"0.500 ({low:.3f} to {high:.3f})"
    assert interval_in_words(numbers) == f"0.500 (95% interval {low:.3f} to {high:.3f}, 3 seeds)"


@pytest.mark.parametrize(
    ("numbers", "form", "shown"),
    [
        ([], "{:.3f}", "–"),
        ([0.25], "{:.2f}", "0.25"),
        ([0.25, 0.25], "{:.0%}", "25%"),
        ([-0.0001], "{:.2f}", "0.00"),
        ([0.0001], "{:+.2f}", "0.00"),
        ([-0.4], "{:.1f}", "-0.4"),
    ],
)
def test_what_has_no_interval_is_shown_plainly(numbers, form, shown):
    assert with_interval(numbers, form) == shown
