"""Chat templates for files that carry none; a file's own template always wins.

Each writes what its family was trained on: system, user and assistant turns, thinking on and off, tools
where the prompt has a place for them.
"""

from __future__ import annotations

_LINE = "{{ '\\n' }}"  # a line break behind a tag, which jinja would drop

_THINK = (
    "{% if add_generation_prompt %}OPEN"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

# Turns of system and assistant are closed, those of the user are not.
EXAONE3 = (
    "{% if not messages or messages[0].role != 'system' %}[|system|][|endofturn|]\n{% endif %}"
    "{% for m in messages %}[|{{ m.role }}|]{{ m.content }}"
    "{% if m.role != 'user' %}[|endofturn|]{% endif %}" + _LINE + "{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]{% endif %}"
)
EXAONE4 = (
    "{% for m in messages %}[|{{ m.role }}|]\n{{ m.content }}[|endofturn|]\n{% endfor %}"
) + _THINK.replace("OPEN", "[|assistant|]\n")
K_EXAONE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|endofturn|>\n{% endfor %}"
) + _THINK.replace("OPEN", "<|assistant|>\n")
HYPERCLOVA_X = (
    "<|im_start|>tool_list\n{% if tools %}{{ tools | tojson }}{% endif %}<|im_end|>\n"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|im_start|>tool/function_call\n{{ m.content }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>"
    "{% if m.role == 'assistant' %}<|endofturn|>{% endif %}" + _LINE + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant"
    "{% if force_reasoning is defined and force_reasoning %}/think\n"
    "{% elif skip_reasoning is defined and skip_reasoning %}" + _LINE + "{% endif %}{% endif %}"
)
A_X = (
    "{% for m in messages %}<|im_start|><|{{ m.role }}|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|><|assistant|>{% endif %}"
)
SOLAR_OPEN = (
    "{% for m in messages %}<|begin|>{{ m.role }}<|content|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant"
    "{% if reasoning_effort is defined and reasoning_effort in ['low', 'minimal'] %}"
    "<|think|><|end|><|begin|>assistant{% endif %}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
KANANA2 = CHATML.replace("</think>\n\n", "</think>")
