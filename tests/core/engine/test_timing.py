"""A share of a limit is the time that the limit would take, of the time that was taken."""

from __future__ import annotations

import pytest

from lumen_core.engine.timing import Part, Sample
from lumen_core.runtime.peaks import Peaks


def test_parts_count_by_what_the_limit_was_in_each() -> None:
    """Two machines in one run, both used to the half: together that is a half, whatever each took."""
    slow, fast = Peaks(1, 100.0, 40.0, 20.0, 10.0), Peaks(1, 300.0, 80.0, 40.0, 20.0)
    sample = Sample([Part(10, 10 * 2 * 5 / 100, slow), Part(30, 30 * 2 * 5 / 300, fast)])
    assert sample.speed == pytest.approx(40 / 2.0)
    assert sample.of_bandwidth(5) == pytest.approx(0.5)
    assert sample.of_peak({"int8": 4, "f32": 1}) == pytest.approx((10 * 0.2 + 30 * 0.1) / 2)
    assert sample.limits.read_bytes_per_second == 200.0
