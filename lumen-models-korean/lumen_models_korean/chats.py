"""Chat formats of the families: what their streams mean, what ends a turn, how they think and call tools.

The prompts themselves come from the chat template of each file; here stands what the template does not say.
"""

from __future__ import annotations

from dataclasses import replace

from lumen_core.text.chat import ANSWER, NOTHING, REASONING, TOOL, ChatFamily
from lumen_models_korean import templates

_THINK = {"<think>": REASONING, "</think>": ANSWER}
_TOOL = {"<tool_call>": TOOL, "</tool_call>": ANSWER}
_ON: dict[str, object] = {"enable_thinking": True}
_OFF: dict[str, object] = {"enable_thinking": False}
_CLOSE = "\n</think>\n\n"

# ChatML; tool calls are JSON.
QWEN = ChatFamily("Qwen", ("<|im_start|>", "<|im_end|>"), marks=_TOOL, template=templates.CHATML)
QWEN3 = ChatFamily(
    "Qwen3",
    ("<|im_start|>", "<|im_end|>", "<think>"),
    marks={**_THINK, **_TOOL},
    template=templates.CHATML,
    end_thinking=_CLOSE,
    on=_ON,
    off=_OFF,
)
# [|endofturn|] is no name that ends a text elsewhere. EXAONE Deep thinks always, by its own template.
EXAONE3 = ChatFamily(
    "EXAONE 3",
    ("[|assistant|]", "[|endofturn|]"),
    marks={"<thought>": REASONING, "</thought>": ANSWER},
    template=templates.EXAONE3,
    ends=("[|endofturn|]",),
)
EXAONE4 = ChatFamily(
    "EXAONE 4",
    ("[|assistant|]", "[|endofturn|]"),
    marks={**_THINK, **_TOOL},
    template=templates.EXAONE4,
    ends=("[|endofturn|]",),
    end_thinking=_CLOSE,
    on=_ON,
    off=_OFF,
)
K_EXAONE = ChatFamily(
    "K-EXAONE",
    ("<|assistant|>", "<|endofturn|>", "<|tool_declare|>"),
    marks={**_THINK, **_TOOL},
    template=templates.K_EXAONE,
    ends=("<|endofturn|>",),
    end_thinking=_CLOSE,
    on=_ON,
    off=_OFF,
)
# <|im_end|> stands between thoughts, answer and tool call; the turn ends by the others.
HYPERCLOVA_X = ChatFamily(
    "HyperCLOVA X",
    ("<|im_start|>", "<|im_end|>", "<|endofturn|>", "<|stop|>"),
    marks={
        "<|im_start|>assistant/think\n": REASONING,
        "<|im_start|>assistant\n": ANSWER,
        "<|im_start|>assistant -> tool/function_call\n": TOOL,
        "<|im_end|>": NOTHING,
    },
    template=templates.HYPERCLOVA_X,
    ends=("<|endofturn|>", "<|stop|>", "<|endoftext|>"),
    on={"force_reasoning": True},
    off={"skip_reasoning": True},
    budget="\nThink for maximum {tokens} tokens.",
)
HYPERCLOVA_X_TEXT = replace(
    HYPERCLOVA_X, name="HyperCLOVA X Text", template=templates.HYPERCLOVA_X_TEXT, on={}, off={}, budget=""
)
# <|end|> ends a section, not the turn.
SOLAR_OPEN = ChatFamily(
    "Solar Open",
    ("<|begin|>", "<|content|>", "<|think|>", "<|end|>", "<|flush|>", "<|calls|>"),
    marks={
        "<|begin|>assistant": NOTHING, "<|think|>": REASONING, "<|content|>": ANSWER,
        "<|tool_calls|>": TOOL, "<|end|>": NOTHING,
    },
    shown=("<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>"),
    template=templates.SOLAR_OPEN,
    ends=("<|flush|>", "<|calls|>", "<|endoftext|>"),
    end_thinking="<|end|><|begin|>assistant<|content|>",
    on={"reasoning_effort": "high"},
    off={"reasoning_effort": "minimal"},
    tools="tokens",
)  # fmt: skip
# Headers as Llama 3 has them; tool calls are JSON between tags.
LLAMA3 = ChatFamily(
    "Llama 3",
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    template=templates.LLAMA3,
    marks=_TOOL,
)
# A ChatML of its own: roles are tokens.
A_X = ChatFamily(
    "A.X 4.0",
    ("<|im_start|>", "<|im_end|>", "<|assistant|>", "<|user|>"),
    marks=_TOOL,
    template=templates.A_X,
)
KANANA2 = ChatFamily(
    "Kanana-2",
    ("<|im_start|>", "<|im_end|>", "<|begin_of_text|>"),
    marks={**_THINK, **_TOOL},
    template=templates.KANANA2,
    end_thinking=_CLOSE,
    tools="xml",
    on=_ON,
    off=_OFF,
)
