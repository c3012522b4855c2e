"""Which format each tensor of a new file gets, by the name of a mixture or of any declared format."""

from __future__ import annotations

from collections.abc import Mapping

from lumen_core.errors import UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import Reader


def chosen_formats(
    reader: Reader,
    registry: Registry,
    mixture: str,
    shapes: Mapping[str, tuple[int, ...]],
    layers: int,
    importance: bool,
) -> dict[str, str]:
    """The container's choice; a format that it does not know goes to every matrix whose rows it divides."""
    assert reader.formats is not None
    try:
        return reader.formats(mixture, shapes, layers, importance)
    except UnsupportedFormatError as unknown:
        name = mixture.removeprefix("pure-")
        try:
            block = registry.format(name).length
        except UnsupportedFormatError as undeclared:
            raise UnsupportedFormatError(f"{unknown}, and {undeclared}") from None
    usual = reader.formats("pure-f16", shapes, layers, importance)
    return {
        tensor: name if format == "f16" and not shapes[tensor][-1] % block else format
        for tensor, format in usual.items()
    }
