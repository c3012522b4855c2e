"""Chat templates for files that carry none; a file's own template always wins.

Each writes what its family was trained on: system, user and assistant turns, tools where the prompt has a
place for them, calls of tools and their results, thinking on and off. The marks are the families', the
sentences that introduce tools are ours.
"""

from __future__ import annotations

_LINE = "{{ '\\n' }}"  # a line break behind a tag, which jinja would drop
_TEXT = "{{ m.content or '' }}"
_EACH = "{% for m in messages %}"
_FIRST_RESULT = "{% if loop.first or loop.previtem.role != 'tool' %}"
_LAST_RESULT = "{% if loop.last or loop.nextitem.role != 'tool' %}"
_THINK = (
    "{% if add_generation_prompt %}OPEN"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_NO_THOUGHT = "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
_ARGUMENTS = "{{ f.arguments if f.arguments is string else f.arguments | tojson }}"


def _calls(begin: str, end: str) -> str:
    """Calls as JSON between marks, each on lines of its own."""
    return (
        "{% for c in m.tool_calls or [] %}{% set f = c.function or c %}"
        "{% if m.content or not loop.first %}" + _LINE + "{% endif %}"
        + begin + '{"name": {{ f.name | tojson }}, "arguments": ' + _ARGUMENTS + "}" + end + "{% endfor %}"
    )  # fmt: skip


def _tools(begin: str, list_begin: str, one: str, list_end: str, end: str) -> str:
    """Tools behind what the system message says, in a turn of the system."""
    return (
        "{% if tools %}" + begin + "{% if messages and messages[0].role == 'system' %}"
        "{{ messages[0].content or '' }}\n\n{% set messages = messages[1:] %}{% endif %}"
        + list_begin + "{% for t in tools %}" + one + "{% endfor %}" + list_end + end + "{% endif %}"
    )  # fmt: skip


_ASK = "Call a function where it helps: write its name and its arguments as JSON between "
_CALL = '{"name": NAME, "arguments": {ARGUMENT: VALUE}}'

# Turns of system and assistant are closed, those of the user are not.
EXAONE3 = (
    "{% if not messages or messages[0].role != 'system' %}[|system|][|endofturn|]\n{% endif %}"
    + _EACH + "[|{{ m.role }}|]" + _TEXT +
    "{% if m.role != 'user' %}[|endofturn|]{% endif %}" + _LINE + "{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]{% endif %}"
)  # fmt: skip


def _exaone(left: str, right: str, tools: str, result: str) -> str:
    """EXAONE since 4: every turn is closed, earlier answers stand behind an empty thought."""
    end = left + "endofturn" + right
    return (
        tools + _EACH +
        "{% if m.role == 'tool' %}" + _FIRST_RESULT + left + "tool" + right + _LINE + "{% endif %}"
        "<tool_result>" + result + "</tool_result>" + _LAST_RESULT + end + "{% endif %}" + _LINE +
        "{% else %}" + left + "{{ m.role }}" + right + "\n" + _NO_THOUGHT + _TEXT
        + _calls("<tool_call>", "</tool_call>") + end + "\n{% endif %}{% endfor %}"
        + _THINK.replace("OPEN", left + "assistant" + right + "\n")
    )  # fmt: skip


EXAONE4 = _exaone(
    "[|", "|]",
    _tools("[|system|]\n", "# Available Tools\nThese tools can be called, each in JSON between <tool> and "
           "</tool>:\n", "<tool>{{ t | tojson }}</tool>\n",
           f"{_LINE}{_ASK}<tool_call> and </tool_call>:\n<tool_call>{_CALL}</tool_call>", "[|endofturn|]\n"),
    '{"result": {{ m.content | tojson }}}',
)  # fmt: skip
K_EXAONE = _exaone(
    "<|", "|>",
    "{% if tools %}<|tool_declare|>\n# Tools\n{% for t in tools %}<tool>{{ t | tojson }}</tool>\n{% endfor %}"
    "<|endofturn|>\n{% endif %}",
    _TEXT,
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


def _between_tags(begin: str, end: str) -> str:
    """Tools in a list of JSON lines; calls and results stand between tags too."""
    return _tools(begin, "# Tools\n\nThese functions can be called:\n<tools>\n", "{{ t | tojson }}\n",
                  f"</tools>\n\n{_ASK}<tool_call> and </tool_call>:\n<tool_call>\n{_CALL}\n</tool_call>",
                  end)  # fmt: skip


A_X = (
    _between_tags("<|im_start|><|system|>", "<|im_end|>")
    + _EACH + "<|im_start|><|{{ m.role }}|>" + _TEXT + _calls("<tool_call>\n", "\n</tool_call>")
    + "<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|><|assistant|>{% endif %}"
)  # fmt: skip
SOLAR_OPEN = (
    _tools("<|begin|>system<|content|>", "## Tools\n<|tools:begin|>\n",
           "<|tool:begin|>{{ (t.function or t) | tojson }}<|tool:end|>\n", "<|tools:end|>", "<|end|>")
    + _EACH + "<|begin|>{{ m.role }}"
    "{% if m.role == 'tool' %}<|tool_response:id|>{{ m.tool_call_id }}"
    "<|tool_response:name|>{{ m.name }}<|tool_response:result|>" + _TEXT + "<|tool_response:end|><|end|>"
    "{% elif m.tool_calls %}<|tool_calls|>{% for c in m.tool_calls %}{% set f = c.function or c %}"
    "<|tool_call:begin|>{{ c.id }}<|tool_call:name|>{{ f.name }}<|tool_call:args|>" + _ARGUMENTS
    + "<|tool_call:end|>{% endfor %}<|calls|>"
    "{% else %}<|content|>" + _TEXT + "<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant"
    "{% if reasoning_effort is defined and reasoning_effort in ['low', 'minimal'] %}"
    "<|think|><|end|><|begin|>assistant{% endif %}{% endif %}"
)  # fmt: skip
LLAMA3 = (
    "{{ bos_token }}"
    + _between_tags("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>")
    + _EACH + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    + _TEXT + _calls("<tool_call>", "</tool_call>") + "<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)  # fmt: skip


def _chatml(tools: str, calls: str, no_thought: str) -> str:
    """ChatML; what tools gave stands in a turn of the user."""
    return (
        tools + _EACH + "{% if m.role == 'tool' %}" + _FIRST_RESULT + "<|im_start|>user{% endif %}"
        + _LINE + "<tool_response>\n" + _TEXT + "\n</tool_response>"
        + _LAST_RESULT + "<|im_end|>\n{% endif %}"
        "{% else %}<|im_start|>{{ m.role }}\n" + _TEXT + calls + "<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}" + no_thought + "{% endif %}{% endif %}"
    )  # fmt: skip


CHATML = _chatml(
    _between_tags("<|im_start|>system\n", "<|im_end|>\n"),
    _calls("<tool_call>\n", "\n</tool_call>"),
    "<think>\n\n</think>\n\n",
)
# Calls between tags of their own for every argument.
KANANA2 = _chatml(
    _tools("<|im_start|>system\n", "# Tools\n\nThese functions can be called:\n\n<tools>\n",
           "{{ t | tojson }}\n",
           "</tools>\n\nCall a function where it helps, with every argument on lines of its own:\n\n"
           "<tool_call>\n<function=NAME>\n<parameter=ARGUMENT>\nVALUE\n</parameter>\n</function>\n</tool_call>",
           "<|im_end|>\n"),
    "{% for c in m.tool_calls or [] %}{% set f = c.function or c %}"
    "{% if m.content or not loop.first %}" + _LINE + "{% endif %}<tool_call>\n<function={{ f.name }}>\n"
    "{% for name, value in f.arguments | items %}<parameter={{ name }}>\n"
    "{{ value if value is string else value | tojson }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}",
    "<think>\n\n</think>",
)  # fmt: skip
