"""Settings of config.json: every one is computed, refused by name, or reported; none is dropped silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit import tiny_models as tiny
from kit.tiny_checkpoints import write

from lumen_core.engine.binding import bind, load_page
from lumen_core.engine.convert import convert
from lumen_core.engine.footprint import footprint
from lumen_core.engine.identify import identify
from lumen_core.engine.sources import open_model
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import ModelFile

REGISTRY = Registry.load()
FULL, LOCAL = "full_attention", "sliding_attention"
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 64}


def changed(case: str, directory: Path, change: dict[str, Any]) -> Path:
    """A tiny checkpoint whose config differs; None takes a setting out."""
    write(tiny.CASES[case], directory)
    path = directory / "config.json"
    config = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return directory


def opened(case: str, directory: Path, **change: Any) -> ModelFile:
    return open_model(changed(case, directory, change), REGISTRY)


@pytest.mark.parametrize(("case", "change", "message"), [
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is '0.5'"),
    ("llama", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "factor is '0.5'"),
    ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "rope type 'longrope' is not known"),
    ("llama", {"rope_parameters": {**YARN, "truncate": False}}, "truncate = false"),
    ("llama", {"rope_parameters": {FULL: YARN, LOCAL: {"rope_theta": 1e4}}}, "has one rotation"),
    ("llama", {"rope_parameters": {FULL: YARN, "chunked_attention": {}}}, "settings for 'chunked_attention'"),
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window is 'True'"),
    ("qwen3", {"layer_types": [FULL, LOCAL]}, "layer_types is .* computes only 'full_attention'"),
    ("qwen3moe", {"mlp_only_layers": [0]}, r"mlp_only_layers is '\[0\]'.* only models without it"),
    ("exaone", {"activation_function": "gelu"}, "activation_function is 'gelu'"),
    ("exaone4", {"layer_types": [FULL, "chunked_attention", FULL, FULL]}, "has 'chunked_attention'; known"),
    ("exaone4", {"layer_types": None, "sliding_window_pattern": "LX"}, "sliding_window_pattern is 'LX'"),
    ("hyperclovax", {"use_post_norm": False}, "use_post_norm is 'False'"),
    ("exaone-moe", {"scoring_func": "softmax"}, "scoring_func is 'softmax'"),
    ("exaone-moe", {"mlp_layer_types": ["dense", "shared"]}, "mlp_layer_types has 'shared'"),
    ("solar-open", {"topk_method": "greedy"}, "topk_method is 'greedy'"),
])  # fmt: skip
def test_what_is_not_computed_is_refused(
    case: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LumenError, match=message):
        opened(case, tmp_path, **change)


@pytest.mark.parametrize("case", ["llama", "exaone", "exaone4", "qwen3moe", "hyperclovax", "solar-open"])
def test_what_is_not_known_is_reported(case: str, tmp_path: Path) -> None:
    theta = {"rope_theta": 1e4, "mrope_section": [1, 2, 3]}
    with opened(case, tmp_path, swiglu_limit=7.0, logit_softcap=0.0, attention_dropout=0.1, dtype="bfloat16",
                rope_parameters=theta) as file:  # fmt: skip
        assert file.remarks == (
            "config.json: swiglu_limit = 7.0 is not used",
            "config.json: mrope_section = [1, 2, 3] of the rope settings is not used",
        )
    assert "config.json: swiglu_limit = 7.0 is not used" in convert(tmp_path, tmp_path / "model.gguf")


@pytest.mark.parametrize("case", ["llama", "qwen3-yarn", "exaone", "exaone4", "hyperclovax", "exaone-moe",
                                  "solar-open", "glm4moe", "qwen3moe"])  # fmt: skip
def test_usual_configs_have_nothing_to_report(case: str, tmp_path: Path) -> None:
    with opened(case, tmp_path) as file:
        assert file.remarks == ()


@pytest.mark.parametrize(("change", "local"), [
    ({"sliding_window_pattern": "LLLG"}, [1, 1, 1, 0]),
    ({"sliding_window_pattern": "LG"}, [1, 0, 1, 0]),
    ({"sliding_window_pattern": "GL"}, [0, 1, 0, 0]),  # the last layer sees all tokens
    ({"sliding_window_pattern": 2}, [1, 0, 1, 0]),
    ({}, [1, 1, 1, 0]),
])  # fmt: skip
def test_windows_after_a_period(change: dict[str, Any], local: list[int], tmp_path: Path) -> None:
    with opened("exaone4", tmp_path, layer_types=None, **change) as file:
        pattern = file.metadata["exaone4.attention.sliding_window_pattern"]
        np.testing.assert_array_equal(pattern, np.array(local, bool))  # type: ignore[arg-type]


def test_a_missing_setting_means_what_it_means_to_its_authors(tmp_path: Path) -> None:
    for number, (case, setting, key, value) in enumerate((
        ("qwen3moe", "norm_topk_prob", "qwen3moe.expert_weights_norm", False),
        ("exaone-moe", "routed_scaling_factor", "exaone-moe.expert_weights_scale", 2.5),
        ("exaone4", "sliding_window", "exaone4.attention.sliding_window", 4096),
        ("solar-open", "rope_parameters", "glm4moe.rope.freq_base", 1e6),
        ("glm4moe", "partial_rotary_factor", "glm4moe.rope.dimension_count", tiny.HEAD // 2),
        ("hyperclovax", "rms_norm_eps", "hyperclovax.attention.layer_norm_rms_epsilon", 1e-6),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        with opened(case, folder, **{setting: None}) as file:
            assert file.metadata[key] == value


def test_no_window_is_not_the_same_as_no_setting(tmp_path: Path) -> None:
    changed("exaone4", tmp_path, {})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sliding_window": None}))
    with open_model(tmp_path, REGISTRY) as file:
        assert "exaone4.attention.sliding_window" not in file.metadata


@pytest.mark.parametrize(("case", "change", "remark"), [
    ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob is false, but llama.cpp"),
    ("exaone4", {}, "llama.cpp computes windows in exaone4 only with 64 layers"),
    ("exaone4-full", {}, None),
    ("hyperclovax", {}, "llama.cpp does not know this architecture"),
    ("qwen3moe", {}, None),
])  # fmt: skip
def test_what_other_engines_compute_otherwise_is_said(
    case: str, change: dict[str, Any], remark: str | None, tmp_path: Path
) -> None:
    changed(case, tmp_path, change)
    remarks = [one for one in convert(tmp_path, tmp_path / "model.gguf") if "llama.cpp" in one]
    assert len(remarks) == (remark is not None) and (remark or "") in "".join(remarks)


def test_two_rotations_in_one_table(tmp_path: Path) -> None:
    """Kanana-2 1.3B as newer configs say it: the layers with a window rotate by settings of their own."""
    path = write(tiny.CASES["qwen3"], tmp_path) / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "kanana2_tiny", "sliding_window": 8, "layer_types": [LOCAL, FULL],
        "rope_parameters": {FULL: YARN, LOCAL: {"rope_type": "default", "rope_theta": 5e3}},
    }  # fmt: skip
    path.write_text(json.dumps(config))
    with open_model(tmp_path, REGISTRY) as file:
        found = {key.removeprefix("kanana2_tiny.rope."): value for key, value in file.metadata.items()}
        assert (found["freq_base"], found["freq_base_swa"], found["scaling.factor"]) == (1e4, 5e3, 4.0)
        assert file.remarks == ()
    config["rope_parameters"][LOCAL] = {**YARN, "factor": 2.0}
    path.write_text(json.dumps(config))
    with pytest.raises(LumenError, match="are scaled"):
        open_model(tmp_path, REGISTRY)


def test_a_files_own_settings_are_reported_too(tmp_path: Path) -> None:
    with opened("llama", tmp_path) as file:
        file.metadata = {**file.metadata, "llama.logit_scale": 2.0, "llama.expert_count": 0}
        page = load_page(REGISTRY, "llama")[1]
        assert bind(page, file).remarks == ("llama.logit_scale = 2.0 is not used",)
        assert bind(page, file).remarks[0] in identify(file, REGISTRY).remarks


def test_a_context_may_go_as_far_as_positions_are_stretched(tmp_path: Path) -> None:
    """YaRN as it is put into a config to read longer texts: 4 times the 512 tokens of the training."""
    yarn = {**YARN, "original_max_position_embeddings": 512}
    with opened("qwen3", tmp_path, max_position_embeddings=512, rope_parameters=yarn) as file:
        assert [footprint(file, REGISTRY, asked).context for asked in (None, 0, 2048)] == [512, 512, 2048]
        with pytest.raises(LumenError, match=r"1 to 2048 tokens .as far as positions are stretched"):
            footprint(file, REGISTRY, 2049)
    with opened("llama", tmp_path) as file, pytest.raises(LumenError, match=r"tokens .the model's training"):
        footprint(file, REGISTRY, 2048)
