"""Short forms of the checks with known truth."""

import pytest

from tests.space import truth


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert truth.coverage(12)


def test_ten_colluding_ids_move_no_model_by_more_than_a_rank() -> None:
    assert truth.collusion(2)
