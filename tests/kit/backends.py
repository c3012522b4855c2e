"""What holds of the targets of every backend."""

from __future__ import annotations

from collections.abc import Iterable

from lumen_core.target import Backend, Row


def check_rows(backend: Backend, rows: Iterable[Row]) -> None:
    """A target has the features of its rows, and rows as wide as its vectors."""
    rows = list(rows)
    for target in backend.targets:
        for row in target.instructions:
            assert set(row.features) <= set(target.features)
        widths = [row.width for row in rows if row.instruction in target.instructions]
        assert max(widths) == target.vector_bytes
