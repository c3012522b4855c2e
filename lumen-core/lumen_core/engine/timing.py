"""How long a run took, beside what the machine could do meanwhile.

In: tokens and seconds of a run's parts, and the limits around each. Out: its speed, and its share of a limit.
A shared machine may read half as fast from one second to the next, so that each part has limits of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lumen_core.runtime.peaks import Peaks


@dataclass(frozen=True)
class Part:
    """Tokens of a run without a pause, and what the machine could do just before and after."""

    tokens: int
    seconds: float
    limits: Peaks


@dataclass(frozen=True)
class Sample:
    """One run of one test, in parts. Its share of a limit: the time it would take there, of what it took."""

    parts: Sequence[Part]

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return sum(part.tokens for part in self.parts) / self._seconds

    @property
    def limits(self) -> Peaks:
        return Peaks.median([part.limits for part in self.parts])

    def of_peak(self, operations_per_token: Mapping[str, int]) -> float:
        least = 0.0
        for part in self.parts:
            peaks = part.limits.operations_per_second
            least += part.tokens * sum(count / peaks[unit] for unit, count in operations_per_token.items())
        return least / self._seconds

    def of_bandwidth(self, bytes_per_token: float) -> float:
        tokens = sum(part.tokens / part.limits.read_bytes_per_second for part in self.parts)
        return bytes_per_token * tokens / self._seconds

    @property
    def _seconds(self) -> float:
        return max(sum(part.seconds for part in self.parts), 1e-9)
