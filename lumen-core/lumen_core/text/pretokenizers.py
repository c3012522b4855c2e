"""How a text is cut into pieces before byte-pair merging, by the name that a vocabulary carries.

In: the value of `tokenizer.ggml.pre`.  Out: a `PreTokenizer`: regexes that are applied one after the other
(each to the pieces that the one before left; what it does not match stays a piece), and flags.
All of this is data; `tokenizer.py` interprets it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.errors import TokenizerError

# One space between two visible characters begins a piece, since every rule takes a space first or in a run of
# them; one line break between a visible character and a letter or digit ends one. The characters are those
# that every version of Unicode and every engine calls by the same kind.
_VISIBLE, _ALPHANUMERIC = "!-~一-龥가-힣", "0-9A-Za-z一-龥가-힣"
_LINE = rf"(?<=[{_VISIBLE}]\n)(?=[{_ALPHANUMERIC}])"
WORDS = rf"(?<=[{_VISIBLE}])(?= [{_VISIBLE}])|{_LINE}"
# Where pieces span the spaces between letters, only behind a mark or a digit.
CLAUSES = rf"(?<=[!-@\[-`{{-~])(?= [{_VISIBLE}])|{_LINE}"
NOWHERE = "(?!)"


@dataclass(frozen=True)
class PreTokenizer:
    """`whole_words`: a piece that is a token is never split.  `nfc`: the family composes its texts first.

    cut  where a text may be cut without a change to its pieces; what is on both sides is never one piece
         (a regex of Python; the patterns are those of the library that cuts)
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False
    nfc: bool = False
    cut: str = WORDS


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+" + _SPACES
# Published as `\s*[\r\n]+`; this form never steps back through a long run of spaces.
_LINES = r"(?:(?>[^\S\r\n]*)[\r\n]+)+"
_TAIL = _LINES + _SPACES
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
_LLAMA3 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_TAIL}"
)
# Pieces span spaces.  Published with nested quantifiers; this form matches the same texts in linear time.
_SUPERBPE = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}\p{{M}}*(?: ?\p{{L}}\p{{M}}*)*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|{_TAIL}"
)
_HYPERCLOVAX = (
    r"\p{N}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_TAIL}",
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

_gpt2 = PreTokenizer((_GPT2,))
_digits = PreTokenizer((r"\p{N}", _GPT2))
_qwen2 = PreTokenizer((_QWEN2,), nfc=True)
_llama3 = PreTokenizer((_LLAMA3,), whole_words=True, add_bos=True)
_gpt4o = PreTokenizer((_GPT4O,))

PRETOKENIZERS: dict[str, PreTokenizer] = {
    "default": PreTokenizer(_DEFAULT),
    **dict.fromkeys(("gpt-2", "gpt2", "a.x-4.0", "exaone4", "trillion", "mpt", "olmo", "jais",
                     "phi-2", "granite-docling", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"), _gpt2),
    **dict.fromkeys(("exaone", "command-r", "starcoder", "refact", "smollm", "codeshell"), _digits),
    **dict.fromkeys(("qwen2", "megrez"), _qwen2),
    **dict.fromkeys(("solar-open", "kormo", "stablelm2", "deepseek-r1-qwen", "hunyuan"),
                    PreTokenizer((_QWEN2,))),
    "qwen35": PreTokenizer((_QWEN35,), nfc=True),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0"), _llama3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), PreTokenizer((_LLAMA3,))),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), _gpt4o),
    "exaone-moe": PreTokenizer((_SUPERBPE,), nfc=True, cut=CLAUSES),
    **dict.fromkeys(("hyperclovax", "mu-choco"), PreTokenizer(_HYPERCLOVAX)),
}  # fmt: skip

# What a tokenizer.json writes for the same rules -> where that may be cut; None: it only cuts more.
_SUPERBPE_PUBLISHED = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
CUTS: dict[str, str | None] = {
    form: rules.cut if pattern.endswith(_SPACES) else None
    for rules in PRETOKENIZERS.values()
    for pattern in rules.patterns
    for form in (pattern, pattern.replace(_LINES, r"\s*[\r\n]+"))
} | {_SUPERBPE_PUBLISHED: CLAUSES}


def pretokenizer(name: str | None) -> PreTokenizer:
    """Look a name up; a vocabulary without one gets the rules that its converter would have assumed."""
    if name is None:
        return PRETOKENIZERS["default"]
    if name not in PRETOKENIZERS:
        raise TokenizerError(
            f"tokenizer.ggml.pre is {name!r}, a pre-tokenizer that this version does not know; "
            f"known: {', '.join(sorted(PRETOKENIZERS))}"
        )
    return PRETOKENIZERS[name]
