"""A checkpoint's `config.json` as the settings of a model file; nothing that changes numbers is dropped.

In: the (text section of the) config and the model's `Checkpoint`.  Out: settings under our keys, divisors of
the rotary frequencies, and the names of what has a value but no use here.  A value that the page cannot
compute is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.weights.mapping import WITHOUT_EFFECT, Checkpoint, Words
from lumen_core.weights.rope_scaling import ROPE_KEYS, rope_metadata, rope_settings, unused_rope_settings


@dataclass(frozen=True)
class Settings:
    """keys: below "<architecture>."; divisors: f32 [R / 2] or None; unused: settings that nothing reads."""

    keys: Mapping[str, object]
    divisors: np.ndarray | None
    unused: tuple[str, ...]


def read_settings(path: Path, config: Mapping[str, Any], checkpoint: Checkpoint) -> Settings:
    """Translate a config; raises ModelFormatError naming the setting that is wrong or cannot be computed."""
    config = {**checkpoint.defaults, **config}
    _check(path, config, checkpoint)
    keys = _plain(path, config, checkpoint)
    for ours, words in checkpoint.flags.items():
        found = _words(path, config, words)
        if found:
            keys[ours] = np.array([one == words.true for one in found])
    for ours, words in checkpoint.leading.items():
        found = _words(path, config, words)
        if found:
            keys[ours] = leading = found.count(words.true)
            if words.true in found[leading:]:
                raise ModelFormatError(
                    f"{path}: {words.setting}: layers that are {words.true} stand behind others"
                )
    keys |= checkpoint.values
    rope, divisors = _rotation(path, config, keys, checkpoint)
    return Settings({**rope, **keys}, divisors, tuple(_unused(config, checkpoint)))


def _check(path: Path, config: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    for key, allowed in checkpoint.required.items():
        value = _value(config, key)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            if one not in allowed:
                only = ", ".join(map(repr, allowed)) or "models without it"
                raise ModelFormatError(
                    f"{path}: {key} is {str(value)[:60]!r}; the model {checkpoint.architecture} computes "
                    f"only {only}"
                )


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _first(config: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """The first of the names that the config has, and its value; None if it has none."""
    for name in names:
        value = _value(config, name)
        if value is not None:
            return name, value
    return names[0], None


def _plain(path: Path, config: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, object]:
    """Settings that are numbers, words or lists of numbers."""
    keys: dict[str, object] = {}
    for ours, names in checkpoint.keys.items():
        theirs, value = _first(config, (names,) if isinstance(names, str) else names)
        if value is None:
            continue
        if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
            value = np.array(value)
            value = value.astype(np.int32 if value.dtype.kind == "i" else value.dtype)
        if not isinstance(value, bool | int | float | str | np.ndarray):
            raise ModelFormatError(
                f"{path}: {theirs} is {str(value)[:60]}, neither a number nor a list of them"
            )
        keys[ours] = value
    for key in ("block_count", "embedding_length", "attention.head_count"):
        value = keys.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
            raise ModelFormatError(
                f"{path}: {checkpoint.keys.get(key, key)} is {value!r}, not a positive number"
            )
    return keys


def _words(path: Path, config: Mapping[str, Any], words: Words) -> list[str]:
    """The word of every layer: as listed, or after a period; none if the config says neither."""
    listed = _value(config, words.setting)
    if isinstance(listed, list) and listed:
        for word in listed:
            if word not in (words.true, words.false):
                raise ModelFormatError(
                    f"{path}: {words.setting} has {str(word)[:60]!r}; known: {words.true}, {words.false}"
                )
        return listed
    period, layers = _value(config, words.period) if words.period else None, config.get("num_hidden_layers")
    if not period or not isinstance(layers, int) or not 0 < layers < 1 << 16:
        return []
    if isinstance(period, str) and set(period) <= {"L", "G"}:  # local and global; the last is always global
        found = [words.true if period[layer % len(period)] == "L" else words.false for layer in range(layers)]
        return [*found[:-1], words.false]
    if type(period) is int and period > 0:
        return [words.false if (layer + 1) % period == 0 else words.true for layer in range(layers)]
    raise ModelFormatError(
        f"{path}: {words.period} is {str(period)[:60]!r}, neither a number of layers nor letters L and G"
    )


def _rotation(path: Path, config: Mapping[str, Any], keys: Mapping[str, object],
              checkpoint: Checkpoint) -> tuple[dict[str, object], np.ndarray | None]:  # fmt: skip
    width, heads = keys["embedding_length"], keys["attention.head_count"]
    assert isinstance(width, int) and isinstance(heads, int)
    head = keys.get("attention.key_length") or width // heads
    if not isinstance(head, int) or head < 2:
        raise ModelFormatError(f"{path}: the head size is {head!r}, not a positive number")
    share = rope_settings(config, checkpoint.local_rope)[0].get("partial_rotary_factor")
    share = config.get("partial_rotary_factor", 1.0) if share is None else share
    rotated = int(head * (share if isinstance(share, int | float) else 1.0))
    return rope_metadata(config, rotated, checkpoint.local_rope)


def _unused(config: Mapping[str, Any], checkpoint: Checkpoint) -> list[str]:
    """Settings with a value that neither the page reads nor is known to change nothing."""
    read = {name.split(".")[0] for names in checkpoint.keys.values()
            for name in ((names,) if isinstance(names, str) else names)}  # fmt: skip
    read |= {name.split(".")[0] for name in checkpoint.required}
    for words in (*checkpoint.flags.values(), *checkpoint.leading.values()):
        read |= {words.setting, words.period}
    read |= {*WITHOUT_EFFECT, *ROPE_KEYS, *checkpoint.unused}
    left = [
        f"{name} = {str(value)[:60]}"
        for name, value in config.items()
        if value and name not in read and not name.endswith(("_dropout", "_token_id", "_pdrop"))
    ]
    return left + unused_rope_settings(config, checkpoint.local_rope)
