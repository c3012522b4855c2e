"""The tokenizer. In: the generator's text. Out: `tokenizer.json`, a byte-level BPE in Qwen2's manner.

Qwen2's splitting pattern is what `tokenizer.ggml.pre = qwen2` means to a GGUF reader, and true.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from text.corpus import documents
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).parent
VOCABULARY = 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(itertools.islice(documents(seed=7), 60_000), trainer)
    tokenizer.add_special_tokens(SPECIAL)  # the last ids, as in Qwen's own files
    return tokenizer


if __name__ == "__main__":
    result = train()
    result.save(str(HERE / "tokenizer.json"))
    print(f"{result.get_vocab_size()} tokens")
