"""Lumen: a compiler and runtime for LLM inference.

    import lumen_core as lumen
    model = lumen.load("demo")
    for text in model.stream("옛날 옛적에"):
        print(text, end="", flush=True)

Importing this package is cheap: the engine is imported when `load` or `load_tokenizer` is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lumen_core.errors import (
    CancelledError,
    ContextLengthError,
    LumenBug,
    LumenError,
    ModelError,
    ModelFormatError,
    OutOfMemoryError,
    PluginError,
    SourceError,
    TargetError,
    TemplateError,
    TokenizerError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from lumen_core.engine.loading import load as load
    from lumen_core.engine.loading import load_tokenizer as load_tokenizer
    from lumen_core.engine.model import Model as Model

__version__ = "0.1.0"

_LAZY = {
    "Model": "lumen_core.engine.model",
    "load": "lumen_core.engine.loading",
    "load_tokenizer": "lumen_core.engine.loading",
}

__all__ = [
    "CancelledError",
    "ContextLengthError",
    "LumenBug",
    "LumenError",
    "Model",
    "ModelError",
    "ModelFormatError",
    "OutOfMemoryError",
    "PluginError",
    "SourceError",
    "TargetError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedFormatError",
    "__version__",
    "load",
    "load_tokenizer",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
