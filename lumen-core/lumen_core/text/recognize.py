"""Which known name stands for the way in which a `tokenizer.json` cuts texts: found by trying.

In: metadata that hold the file.  Out: a value for `tokenizer.ggml.pre`, or None where no name fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lumen_core.text.encoders import cutter
from lumen_core.text.huggingface import JSON_KEY
from lumen_core.text.json_encoder import load_pipeline
from lumen_core.text.pretokenizers import PRETOKENIZERS

# Names that other engines know too, the most usual first; several may stand for the same rules.
_PORTABLE = ("gpt-2", "qwen2", "llama-bpe", "gpt-4o", "exaone", "exaone-moe", "qwen35", "dbrx", "hyperclovax")
_PROBE = (
    "2026년 서울의 AI모델은 漢字와 ㅋㅋㅋ를 12,345개 읽는다! don't WE'LL I'M"
    "\n\n  x = {'a': 1}\r\n\t\tcamelCase "
    "HTMLPage   \u3000 カタカナ/path//to/\n /\nกำ\u0301 #tag @me e\u0301te\u0301 👨\u200d👩\u200d👧"
    " 3.14159 ⅧⅨ 난... \n \n end  "
)


def recognized(metadata: Mapping[str, object]) -> str | None:
    """Compare the pieces of a text that every known rule cuts in its own way."""
    text = str(metadata[JSON_KEY])
    pipeline = load_pipeline(text)
    if pipeline.pre_tokenizer is None:
        return None
    wanted = pipeline.pre_tokenizer.pre_tokenize_str(_PROBE)
    whole_words = bool(json.loads(text)["model"].get("ignore_merges", False))
    for name in _PORTABLE:
        rules = PRETOKENIZERS[name]
        if rules.whole_words == whole_words and cutter(rules).pre_tokenize_str(_PROBE) == wanted:
            return name
    return None
