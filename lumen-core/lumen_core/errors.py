"""Every error that Lumen raises on purpose.

LumenError                 what a caller may catch; str() is what the command line prints
├── SourceError            a `.lum` text is wrong: carries every diagnostic of the file
├── ModelFormatError       a model file is malformed: names the offset or key
├── ModelError             a model file is sound but cannot be run: unknown architecture, missing tensor
├── UnsupportedFormatError a quantization format that no installed package declares
├── TokenizerError         a vocabulary or a text that cannot be tokenized
├── TemplateError          a chat template that is broken, unsafe or too slow
├── ContextLengthError     a prompt that does not fit the context
├── OutOfMemoryError       memory that the machine does not have
├── TargetError            no backend for the machine, or an unknown target name
├── PluginError            a plugin that cannot be loaded or that collides with another
└── CancelledError         a generation that was stopped from outside

What to do is said in the library's own words; a parameter stands in `backquotes`, and the command line
puts the option in its place.

LumenBug                   our own fault: not a LumenError, carries what reproduces it
"""

from __future__ import annotations


class LumenError(Exception):
    """The base of every error that a user can cause and mend."""


class SourceError(LumenError):
    """A `.lum` text that does not parse, resolve or type-check; `diagnostics` holds all findings."""

    def __init__(self, message: str, diagnostics: tuple = ()):
        super().__init__(message)
        self.diagnostics = diagnostics


class ModelFormatError(LumenError):
    """A model file whose bytes contradict themselves."""


class ModelError(LumenError):
    """A sound model file that this installation cannot run."""


class UnsupportedFormatError(LumenError):
    """A quantization format that no installed package declares."""


class TokenizerError(LumenError):
    """A vocabulary that cannot be built or a text that cannot be encoded."""


class TemplateError(LumenError):
    """A chat template that is broken, unsafe or exceeds its limits."""


class ContextLengthError(LumenError):
    """More tokens than the context holds."""

    def __init__(self, message: str, tokens: int = 0, context: int = 0):
        super().__init__(message)
        self.tokens = tokens
        self.context = context


class OutOfMemoryError(LumenError):
    """Memory that the machine does not have."""


class TargetError(LumenError):
    """No usable backend, or a target name that none of them knows."""


class PluginError(LumenError):
    """A plugin that cannot be loaded, or two that declare the same name."""


class CancelledError(LumenError):
    """A generation stopped from outside."""


class LumenBug(Exception):
    """A broken invariant of Lumen itself; please report it with the text it carries."""
