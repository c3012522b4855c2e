"""The command line in this process, with an engine that says what it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from kit.program import Lumen, program_here

from lumen_core.engine.chat import Reply
from lumen_core.engine.sequence import check_length
from lumen_core.text.tools import ToolCall


def _encode(text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
    return list(b"<" * add_special + text.encode() + b">" * parse_special)


TOKENIZER = SimpleNamespace(encode=_encode, token_bytes=lambda token: bytes([token]))


@dataclass
class FakeTurn:
    """Thinks if asked to, says the last message backwards, and calls a tool when it is told to."""

    model: FakeModel
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    text: str = ""
    run: Any = None

    def __iter__(self) -> Iterator[SimpleNamespace]:
        self.run = self
        options = dict(self.options)
        if options.pop("think", None):
            yield SimpleNamespace(channel="reasoning", text="hmm")
        options.pop("tools", None)
        for text in self.model.stream(self.messages[-1]["content"], **options):
            self.text += text
            yield SimpleNamespace(channel="answer", text=text)
        self.model.asked[-1] = (self.messages, self.options)

    def reply(self) -> Reply:
        wanted = self.messages[-1]["content"].count("call") if "tools" in self.options else 0
        calls = tuple(ToolCall("날씨", {"도시": "서울"}, f"c{n}") for n in range(1, wanted + 1))
        return Reply(self.text, "", calls, ("{",) * ("wrong" in self.messages[-1]["content"]), None)  # type: ignore[arg-type]


@dataclass
class FakeModel:
    """Answers with its prompt's characters in reverse, one a token."""

    options: dict[str, Any]
    asked: list[Any] = field(default_factory=list)
    closed: bool = False
    statistics: Any = None
    kept: ClassVar[int] = 0
    family: ClassVar[Any] = None
    recommended: ClassVar[dict[str, float]] = {}
    remarks: ClassVar[tuple[str, ...]] = ()

    @property
    def tokenizer(self) -> SimpleNamespace:
        return TOKENIZER

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        self.asked.append((prompt, options))
        check_length(len(prompt), 1000)
        if prompt == "crash":
            raise ZeroDivisionError("oh")
        if prompt == "interrupt":
            raise KeyboardInterrupt
        yield from list(reversed(prompt))[: options["max_tokens"]]
        self.statistics = SimpleNamespace(
            prompt_tokens=len(prompt), prompt_seconds=0.5, generated_tokens=2,
            decode_seconds=0.25, first_token_seconds=0.6, proposed_tokens=0, accepted_tokens=0,
            reused_tokens=self.kept,
        )  # fmt: skip

    def stream_parts(self, messages: list[dict[str, Any]], **options: Any) -> FakeTurn:
        return FakeTurn(self, messages, options)

    def generate(self, prompt: str, **options: Any) -> SimpleNamespace:
        return {"text": "".join(self.stream(prompt, **options)), "finish_reason": "stop"}  # type: ignore[return-value]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a fake engine where the commands look for one; `models` are those that were loaded."""
    models: list[FakeModel] = []

    def load(name: str, **options: Any) -> FakeModel:
        models.append(FakeModel({"name": name, **options}))
        return models[-1]

    def load_tokenizer(name: str) -> SimpleNamespace:
        return TOKENIZER

    module = ModuleType("lumen_core.engine.loading")
    vars(module).update(load=load, load_tokenizer=load_tokenizer, models=models)
    monkeypatch.setitem(sys.modules, "lumen_core.engine.loading", module)
    return SimpleNamespace(models=models)


@pytest.fixture
def lumen(capfd: pytest.CaptureFixture[str]) -> Lumen:
    """Return a function that runs a command and gives its exit code and what it printed."""
    return program_here(capfd)
