"""`lumen run` from prompt to text, and every bad input: exit code 1, one message, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lumen_core
from lumen_core import load_tokenizer
from lumen_core.engine.synth import synthesize

FAST = ["-n", "8", "--temp", "0", "-t", "2"]


def test_a_prompt_is_continued(model, program) -> None:
    done = program("run", str(model), "옛날 옛적에", *FAST)
    assert done.returncode == 0
    answer = done.stdout.decode()
    with lumen_core.load(model) as same:
        assert answer == same.generate("옛날 옛적에", max_tokens=8, temperature=0).text + "\n"
    assert "decode 8 tokens" in done.stderr.decode()
    assert b"\x1b" not in done.stdout + done.stderr  # no colours and bars where nobody looks
    assert b"%" not in done.stderr


def test_prompts_from_standard_input(model, program) -> None:
    given = program("run", str(model), "가나다", "-q", *FAST)
    piped = program("run", str(model), "-", "-q", *FAST, input="가나다".encode())
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, given.stdout, b"")
    wrong = program("run", str(model), "-", *FAST, input="가".encode()[:2])
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert wrong.stderr == b"error: the prompt on standard input is not valid UTF-8 (byte 0)\n"


def test_json(model, lumen) -> None:
    done = lumen("run", str(model), "abc", "--json", *FAST)
    found = json.loads(done.out)
    assert found["finish_reason"] == "length"
    assert len(found["tokens"]) == 8
    assert found["statistics"]["prompt_tokens"] == 3


def test_targets_give_the_same_text(model, lumen) -> None:
    texts = set()
    for row in json.loads(lumen("backends", "list", "--json").out):
        done = lumen("run", str(model), "abc", "--target", row["target"], *FAST)
        if row["usable"]:
            assert done.code == 0
            texts.add(done.out)
        else:
            refused(done, row["target"])
    assert len(texts) == 1


def test_the_seed(model, lumen) -> None:
    options = ["-n", "12", "--temp", "1.5", "--top-k", "0"]
    texts = [lumen("run", str(model), "abc", *options, "--seed", seed).out for seed in ("1", "2", "1")]
    assert texts[0] == texts[2] != texts[1]


# ----------------------------------------------------------------------- bad input


def refused(done, *parts: str) -> None:
    """Exit code 1, nothing on standard output, a message of a few lines that says what is wrong."""
    assert done.code == 1, done.err
    assert done.out.strip() == ""
    assert done.err.startswith("error: "), done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 6
    for part in parts:
        assert part in done.err, done.err


def test_a_missing_file_in_a_process_of_its_own(program, tmp_path) -> None:
    done = program("run", str(tmp_path / "none.gguf"), "abc")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(f"error: {tmp_path / 'none.gguf'}: no such file")
    assert b"Traceback" not in done.stderr


def test_file_names(lumen, tmp_path) -> None:
    refused(lumen("run", str(tmp_path), "abc"), "no config.json and no model file")
    (tmp_path / "empty.gguf").touch()
    refused(lumen("run", str(tmp_path / "empty.gguf"), "abc"), "empty.gguf")
    (tmp_path / "text.gguf").write_text("no model\n" * 100)
    refused(lumen("run", str(tmp_path / "text.gguf"), "abc"), "text.gguf")
    refused(lumen("run", str(tmp_path / ("x" * 300)), "abc"))
    refused(lumen("run", "a\0b", "abc"))
    refused(lumen("run", "", "abc"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(lumen("run", str(tmp_path / "loop"), "abc"))


def test_bytes_that_are_no_text(model, program) -> None:
    done = program("run", str(model), b"\xea\xb0 \xff")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: the prompt is not valid UTF-8\n"
    done = program("run", b"/tmp/\xff\xfe.gguf", "abc")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("part", [4, 24, 100, 0.3, 0.6, 0.999])
def test_truncated_files(model, lumen, tmp_path, part) -> None:
    content = model.read_bytes()
    path = tmp_path / "short.gguf"
    path.write_bytes(content[: int(part if part > 1 else part * len(content))])
    refused(lumen("run", str(path), "abc"), "short.gguf")


def test_prompts_too_long(model, lumen) -> None:
    refused(lumen("run", str(model), "abc" * 100, *FAST), "300 tokens do not fit the context of 128")
    refused(lumen("run", str(model), "abc", "-c", "129"), "the context must be 1 to 128 tokens")
    refused(lumen("run", str(model), "abc", "-c", "2"), "3 tokens do not fit the context of 2")
    done = lumen("run", str(model), "abc" * 41, "-c", "128", *FAST)  # 123 tokens leave room for 5
    assert done.code == 0
    assert "decode 5 tokens" in done.err


CHANGES = {
    "unknown architecture": ({"general.architecture": "perceptron"}, "architecture `perceptron`"),
    "architecture is a number": ({"general.architecture": 7}, "general.architecture"),
    "no architecture": ({"general.architecture": None}, "general.architecture"),
    "no layers": ({"llama.block_count": 0}, ""),
    "a million layers": ({"llama.block_count": 1_000_000}, "layers"),
    "more layers than there are": ({"llama.block_count": 2}, "blk.1."),
    "layers as text": ({"llama.block_count": "one"}, "block_count"),
    "no heads": ({"llama.attention.head_count": 0}, "head_count"),
    "heads that do not divide": ({"llama.attention.head_count": 3}, ""),
    "more kv heads than heads": ({"llama.attention.head_count_kv": 4}, ""),
    "no width": ({"llama.embedding_length": 0}, "embedding_length"),
    "huge width": ({"llama.embedding_length": (1 << 32) - 1}, ""),
    "negative width": ({"llama.embedding_length": -64}, "embedding_length"),
    "missing width": ({"llama.embedding_length": None}, "embedding_length"),
    "wrong hidden": ({"llama.feed_forward_length": 96}, "ffn_"),
    "odd rope": ({"llama.rope.dimension_count": 31}, "rope"),
    "rope over the head": ({"llama.rope.dimension_count": 64}, "rope"),
    "epsilon no number": ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon"),
    "negative base": ({"llama.rope.freq_base": -1.0}, "freq_base"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "tokens"),
    "fewer tokens than rows": ({"llama.vocab_size": None, "tokenizer.ggml.tokens": ["a", "b"]}, ""),
    "short token types": ({"tokenizer.ggml.token_type": np.ones(3, np.int32)}, "token_type"),
    "bos beyond the vocabulary": ({"tokenizer.ggml.bos_token_id": 5000}, "bos"),
    "unknown tokenizer": ({"tokenizer.ggml.model": "abacus"}, "abacus"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_contradict_themselves(name, changed, lumen) -> None:
    metadata, part = CHANGES[name]
    if metadata.get("general.architecture") == "perceptron":
        metadata = {**metadata, "perceptron.block_count": 1}
    refused(lumen("run", str(changed(metadata)), "abc", *FAST), part)


@pytest.mark.parametrize("tensor", ["token_embd.weight", "blk.0.ffn_norm.weight", "blk.0.attn_q.weight"])
def test_missing_tensors(tensor, changed, lumen) -> None:
    refused(lumen("run", str(changed({}, without=(tensor,))), "abc"), tensor, "is missing")


def test_an_unknown_type(model, lumen, tmp_path) -> None:
    """A type that the format knows and no package declares: the message names it."""
    content = model.read_bytes()
    at = content.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
    assert content[at : at + 4] == b"\x08\0\0\0"
    path = tmp_path / "other.gguf"
    path.write_bytes(content[:at] + b"\x29\0\0\0" + content[at + 4 :])  # type 41
    refused(lumen("run", str(path), "abc"))
    path.write_bytes(content[:at] + b"\xff\xff\0\0" + content[at + 4 :])
    refused(lumen("run", str(path), "abc"), "65535")


def test_a_broken_template(changed, lumen) -> None:
    path = changed({"tokenizer.chat_template": "{% for message in messages %}{{ message.content }"})
    refused(lumen("run", str(path), "abc", "--chat"), "template")


def test_no_template(changed, lumen, model) -> None:
    """The family's own serves, as the vocabulary shows which it is; without either there is no chat."""
    path = changed({"tokenizer.chat_template": None})
    assert lumen("run", str(path), "abc", "--chat", "-n", "4").code == 0
    tokens = load_tokenizer(model).vocabulary
    words = [f"<{token[2:-2]}>" if token.startswith("<|") else token for token in tokens]
    path = changed({"tokenizer.chat_template": None, "tokenizer.ggml.tokens": words})
    refused(lumen("run", str(path), "abc", "--chat"), "no chat template")


@pytest.mark.parametrize("command", ["inspect", "tokenize", "bench", "chat"])
def test_other_commands_refuse_the_same_files(command, lumen, tmp_path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    refused(lumen(command, str(path), *(["abc"] if command == "tokenize" else [])), "bad.gguf")


def test_the_cache_directory_is_a_file(model, program, tmp_path, cache: Path) -> None:
    """Nothing can be kept: the model runs all the same."""
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "lumen_core.cli.main", "run", str(model), "abc", "-q", *FAST],
        env={**os.environ, "LUMEN_CACHE_DIR": str(tmp_path / "file")}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_interrupted(tmp_path, cache: Path) -> None:
    """Ctrl-C in the middle of an answer: what was written stays, exit code 130, nothing else is said."""
    path = synthesize("qwen3-tiny", tmp_path / "m.gguf", "q8_0")
    # greedily it goes on for seconds; drawn tokens soon come upon the one that ends a text
    command = [sys.executable, "-m", "lumen_core.cli.main", "run", str(path), "abc", "--temp", "0"]
    command += ["-n", "30000", "-c", "32768"]
    environment = {**os.environ, "LUMEN_CACHE_DIR": str(cache)}
    with subprocess.Popen(
        [*command, "-t", "2", "-q"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in err
