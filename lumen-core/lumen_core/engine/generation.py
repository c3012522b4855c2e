"""One generation: what it was asked for, how far it is, how long it took, what came out."""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.engine.sampling import Sampling
from lumen_core.text.stream import StreamDecoder


@dataclass(frozen=True)
class Statistics:
    """How long a generation took; seconds of wall time."""

    prompt_tokens: int
    reused_tokens: int
    prompt_seconds: float
    first_token_seconds: float
    generated_tokens: int
    decode_seconds: float


@dataclass(frozen=True)
class Completion:
    """A whole answer. finish_reason is "stop" (the model ended, or a stop string came) or "length"."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    statistics: Statistics


class Run:
    """One generation while it goes on."""

    def __init__(
        self, ids: list[int], limit: int, ends: frozenset[int], decoder: StreamDecoder, sampling: Sampling
    ):
        self.ids = ids
        self.limit = limit
        self.ends = ends
        self.decoder = decoder
        self.sampling = sampling
        self.tokens: list[int] = []
        self.finish_reason = "length"
        self.reused = 0
        self.started = self.prefilled = self.first = self.ended = 0.0

    def statistics(self) -> Statistics:
        return Statistics(
            prompt_tokens=len(self.ids) - self.reused,
            reused_tokens=self.reused,
            prompt_seconds=self.prefilled - self.started,
            first_token_seconds=max(0.0, self.first - self.started),
            generated_tokens=len(self.tokens),
            decode_seconds=self.ended - self.prefilled,
        )
