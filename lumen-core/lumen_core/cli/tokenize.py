"""`lumen tokenize`: the tokens of a text."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, print_json, print_table
from lumen_core.text.sample import SENTENCE

EPILOG = """Examples:

  lumen tokenize demo "안녕하세요"
  lumen tokenize model.gguf "Hello" --ids
  lumen tokenize model.gguf "<|im_start|>user" --parse-special
  lumen tokenize demo "안녕하세요" --compare LGAI-EXAONE/EXAONE-4.0-1.2B --compare Qwen/Qwen3-0.6B
  cat text.txt | lumen tokenize vocabulary.gguf - --json
"""


def tokenize(
    model: options.ModelName,
    text: Annotated[str, typer.Argument(help="The text; `-` reads standard input.")] = SENTENCE,
    compare: Annotated[
        list[str] | None, typer.Option("--compare", help="Another model; may be given several times.")
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids alone, on one line.")] = False,
    special: Annotated[bool, typer.Option(help="Add what the model begins and ends a text with.")] = True,
    parse_special: options.ParseSpecial = False,
    json: options.Json = False,
) -> None:
    """Show a text's tokens; a file with only a vocabulary will do."""
    from lumen_core.engine.loading import load_tokenizer

    content = options.text_or_stdin(text, "the text")
    if compare:
        names = [model, *compare]
        rows = [
            _fertility(name, load_tokenizer(options.valid_text(name, "the name")), content) for name in names
        ]
        if json:
            print_json(rows)
            return
        columns = ["model", ">vocabulary", ">tokens", ">per character", ">per syllable", ">if decomposed"]
        print_table(columns, [tuple(row.values()) for row in rows])
        return
    tokenizer = load_tokenizer(options.valid_text(model, "the file name"))
    tokens = [int(token) for token in tokenizer.encode(content, special, parse_special)]
    if ids:
        print_json(tokens) if json else print(*tokens)
        return
    pieces = [tokenizer.token_bytes(token) for token in tokens]
    if json:
        both = zip(tokens, pieces, strict=True)
        print_json([{"id": token, "text": _text(piece), "bytes": list(piece)} for token, piece in both])
        return
    said = map(_text, pieces)
    shown = [
        repr(word) if word is not None else f"bytes {p.hex()}" for word, p in zip(said, pieces, strict=True)
    ]
    print_table([">id", "text"], list(zip(tokens, shown, strict=True)))
    print(f"tokens: {len(tokens)}, characters: {len(content)}{_per_syllable(len(tokens), content)}")
    warn_of_decomposed(content, tokenizer)


def _syllables(text: str) -> int:
    """Count syllables, those in single letters too."""
    return sum("가" <= letter <= "힣" for letter in unicodedata.normalize("NFC", text))


def _per_syllable(tokens: int, text: str) -> str:
    count = _syllables(text)
    return f", tokens per syllable: {tokens / count:.2f}" if count else ""


def _fertility(name: str, tokenizer: Any, text: str) -> dict[str, object]:
    """How many tokens a vocabulary needs for a text, composed and decomposed."""
    tokens = len(tokenizer.encode(text, add_special=False))
    apart = len(tokenizer.encode(unicodedata.normalize("NFD", text), add_special=False))
    syllables = _syllables(text)
    return {
        "model": Path(name).name,
        "vocabulary": tokenizer.size,
        "tokens": tokens,
        "per_character": round(tokens / max(len(text), 1), 3),
        "per_syllable": round(tokens / syllables, 3) if syllables else None,
        "if_decomposed": apart,
    }


def warn_of_decomposed(text: str, tokenizer: Any) -> None:
    """Say so where Hangul comes letter by letter (as file names on some systems do) and stays so."""
    if any("\u1100" <= letter <= "\u11ff" for letter in text):
        composed = unicodedata.normalize("NFC", text)
        before, after = (len(tokenizer.encode(one, add_special=False)) for one in (text, composed))
        if after < before:
            note(f"note: the text has decomposed Hangul (NFD): {before} tokens, composed (NFC) {after}")


def _text(piece: bytes) -> str | None:
    """Return what a token's bytes say, or None for a part of a character."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None
