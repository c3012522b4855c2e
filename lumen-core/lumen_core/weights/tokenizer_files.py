"""The tokenizer of a checkpoint directory: `tokenizer.json` or `tokenizer.model`, and the configs beside it.

In: the directory and its `config.json`.  Out: `tokenizer.*` metadata with special ids and the chat template,
and how the authors advise to draw tokens (`general.sampling.*`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lumen_core.errors import ModelFormatError, TokenizerError
from lumen_core.text.huggingface import JSON_KEY, from_json, from_sentence_piece, with_added
from lumen_core.text.json_encoder import JsonText
from lumen_core.text.vocabulary import ENDS_KEY
from lumen_core.weights.safetensors import LARGEST_JSON, read_json

_ROLES = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}

_SAMPLING = {
    "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}  # fmt: skip


def read_tokenizer(directory: Path, config: Mapping[str, Any]) -> dict[str, object]:
    """Return the tokenizer's metadata; raises TokenizerError or ModelFormatError naming the file."""
    settings = _table(directory / "tokenizer_config.json")
    result = _vocabulary(directory, settings)
    tokens = result["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    ids = {text: number for number, text in enumerate(tokens)}
    for role, key in _ROLES.items():
        number = ids.get(_content(settings.get(key)))
        if number is not None:
            result[f"tokenizer.ggml.{role}_token_id"] = number
    _ends(result, directory, config, len(tokens))
    result |= _sampling(directory)
    _begin(result, config, settings)
    template = _template(directory, settings)
    if template is not None:
        result["tokenizer.chat_template"] = template
    return result


def _vocabulary(directory: Path, settings: Mapping[str, Any]) -> dict[str, object]:
    path = directory / "tokenizer.json"
    if path.is_file():
        return from_json(_text(path))
    path = directory / "tokenizer.model"
    if path.is_file():
        vocabulary = from_sentence_piece(path.read_bytes())
        added = settings.get("added_tokens_decoder")
        return with_added(vocabulary, added) if isinstance(added, dict) else vocabulary
    raise TokenizerError(
        f"{directory} has neither tokenizer.json nor tokenizer.model; download one of them to the weights"
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ModelFormatError(f"{path} has more than {LARGEST_JSON >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelFormatError(f"{path} is not UTF-8") from None


def _table(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path} is no table of settings")
    return content


def _content(token: Any) -> str | None:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _ends(result: dict[str, object], directory: Path, config: Mapping[str, Any], count: int) -> None:
    """What ends a generation: as the generation config says it, else the model's config."""
    for source, table in (("generation_config.json", _table(directory / "generation_config.json")),
                          ("config.json", config)):  # fmt: skip
        value = table.get("eos_token_id")
        found: Sequence[Any] = value if isinstance(value, list) else [] if value is None else [value]
        for number in found:
            if type(number) is not int or not 0 <= number < count:
                raise ModelFormatError(
                    f"{directory / source}: eos_token_id {str(number)[:40]} is none of {count} tokens"
                )
        if not found:
            continue
        first = result.get("tokenizer.ggml.eos_token_id")
        if first not in found:
            first = found[0]
        others = [number for number in found if number != first]
        result["tokenizer.ggml.eos_token_id"] = first
        for role, number in zip(("eot", "eom"), others, strict=False):
            result[f"tokenizer.ggml.{role}_token_id"] = number
        if others[2:]:  # more than the usual keys can say
            result[ENDS_KEY] = np.array(found, np.int32)
        return


def _sampling(directory: Path) -> dict[str, object]:
    """What the authors advise for drawing tokens, unless they advise against drawing."""
    table = _table(directory / "generation_config.json")
    if table.get("do_sample") is False:
        return {}
    values = {ours: table.get(theirs) for ours, theirs in _SAMPLING.items()}
    return {
        f"general.sampling.{name}": value for name, value in values.items() if type(value) in (int, float)
    }


def _begin(result: dict[str, object], config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Whether texts begin with a token: as the tokenizer does it, for those who only have the keys."""
    number = config.get("bos_token_id")
    tokens = result["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    if "tokenizer.ggml.bos_token_id" not in result and type(number) is int and 0 <= number < len(tokens):
        result["tokenizer.ggml.bos_token_id"] = number
    text = result.get(JSON_KEY)
    if isinstance(text, JsonText):
        encoder = text.encoder(tokens)
        kinds = result["tokenizer.ggml.token_type"]
        assert isinstance(kinds, np.ndarray)
        encoder.check(tokens, kinds)
        if encoder.prefix:
            result["tokenizer.ggml.bos_token_id"] = encoder.prefix[0]
        result["tokenizer.ggml.add_bos_token"] = bool(encoder.prefix)
        result["tokenizer.ggml.add_eos_token"] = bool(encoder.suffix)
    else:
        result["tokenizer.ggml.add_bos_token"] = bool(settings.get("add_bos_token", True))
        result["tokenizer.ggml.add_eos_token"] = bool(settings.get("add_eos_token", False))


def _template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template: a file of its own, else the tokenizer config's (the one named `default`)."""
    path = directory / "chat_template.jinja"
    if path.is_file():
        return _text(path)
    template = settings.get("chat_template")
    if template is None:
        template = _table(directory / "chat_template.json").get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), None)
    return template if isinstance(template, str) else None
