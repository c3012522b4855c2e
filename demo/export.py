"""Export. In: checkpoint.pt and tokenizer.json. Out: demo.gguf (Q8_0 matrices, f32 norms) and demo-f16.gguf.

python export.py [--checkpoint FILE] [--output FILE] [--f16 FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "lumen-models-korean" / "lumen_models_korean" / "demo" / "demo.gguf"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
Type = gguf.GGMLQuantizationType


def add_metadata(writer: gguf.GGUFWriter, shape: dict[str, float], file_type: gguf.LlamaFileType) -> None:
    writer.add_name("Lumen Demo Korean")
    writer.add_description("A small Korean demo model, trained on text that its own generator writes")
    writer.add_license("apache-2.0")
    writer.add_languages(["ko"])
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(int(shape["context"]))
    writer.add_embedding_length(int(shape["hidden"]))
    writer.add_block_count(int(shape["layers"]))
    writer.add_feed_forward_length(int(shape["feed_forward"]))
    writer.add_head_count(int(shape["heads"]))
    writer.add_head_count_kv(int(shape["kv_heads"]))
    writer.add_key_length(int(shape["head_size"]))
    writer.add_value_length(int(shape["head_size"]))
    writer.add_layer_norm_rms_eps(float(shape["epsilon"]))
    writer.add_rope_freq_base(float(shape["theta"]))
    writer.add_vocab_size(int(shape["vocabulary"]))


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    definition = json.loads((HERE / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in definition["added_tokens"]}
    ids = {**definition["model"]["vocab"], **special}
    tokens = sorted(ids, key=lambda token: ids[token])
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in definition["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(special["<|im_end|>"])
    writer.add_eot_token_id(special["<|im_end|>"])
    writer.add_bos_token_id(special["<|endoftext|>"])
    writer.add_pad_token_id(special["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write(path: Path, saved: dict, matrix_type: Type) -> None:
    file_type = gguf.LlamaFileType.MOSTLY_Q8_0 if matrix_type == Type.Q8_0 else gguf.LlamaFileType.MOSTLY_F16
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "qwen3")
    add_metadata(writer, saved["shape"], file_type)
    add_tokenizer(writer)
    for name, tensor in saved["model"].items():  # the modules carry the names of the file's tensors
        values = tensor.float().numpy().astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, matrix_type), raw_dtype=matrix_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--f16", type=Path, default=HERE / "demo-f16.gguf")
    arguments = parser.parse_args()
    saved = torch.load(arguments.checkpoint, map_location="cpu")
    write(arguments.output, saved, Type.Q8_0)
    write(arguments.f16, saved, Type.F16)


if __name__ == "__main__":
    main()
