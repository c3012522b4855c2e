"""Formats that GGUF has no number for: the file itself says which number stands for which declaration.

Numbers of such formats start at FIRST, and five arrays of equal length name them in the metadata: types,
names, digests (of the declarations), blocks and block_bytes, all under `lumen.formats.`; a sixth,
header_bytes, is there where rows store something once, before their blocks. Nothing is guessed:
a number, a name or a digest that could mean two things is refused with both of them in the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lumen_core.errors import ModelFormatError, UnsupportedFormatError
from lumen_core.weights.model_file import FormatIdentity, TensorPlan
from lumen_quant_gguf.type_ids import REMOVED_TYPES, TENSOR_TYPES, TENSOR_TYPES_BY_NAME, TensorTypeId

FIRST = 0x4C554D00  # "LUM\0": far from any number that is given out one by one
PREFIX = "lumen.formats."
_MOST = 1 << 16  # weights or bytes of a block
_COLUMNS = ("types", "names", "digests", "blocks", "block_bytes")
_HEADERS = "header_bytes"


@dataclass(frozen=True)
class Types:
    """The tensor types of one file: those of GGUF and its own."""

    by_id: Mapping[int, TensorTypeId]
    by_name: Mapping[str, TensorTypeId]
    identities: Mapping[str, FormatIdentity]


STANDARD = Types(TENSOR_TYPES, TENSOR_TYPES_BY_NAME, {})


def types_of_plan(plan: Sequence[TensorPlan]) -> Types:
    """Give numbers to the formats of a plan that have none; raises UnsupportedFormatError."""
    identities: dict[str, FormatIdentity] = {}
    for entry in plan:
        if entry.format in TENSOR_TYPES_BY_NAME:
            continue
        if entry.identity is None:
            raise UnsupportedFormatError(f"GGUF has no tensor type {entry.format!r} (tensor {entry.name})")
        known = identities.setdefault(entry.format, entry.identity)
        if known != entry.identity:
            raise UnsupportedFormatError(f"two declarations are called {entry.format!r}: {known.digest} and "
                                         f"{entry.identity.digest}")  # fmt: skip
    own = [TensorTypeId(FIRST + index, item.name, item.block, item.block_bytes, item.header_bytes)
           for index, item in enumerate(identities.values())]  # fmt: skip
    return _joined(own, identities)


def _joined(own: Sequence[TensorTypeId], identities: Mapping[str, FormatIdentity]) -> Types:
    return Types(
        {**TENSOR_TYPES, **{kind.id: kind for kind in own}},
        {**TENSOR_TYPES_BY_NAME, **{kind.name: kind for kind in own}},
        identities,
    )


def metadata_of(types: Types) -> dict[str, object]:
    """What the file must say about its own types."""
    if not types.identities:
        return {}
    kinds = [types.by_name[name] for name in types.identities]
    headers = np.array([kind.header_bytes for kind in kinds], np.uint32)
    return ({f"{PREFIX}{_HEADERS}": headers} if headers.any() else {}) | {
        f"{PREFIX}types": np.array([kind.id for kind in kinds], np.uint32),
        f"{PREFIX}names": [kind.name for kind in kinds],
        f"{PREFIX}digests": [identity.digest for identity in types.identities.values()],
        f"{PREFIX}blocks": np.array([kind.block for kind in kinds], np.uint32),
        f"{PREFIX}block_bytes": np.array([kind.block_bytes for kind in kinds], np.uint32),
    }


def types_of_metadata(path: Path, metadata: Mapping[str, object]) -> Types:
    """The types that a file declares; raises ModelFormatError where a number or name is ambiguous."""
    if not any(PREFIX + column in metadata for column in (*_COLUMNS, _HEADERS)):
        return STANDARD
    columns: dict[str, list] = {}
    for column in (*_COLUMNS, _HEADERS):
        if column == _HEADERS and PREFIX + column not in metadata:
            columns[column] = [0] * len(columns["types"])
            continue
        values = metadata.get(PREFIX + column)
        items = values.tolist() if hasattr(values, "tolist") else None
        kind = str if column in ("names", "digests") else int
        if not isinstance(items, list) or not all(type(item) is kind for item in items):
            raise ModelFormatError(f"{path}: {PREFIX}{column} is not an array of {kind.__name__}")
        columns[column] = items
    if len({len(items) for items in columns.values()}) != 1:
        raise ModelFormatError(f"{path}: the arrays under {PREFIX} have different lengths")
    own: list[TensorTypeId] = []
    identities: dict[str, FormatIdentity] = {}
    for number, name, digest, block, size, header in zip(*columns.values(), strict=True):
        claim = f"{path}: {PREFIX}types gives {number} to the format {name!r}"
        if number in TENSOR_TYPES:
            raise ModelFormatError(f"{claim}, but in GGUF that number is {TENSOR_TYPES[number].name}")
        if number in REMOVED_TYPES:
            raise ModelFormatError(f"{claim}, but in GGUF that number was {REMOVED_TYPES[number]}")
        other = next((kind.name for kind in own if kind.id == number), None)
        if other is not None:
            raise ModelFormatError(f"{claim} and to {other!r}")
        if name in identities:
            raise ModelFormatError(f"{path}: two formats are called {name!r}: {identities[name].digest} and "
                                   f"{digest}")  # fmt: skip
        if name in TENSOR_TYPES_BY_NAME:
            raise ModelFormatError(f"{claim}, but that name is GGUF's own (number "
                                   f"{TENSOR_TYPES_BY_NAME[name].id})")  # fmt: skip
        if not 1 <= block <= _MOST or not 1 <= size <= _MOST or not name:
            raise ModelFormatError(f"{claim} with blocks of {block} weights in {size} bytes")
        if not 0 <= header <= _MOST:
            raise ModelFormatError(f"{claim} whose rows begin with {header} bytes")
        own.append(TensorTypeId(number, name, block, size, header))
        identities[name] = FormatIdentity(name, digest, block, size, header)
    return _joined(own, identities)
