"""What analysis finds wrong in a declaration: a message, its place, and what to change."""

from __future__ import annotations

from lumen_core.source import Span


class Wrong(Exception):
    """A finding at a place of the declaration."""

    def __init__(self, message: str, span: Span, help: str | None = None):
        super().__init__(message)
        self.span = span
        self.help = help
