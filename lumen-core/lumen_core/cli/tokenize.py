"""`lumen tokenize`: the tokens of a text."""

from __future__ import annotations

from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_json, print_table

EPILOG = """Examples:

  lumen tokenize demo "안녕하세요"
  lumen tokenize model.gguf "Hello" --ids
  cat text.txt | lumen tokenize vocabulary.gguf - --json
"""


def tokenize(
    model: options.ModelName,
    text: Annotated[str, typer.Argument(help="The text; `-` reads standard input.")],
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids alone, on one line.")] = False,
    special: Annotated[bool, typer.Option(help="Add what the model begins and ends a text with.")] = True,
    json: options.Json = False,
) -> None:
    """Show a text's tokens; a file with only a vocabulary will do."""
    from lumen_core.engine.model import load_tokenizer

    content = options.text_or_stdin(text, "the text")
    tokenizer = load_tokenizer(options.valid_text(model, "the file name"))
    tokens = [int(token) for token in tokenizer.encode(content, add_special=special)]
    if ids:
        print_json(tokens) if json else print(*tokens)
        return
    pieces = [tokenizer.token_bytes(token) for token in tokens]
    if json:
        rows = zip(tokens, pieces, strict=True)
        print_json([{"id": token, "text": _text(piece), "bytes": list(piece)} for token, piece in rows])
        return
    said = map(_text, pieces)
    shown = [
        repr(word) if word is not None else f"bytes {p.hex()}" for word, p in zip(said, pieces, strict=True)
    ]
    print_table([">id", "text"], list(zip(tokens, shown, strict=True)))
    print(f"{len(tokens)} tokens, {len(content)} characters")


def _text(piece: bytes) -> str | None:
    """Return what a token's bytes say, or None for a part of a character."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None
