"""Checkpoint directories: the numbers of `transformers`, the same file after conversion, clear refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit import checkpoints

import lumen_core as lumen
from lumen_core.engine.convert import convert
from lumen_core.engine.sampling import recommended
from lumen_core.engine.sources import open_model
from lumen_core.errors import LumenError, ModelError, ModelFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.text.tokenizer import build

RECORDED = Path(__file__).with_name("checkpoint_logits.npz")  # made by `record` below
IDS = np.random.default_rng(3).integers(0, 256, 96).tolist()
PLACES = (0, 1, 30, 95)
KINDS = tuple(checkpoints.KINDS)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("checkpoints")
    return {kind: checkpoints.write(base / kind, kind, shards=3 if kind == "qwen2" else 1) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers(directories: dict[str, Path], kind: str, tmp_path: Path) -> None:
    expected = np.load(RECORDED)[kind]
    with lumen.load(directories[kind], context=128, threads=1) as model:
        found = model.logits(IDS)
        text = model.generate(IDS[:8], max_tokens=8, temperature=0.0)
    assert np.abs(found[list(PLACES)] - expected).max() < 2e-3 * np.abs(expected).max()
    remarks = convert(directories[kind], tmp_path / "model.gguf")
    assert any("NFC" in remark for remark in remarks)
    with lumen.load(tmp_path / "model.gguf", context=128, threads=1) as model:
        np.testing.assert_array_equal(model.logits(IDS), found)
        assert model.generate(IDS[:8], max_tokens=8, temperature=0.0).tokens == text.tokens
        decomposed = "\u1112\u1161\u11ab"  # the converted file still composes
        assert model.tokenizer.encode(decomposed) == model.tokenizer.encode("\ud55c")


def test_metadata_say_what_the_configs_say(directories: dict[str, Path]) -> None:
    with open_model(directories["llama"], Registry.load()) as file:
        keys = file.metadata
        assert keys["llama.block_count"] == 2 and keys["llama.attention.head_count_kv"] == 2
        assert keys["tokenizer.ggml.eos_token_id"] == 258 and keys["tokenizer.ggml.eot_token_id"] == 257
        assert file.tensors["rope_freqs.weight"].data.view("<f4")[-1] == 8.0
        assert file.tensors["blk.0.attn_q.weight"].origin == "model.layers.0.self_attn.q_proj.weight"
        assert len(keys["tokenizer.ggml.tokens"]) == checkpoints.ROWS  # type: ignore[arg-type]
    with open_model(directories["qwen3"], Registry.load()) as file:
        assert "output.weight" not in file.tensors


def test_what_the_authors_advise_is_read(tmp_path: Path) -> None:
    directory = checkpoints.write(tmp_path / "model", "qwen3")
    advice: dict[str, object] = {
        "temperature": 0.5, "top_p": 0.6, "top_k": 20, "repetition_penalty": 1.05, "min_p": "x"
    }  # fmt: skip
    path = directory / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": 258, **advice}))
    with open_model(directory, Registry.load()) as file:
        found = recommended(file.metadata)
    assert found == {"temperature": 0.5, "top_p": 0.6, "top_k": 20, "repeat_penalty": 1.05}
    path.write_text(json.dumps({"eos_token_id": 258, "do_sample": False, **advice}))
    with open_model(directory, Registry.load()) as file:
        assert recommended(file.metadata) == {}
    wrong = {"temp": -1.0, "top_k": 1e9, "top_p": float("nan"), "min_p": True, "penalty_repeat": 1.5}
    keys = {f"general.sampling.{name}": value for name, value in wrong.items()}
    assert recommended(keys) == {"top_k": 10**9, "repeat_penalty": 1.5}


def test_any_number_of_tokens_may_end_a_text(tmp_path: Path) -> None:
    directory = checkpoints.write(tmp_path / "model", "llama")
    ends = [258, 257, 260, 259, 97]
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    convert(directory, tmp_path / "model.gguf")
    for path in (directory, tmp_path / "model.gguf"):
        with open_model(path, Registry.load()) as file:
            assert set(ends) <= build(file.metadata).eos_ids


def test_a_turn_comes_in_parts(directories: dict[str, Path]) -> None:
    asked = [{"role": "user", "content": "hi <|im_end|>"}]
    closing = [10, 261, 10, 10]  # "\n</think>\n\n"
    with lumen.load(directories["qwen3"], context=128, threads=1) as model:
        assert model.family is not None
        options = {"max_tokens": 12, "temperature": 0.0, "ignore_end": True}
        silent = model.reply(asked, think=False, **options)
        assert silent.reasoning == "" and len(silent.completion.tokens) == 12
        limited = model.reply(asked, think=3, **options)
        assert list(limited.completion.tokens[3:7]) == closing and len(limited.completion.tokens) == 12
        counted = limited.completion.statistics  # of both parts; what was put in was not generated
        assert counted == model.statistics and counted.generated_tokens == 8
        assert counted.prompt_tokens + counted.reused_tokens == len(
            model.chat_ids(asked, enable_thinking=True)
        )
        whole = model.reply(asked, think=True, **options)
        assert whole.text == "" and whole.completion.tokens[:3] == limited.completion.tokens[:3]
        shown = "".join(part.text for part in model.stream_parts(asked, think=True, **options))
        assert shown == whole.reasoning
        text = model.chat_prompt(asked, enable_thinking=True)
        assert text.endswith("<|im_start|>assistant\n<think>\n")
        assert model.chat_ids(asked).count(258) == 1  # what the user wrote ends nothing
    with lumen.load(directories["qwen2"], context=128, threads=1) as model:
        model.family = None
        with pytest.raises(LumenError, match="no thinking mode"):
            model.reply(asked, think=True)


Change = Callable[[Path], None]


def _edit(name: str, **changes: object) -> Change:
    def change(directory: Path) -> None:
        content = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps({**content, **changes}))

    return change


def _tensors(**changes: tuple[int, ...] | None) -> Change:
    def change(directory: Path) -> None:
        arrays = checkpoints.weights("qwen3")
        for name, shape in changes.items():
            name = name.replace("__", ".")
            if shape is None:
                del arrays[name]
            else:
                arrays[name] = np.zeros(shape, np.float32)
        checkpoints.write_weights(directory, arrays)

    return change


def _write(name: str, text: str) -> Change:
    return lambda directory: (directory / name).write_text(text) and None


TOKEN = {"id": 400, "content": "x", "special": True} | dict.fromkeys(
    ("single_word", "lstrip", "rstrip", "normalized"), False
)
MANY = [TOKEN | {"id": 257 + i, "content": f"<{i}>"} for i in range(20)]
REFUSED: dict[str, tuple[Change, str]] = {
    "unknown model": (_edit("config.json", model_type="unheard_of"), "unheard_of"),
    "no model type": (_edit("config.json", model_type=None), "model_type is missing"),
    "config is no JSON": (_write("config.json", "{"), "not valid JSON"),
    "config is a list": (_write("config.json", "[]"), "no table"),
    "missing tensor": (_tensors(model__norm__weight=None), "model.norm.weight (output_norm.weight)"),
    "surplus tensor": (_tensors(model__extra__weight=(2,)), "model.extra.weight"),
    "misshapen tensor": (_tensors(model__norm__weight=(3,)), "has shape [3], expected [64]"),
    "other activation": (_edit("config.json", hidden_act="gelu"), "hidden_act is 'gelu'"),
    "sliding window": (_edit("config.json", use_sliding_window=True), "use_sliding_window"),
    "quantized": (_edit("config.json", quantization_config={"quant_method": "exl9"}), "quantized (exl9)"),
    "layers": (_edit("config.json", num_hidden_layers="2"), "num_hidden_layers"),
    "more layers than there are": (_edit("config.json", num_hidden_layers=900), "missing tensor(s)"),
    "rope type": (_edit("config.json", rope_scaling={"type": "dynamic", "factor": 2.0}), "'dynamic'"),
    "rope factor": (_edit("config.json", rope_scaling={"type": "linear", "factor": -2.0}), "factor"),
    "theta": (_edit("config.json", rope_theta=float("nan")), "rope_theta"),
    "end token": (_edit("generation_config.json", eos_token_id=9999), "eos_token_id 9999"),
    "too many tokens": (_edit("tokenizer.json", added_tokens=MANY), "embedding"),
    "one id twice": (
        _edit("tokenizer.json", added_tokens=[{"id": 5, "content": "x"}]),
        "the id 5 stands for",
    ),
    "huge id": (_edit("tokenizer.json", added_tokens=[{"id": 1 << 40, "content": "x"}]), "has the id"),
    "ids out of order": (
        _edit("tokenizer.json", added_tokens=[TOKEN | {"id": 262}]), "the token 'x' has the id 262",
    ),
    "word pieces": (_edit("tokenizer.json", model={"type": "WordPiece", "vocab": {}}), "WordPiece"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    change, reason = REFUSED[name]
    checkpoints.write(tmp_path, "qwen3")
    change(tmp_path)
    with pytest.raises(LumenError) as error, lumen.load(tmp_path, context=64, threads=1):
        pass
    assert reason in str(error.value)


def test_a_directory_may_hold_one_model_file(directories: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="name of the model is empty"):
        open_model("", Registry.load())
    with pytest.raises(ModelFormatError, match=r"no config\.json and no model file"):
        open_model(tmp_path, Registry.load())
    convert(directories["qwen3"], tmp_path / "one.gguf", "bf16")
    with open_model(tmp_path, Registry.load()) as file:
        assert {tensor.format for tensor in file.tensors.values()} == {"bf16", "f32"}
    convert(directories["qwen3"], tmp_path / "two.gguf", "f16")
    with pytest.raises(ModelFormatError, match="several models"):
        open_model(tmp_path, Registry.load())


def test_conversion_replaces_nothing_unasked(directories: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"precious")
    with pytest.raises(LumenError, match="exists"):
        convert(directories["qwen3"], path)
    with pytest.raises(ModelError, match=r"ends in \.gguf"):
        convert(directories["qwen3"], tmp_path / "model.bin")
    with pytest.raises(LumenError, match="no element type"):
        convert(directories["qwen3"], path, "q4_k", force=True)
    assert path.read_bytes() == b"precious" and [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    convert(directories["qwen3"], path, force=True)
    with pytest.raises(LumenError, match="is the file that is read"):
        convert(path, path, force=True)


def record() -> None:
    """Write the reference: the same directories through transformers (needs torch)."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM

    found = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            directory = checkpoints.write(Path(folder), kind)
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
            with torch.no_grad():
                found[kind] = model(torch.tensor([IDS])).logits[0, list(PLACES)].numpy()
    np.savez_compressed(RECORDED, **found)


if __name__ == "__main__":
    record()
