"""What `lumen models show` says of every installed page, from the page itself."""

from __future__ import annotations

import pytest

from lumen_core.engine.page import Setting, describe_page
from lumen_core.plugins.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def test_every_page_can_be_described(registry: Registry) -> None:
    for entry in registry.models.values():
        page = describe_page(registry, entry.value)
        assert any(setting.key == "embedding_length" for setting in page.settings)
        assert len(page.chats) == len(entry.value.chats)
        for chat in page.chats:
            assert "U" in chat.prompt, chat.name


def test_settings_have_both_keys(registry: Registry) -> None:
    page = describe_page(registry, registry.models["exaone4"].value)
    assert Setting("D", "embedding_length", "hidden_size", "") in page.settings
    assert Setting("G", "attention.head_count_kv", "num_key_value_heads", "H") in page.settings
    assert (
        Setting("local", "attention.sliding_window_pattern", "layer_types", "layer % 4 < 3") in page.settings
    )


def test_rotations_are_those_of_the_page(registry: Registry) -> None:
    def rotations(name: str) -> tuple[str, ...]:
        return describe_page(registry, registry.models[name].value).rotations

    (llama,) = rotations("llama")
    assert llama.startswith("pairs (2i, 2i + 1), base rope.freq_base, stretched by rope.scaling")
    near, far = rotations("kanana2_tiny")
    assert "(i, i + R/2), base rope.freq_base_swa" in near and "stretched" not in near and "stretched" in far
    assert rotations("example_bag") == ()


def test_chats_say_how_they_think_and_call(registry: Registry) -> None:
    (chat,) = describe_page(registry, registry.models["hyperclovax"].value).chats
    assert chat.prompt.startswith("<|im_start|>tool_list\n<|im_end|>\n<|im_start|>system\nS<|im_end|>")
    assert chat.ends == ("<|endofturn|>", "<|stop|>", "<|endoftext|>")
    assert chat.thinking == "force_reasoning=True, skip_reasoning=True, a budget"
    assert chat.tools.startswith("json after '<|im_start|>assistant -> tool/function_call")
