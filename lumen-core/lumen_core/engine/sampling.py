"""What a caller may ask of a generation, checked before anything runs."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from lumen_core.errors import LumenError
from lumen_core.schedule.sampling import SETTINGS

# Metadata below "general.sampling." -> our name of the setting.
_RECOMMENDED = {
    "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
}  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; `schedule.sampling` defines each setting and their order.

    temperature 0 takes the likeliest token; seed None draws one; repeat_last counts the tokens that
    the repetition penalty looks back on (-1: the whole context).
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last: int = 64
    seed: int | None = None

    def __post_init__(self) -> None:
        def require(good: bool, name: str, expected: str) -> None:
            if not good:
                raise LumenError(f"{name} must be {expected}, found {getattr(self, name)!r}")

        for name in ("temperature", "top_p", "min_p", "repeat_penalty"):
            value = getattr(self, name)
            require(isinstance(value, int | float) and math.isfinite(value), name, "a finite number")
        for name in ("top_k", "repeat_last"):
            require(isinstance(getattr(self, name), int), name, "a whole number")
        require(0 <= self.temperature <= 100, "temperature", "between 0 and 100")
        require(0 <= self.top_k < 2**31, "top_k", "between 0 (all) and 2**31")
        require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1")
        require(0 <= self.min_p <= 1, "min_p", "between 0 and 1")
        require(0 < self.repeat_penalty <= 100, "repeat_penalty", "above 0 and at most 100 (1: none)")
        require(self.repeat_last >= -1, "repeat_last", "at least 0, or -1 for the whole context")
        seeded = isinstance(self.seed, int) and -1 <= self.seed < 2**64
        require(self.seed is None or seeded, "seed", "below 2**64")

    def write(self, settings: np.ndarray) -> None:
        """Fill the native settings record."""
        record = np.zeros((), SETTINGS)
        record["penalty"] = self.repeat_penalty
        record["top_p"], record["min_p"] = self.top_p, self.min_p
        record["temperature"], record["top_k"] = self.temperature, self.top_k
        drawn = self.seed is None or self.seed < 0
        record["seed"] = secrets.randbits(64) if drawn else self.seed
        settings[0] = record

    @property
    def penalizes(self) -> bool:
        """Whether tokens that came before count."""
        return self.repeat_penalty != 1 and self.repeat_last != 0

    def recent(self, tokens: Sequence[int], limit: int) -> np.ndarray:
        """The distinct ids that the penalty applies to."""
        if not self.penalizes:
            return np.empty(0, np.int32)
        count = limit if self.repeat_last < 0 else min(self.repeat_last, limit)
        return np.unique(np.array(tokens[-count:], np.int32))


def recommended(metadata: Mapping[str, object]) -> dict[str, float]:
    """What a model's authors advise for conversations; settings that make no sense are left out."""
    found: dict[str, float] = {}
    for key, name in _RECOMMENDED.items():
        value = metadata.get(f"general.sampling.{key}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = int(value) if name == "top_k" else float(value)
            with suppress(LumenError):
                Sampling(**{name: number})  # type: ignore[arg-type]
                found[name] = number
    return found
