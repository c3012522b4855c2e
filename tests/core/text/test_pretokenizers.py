"""The rules of every name against the regexes as they were published, run by the library on its own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.texts import edges
from kit.vocabularies import published
from tokenizers import Regex, normalizers, pre_tokenizers

from lumen_core.text.encoders import cutter
from lumen_core.text.pretokenizers import PRETOKENIZERS
from lumen_core.text.tokenizer import build

_C = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_END = r"|\s+(?!\S)|\s+"
GPT2 = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+" + _END,)
QWEN2 = (_C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + _END,)
QWEN35 = (_C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+" + _END,)
LLAMA3 = (_C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + _END,)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _C
    + r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _C
    + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+" + _END,
)  # fmt: skip
SUPERBPE = (
    _C + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
    + _END,
)  # fmt: skip
HYPERCLOVAX = (
    r"\p{N}", r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+" + _END,
)  # fmt: skip
# name -> regexes, whether a piece that is a token stays whole, whether a text begins with a token, NFC
PUBLISHED: dict[str, tuple[tuple[str, ...], bool, bool, bool]] = {
    **dict.fromkeys(("gpt-2", "a.x-4.0", "exaone4", "trillion"), (GPT2, False, False, False)),
    **dict.fromkeys(("exaone", "command-r", "starcoder"), ((r"\p{N}", *GPT2), False, False, False)),
    "qwen2": (QWEN2, False, False, True),
    **dict.fromkeys(("solar-open", "kormo"), (QWEN2, False, False, False)),
    "qwen35": (QWEN35, False, False, True),
    **dict.fromkeys(("llama-bpe", "llama3", "midm-2.0"), (LLAMA3, True, True, False)),
    **dict.fromkeys(("kanana2", "gpt-4o", "llama4"), (GPT4O, False, False, False)),
    "exaone-moe": (SUPERBPE, False, False, True),
    **dict.fromkeys(("hyperclovax", "mu-choco"), (HYPERCLOVAX, False, False, False)),
}  # fmt: skip
KINDS = sorted({rules: name for name, rules in PUBLISHED.items()}.values())
LINE = "2026년 서울의 AI모델은 漢字와 ㅋㅋㅋ를 12,345개 읽는다!"
CUT = {  # how some of them cut the line
    "a.x-4.0": "2026|년| 서울의| AI모델은| 漢字와| ㅋㅋㅋ를| 12|,|345|개| 읽는다|!",
    "qwen2": "2|0|2|6|년| 서울의| AI모델은| 漢字와| ㅋㅋㅋ를| |1|2|,|3|4|5|개| 읽는다|!",
    "midm-2.0": "202|6|년| 서울의| AI모델은| 漢字와| ㅋㅋㅋ를| |12|,|345|개| 읽는다|!",
    "exaone-moe": "2|0|2|6|년 서울의 AI모델은 漢字와 ㅋㅋㅋ를| |1|2|,|3|4|5|개 읽는다|!",
    "hyperclovax": "2|0|2|6|년| 서울의| AI모델은| |漢字|와| ㅋㅋㅋ를| |1|2|,|3|4|5|개| 읽는다|!",
}
TEXTS = st.one_of(edges, st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=30))


def written(pieces: list[tuple[str, tuple[int, int]]], text: str) -> list[str]:
    return [text[begin:end] for _, (begin, end) in pieces]


def test_every_name_has_its_rules() -> None:
    for name, published_as in PUBLISHED.items():
        rules = PRETOKENIZERS[name]
        assert (rules.whole_words, rules.add_bos, rules.nfc) == published_as[1:], name
        same = next(kind for kind in KINDS if PUBLISHED[kind] == published_as)
        assert rules.patterns == PRETOKENIZERS[same].patterns, name


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=200)
@given(TEXTS)
def test_the_pieces_are_those_of_the_published_regexes(name: str, text: str) -> None:
    patterns, rules = PUBLISHED[name][0], PRETOKENIZERS[name]
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    expected = pre_tokenizers.Sequence([*cuts, letters]).pre_tokenize_str(text)
    assert cutter(rules).pre_tokenize_str(text) == expected


@pytest.mark.parametrize("name", CUT)
def test_a_line(name: str) -> None:
    pieces = cutter(PRETOKENIZERS[name]).pre_tokenize_str(LINE)
    assert "|".join(written(pieces, LINE)) == CUT[name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "unit", [" ", "a", "A", "가", "\u1100", "1", "\n", " \n", "'", "/", "a\u0301", "가 ", "漢"]
)
def test_time_is_linear(name: str, unit: str) -> None:
    cut = cutter(PRETOKENIZERS[name]).pre_tokenize_str
    begin = time.process_time()
    cut(unit * (100_000 // len(unit)) + "x")
    assert time.process_time() - begin < 3.0  # quadratic: minutes


@pytest.mark.parametrize("name", ["qwen2", "llama-bpe", "gpt-2", "command-r"])
def test_published_vocabularies_by_their_own_tokenizer_json(name: str) -> None:
    """The file as GGUF has it, by us, and as the library would have read it: the same ids."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    from lumen_quant_gguf.container import open_file

    with open_file(published(name)) as file:
        metadata = dict(file.metadata)
    tokens, merges = (list(metadata[f"tokenizer.ggml.{key}"]) for key in ("tokens", "merges"))  # type: ignore[call-overload]
    patterns, whole_words, _, nfc = PUBLISHED[name]
    pairs = [tuple(line.split(" ")) for line in merges]
    library = Tokenizer(BPE({text: i for i, text in enumerate(tokens)}, pairs, ignore_merges=whole_words))
    if nfc:
        library.normalizer = normalizers.NFC()
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([*cuts, letters])
    ours = build(metadata)

    @settings(max_examples=400)
    @given(TEXTS)
    def same(text: str) -> None:
        ids = ours.encode(text, add_special=False)
        assert ids == library.encode(text).ids
        if not nfc:
            assert ours.decode(ids) == text

    same()
