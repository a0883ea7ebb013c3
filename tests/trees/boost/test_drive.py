"""When boosting stops early, and which round it keeps."""

import pytest

from jaxlab.core.errors import InputError
from jaxlab.trees.boost.drive import EarlyStopping, drive


class Counted:
    """Rounds of a metric that is given."""

    most_at_once = 3

    def __init__(self, values):
        self.values, self.scores, self.parts = values, {"test-loss": []}, []

    def advance(self, count):
        self.parts.append(count)
        scores = self.scores["test-loss"]
        scores += self.values[len(scores) : len(scores) + count]

    def forest(self):
        return "forest"


def test_it_stops_after_rounds_without_gain_and_keeps_the_best():
    values = [3.0, 1.0, 2.0, 2.0, 0.0]
    stopping = EarlyStopping(2)
    over = [stopping.is_over(values[:done]) for done in range(5)]
    assert over == [False] * 4 + [True]
    assert stopping.best_round(values[:4]) == 1
    assert stopping.best_round(values) == 1  # the last came after the patience
    assert EarlyStopping(3).best_round(values) == 4
    assert EarlyStopping(9, higher_is_better=True).best_round(values) == 0
    assert EarlyStopping(9, tolerance=2.5).best_round(values) == 4
    with pytest.raises(InputError, match="patience 0 must be at least 1 round"):
        EarlyStopping(0)


@pytest.mark.parametrize("patience", [1, 2, None])
def test_the_driver_makes_rounds_in_parts_and_tells_a_watcher(patience):
    rounds, told = Counted([3.0, 1.0, 2.0, 2.0, 0.0]), []
    stopping = None if patience is None else EarlyStopping(patience)
    best = drive(rounds, 5, stopping, told.append)
    assert best == (None if patience is None else 1)
    assert max(rounds.parts) <= rounds.most_at_once
    done = sum(rounds.parts)
    assert [progress.done for progress in told][-1] == done
    assert (told[-1].total, told[-1].forest()) == (5, "forest")
    assert done == 5 if patience is None else done >= patience + 2
