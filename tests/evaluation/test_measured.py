"""What attacks leave, compared."""

import numpy as np
import pytest
from test_verdict import NAN, measured

from reid.evaluation.measured import gap


def test_the_gap_is_on_the_queries_of_both():
    first, second = measured([0.5, 0.9, NAN]), measured([0.3, NAN, 0.1])
    assert gap([first], [second]) == pytest.approx(0.2)
    assert np.isnan(gap([first], []))
    assert np.isnan(gap([measured([0.5, NAN])], [measured([NAN, 0.5])]))
