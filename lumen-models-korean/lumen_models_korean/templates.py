"""Chat templates for files that carry none; a file's own template always wins.

Each writes what its family was trained on: system, user and assistant turns, tool calls and their results,
thinking on and off, tools where the prompt has a place for them.
"""

from __future__ import annotations

_LINE = "{{ '\\n' }}"  # a line break behind a tag, which jinja would drop
_TEXT = "{{ m.content or '' }}"
_EACH = "{% for m in messages %}"
_CALLS = (
    "{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}" + _LINE + "{% endif %}"
    "<tool_call>\n{{ (c.function or c) | tojson }}\n</tool_call>{% endfor %}"
)
_THINK = (
    "{% if add_generation_prompt %}OPEN"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

# Turns of system and assistant are closed, those of the user are not.
EXAONE3 = (
    "{% if not messages or messages[0].role != 'system' %}[|system|][|endofturn|]\n{% endif %}"
    + _EACH + "[|{{ m.role }}|]" + _TEXT +
    "{% if m.role != 'user' %}[|endofturn|]{% endif %}" + _LINE + "{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]{% endif %}"
)  # fmt: skip
EXAONE4 = (
    _EACH + "[|{{ m.role }}|]\n" + _TEXT + _CALLS + "[|endofturn|]\n{% endfor %}"
    + _THINK.replace("OPEN", "[|assistant|]\n")
)  # fmt: skip
K_EXAONE = (
    _EACH + "<|{{ m.role }}|>\n" + _TEXT + _CALLS + "<|endofturn|>\n{% endfor %}"
    + _THINK.replace("OPEN", "<|assistant|>\n")
)  # fmt: skip
HYPERCLOVA_X = (
    "<|im_start|>tool_list\n{% if tools %}{{ tools | tojson }}{% endif %}<|im_end|>\n"
    + _EACH +
    "{% if m.role == 'tool' %}<|im_start|>tool/function_call\n" + _TEXT + "<|im_end|>\n"
    "{% elif m.tool_calls %}{% if m.content %}<|im_start|>assistant\n" + _TEXT + "<|im_end|>\n{% endif %}"
    "<|im_start|>assistant -> tool/function_call\n"
    "[{% for c in m.tool_calls %}{{ (c.function or c) | tojson }}{{ '' if loop.last else ', ' }}{% endfor %}]"
    "<|im_end|><|stop|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n" + _TEXT + "<|im_end|>"
    "{% if m.role == 'assistant' %}<|endofturn|>{% endif %}" + _LINE + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant"
    "{% if force_reasoning is defined and force_reasoning %}/think\n"
    "{% elif skip_reasoning is defined and skip_reasoning %}" + _LINE + "{% endif %}{% endif %}"
)  # fmt: skip
HYPERCLOVA_X_TEXT = "{% set skip_reasoning = true %}" + HYPERCLOVA_X
A_X = (
    _EACH + "<|im_start|><|{{ m.role }}|>" + _TEXT + _CALLS + "<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|><|assistant|>{% endif %}"
)  # fmt: skip
SOLAR_OPEN = (
    _EACH + "<|begin|>{{ m.role }}"
    "{% if m.role == 'tool' %}<|tool_response:id|>{{ m.tool_call_id }}"
    "<|tool_response:name|>{{ m.name }}<|tool_response:result|>" + _TEXT + "<|tool_response:end|><|end|>"
    "{% elif m.tool_calls %}<|tool_calls|>{% for c in m.tool_calls %}{% set f = c.function or c %}"
    "<|tool_call:begin|>{{ c.id }}<|tool_call:name|>{{ f.name }}<|tool_call:args|>"
    "{{ f.arguments if f.arguments is string else f.arguments | tojson }}<|tool_call:end|>{% endfor %}"
    "<|calls|>"
    "{% else %}<|content|>" + _TEXT + "<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant"
    "{% if reasoning_effort is defined and reasoning_effort in ['low', 'minimal'] %}"
    "<|think|><|end|><|begin|>assistant{% endif %}{% endif %}"
)  # fmt: skip
LLAMA3 = (
    "{{ bos_token }}" + _EACH + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    + _TEXT + _CALLS + "<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)  # fmt: skip
# What tools gave stands in a turn of the user.
CHATML = (
    _EACH + "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n" + _TEXT + "\n</tool_response>"
    "{% else %}<|im_start|>{{ m.role }}\n" + _TEXT + _CALLS + "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)  # fmt: skip
KANANA2 = CHATML.replace("</think>\n\n", "</think>")
