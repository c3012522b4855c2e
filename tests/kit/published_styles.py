"""Chat templates with the constructs that the published ones are made of, written for these tests.

Macros, namespaces, loops that look back and ahead, reversed lists, dates, JSON that leaves Hangul alone,
default system prompts, thoughts dropped from history: what a template engine must know to run the originals.
"""

from __future__ import annotations

QWEN3 = r"""
{%- set ns = namespace(last_query=messages | length - 1, searching=true) -%}
{%- if tools -%}
    {{- '<|im_start|>system\n' -}}
    {%- if messages[0].role == 'system' -%}{{- messages[0].content + '\n\n' -}}{%- endif -%}
    {{- '# Tools\n<tools>' -}}
    {%- for tool in tools -%}{{- '\n' -}}{{- tool | tojson -}}{%- endfor -%}
    {{- '\n</tools><|im_end|>\n' -}}
{%- elif messages[0].role == 'system' -%}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages[::-1] -%}
    {%- set place = messages | length - 1 - loop.index0 -%}
    {%- if ns.searching and message.role == 'user' and not message.content.startswith('<tool_response>') -%}
        {%- set ns.last_query = place -%}{%- set ns.searching = false -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.content is string -%}{%- set content = message.content -%}
    {%- else -%}{%- set content = '' -%}{%- endif -%}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' -}}
    {%- elif message.role == 'assistant' -%}
        {%- set thought = '' -%}
        {%- if message.reasoning_content is string -%}{%- set thought = message.reasoning_content -%}
        {%- elif '</think>' in content -%}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') -%}
            {%- set content = content.split('</think>')[-1].lstrip('\n') -%}
        {%- endif -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- if loop.index0 > ns.last_query and thought -%}
            {{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' -}}
        {%- endif -%}
        {{- content -}}
        {%- for call in message.tool_calls or [] -%}
            {%- if content or not loop.first -%}{{- '\n' -}}{%- endif -%}
            {%- set f = call.function if call.function else call -%}
            {{- '<tool_call>\n{"name": "' -}}{{- f.name -}}{{- '", "arguments": ' -}}
            {{- f.arguments if f.arguments is string else f.arguments | tojson -}}{{- '}\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if loop.first or loop.previtem.role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
        {{- '\n<tool_response>\n' + content + '\n</tool_response>' -}}
        {%- if loop.last or loop.nextitem.role != 'tool' -%}{{- '<|im_end|>\n' -}}{%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\n\n</think>\n\n' -}}
    {%- endif -%}
{%- endif -%}
"""

EXAONE3 = r"""
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\n' }}{% endif -%}
{{ '[|' + message['role'] + '|]' + message['content'] }}
{%- if message['role'] == 'user' %}{{ '\n' }}{% else %}{{ '[|endofturn|]\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '[|assistant|]' }}{% endif -%}
"""

EXAONE4 = r"""
{%- macro turn(role, text) -%}{{- '[|' ~ role ~ '|]\n' ~ text ~ '[|endofturn|]\n' -}}{%- endmacro -%}
{%- if enable_thinking is not defined -%}{%- set enable_thinking = false -%}{%- endif -%}
{%- for message in messages -%}
    {%- set role = 'tool' if message.role in ['tool', 'ipython'] else message.role -%}
    {%- set content = message.content | trim if message.content is string else message.content | tojson -%}
    {%- if role == 'assistant' and '</think>' in content -%}
        {%- set content = content.split('</think>')[-1].strip() -%}
    {%- endif -%}
    {%- if role == 'assistant' -%}{%- set content = '<think>\n\n</think>\n\n' + content -%}{%- endif -%}
    {{- turn(role, content) -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '[|assistant|]\n' -}}
    {%- if enable_thinking -%}{{- '<think>\n' -}}{%- else -%}{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}
{%- endif -%}
"""
K_EXAONE = EXAONE4.replace("[|' ~ role ~ '|]", "<|' ~ role ~ '|>").replace("[|assistant|]", "<|assistant|>") \
                  .replace("[|endofturn|]", "<|endofturn|>")  # fmt: skip

HYPERCLOVA_X = r"""{% if tools is not defined or tools is none %}
{{- '<|im_start|>tool_list\n<|im_end|>\n' -}}
{% else %}
{{- '<|im_start|>tool_list\n' -}}{{- '[' -}}{% for tool in tools %}{{- tool | tojson -}}
{% if not loop.last %}{{- ', ' -}}{% endif %}{% endfor %}{{- ']<|im_end|>\n' -}}
{% endif %}
{% set ns = namespace(last_user=-1) %}
{% for m in messages %}{% if m.role == 'user' %}{% set ns.last_user = loop.index0 %}{% endif %}{% endfor %}
{% for m in messages %}
    {% if m.role == 'assistant' and m.tool_calls %}
        {% if m.content %}{{- '<|im_start|>assistant\n' + m.content + '<|im_end|>\n' -}}{% endif %}
        {{- '<|im_start|>assistant -> tool/function_call\n' -}}
        {{- m.tool_calls | map(attribute='function') | list | tojson -}}
        {{- '<|im_end|><|stop|>\n' -}}
    {% elif m.role == 'tool' %}
        {{- '<|im_start|>tool/function_call\n' + m.content + '<|im_end|>\n' -}}
    {% else %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' -}}
        {% if m.role == 'assistant' and loop.index0 < ns.last_user %}{{- '<|endofturn|>' -}}{% endif %}
        {{- '\n' -}}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
    {% if force_reasoning is defined and force_reasoning is true %}{{- '<|im_start|>assistant/think\n' -}}
    {% elif skip_reasoning is defined and skip_reasoning is true %}{{- '<|im_start|>assistant\n' -}}
    {% else %}{{- '<|im_start|>assistant' -}}{% endif %}
{% endif %}
"""

A_X = (
    "{% for message in messages %}{{ '<|im_start|><|' ~ message['role'] ~ '|>' }}"
    "{{ message['content'] ~ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|><|assistant|>' }}{% endif %}"
)

SOLAR_OPEN = r"""
{%- macro block(role, kind, text) -%}{{- '<|begin|>' ~ role ~ kind ~ text ~ '<|end|>' -}}{%- endmacro -%}
{%- if default_system_prompt is not defined or default_system_prompt -%}
    {%- set provided = 'Today is ' ~ strftime_now('%Y-%m-%d') ~ '.' -%}
{%- else -%}{%- set provided = '' -%}{%- endif -%}
{%- set first = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- if provided or first -%}
    {{- block('system', '<|content|>', [provided, first] | select | join('\n\n')) -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'system' and loop.first -%}{%- continue -%}{%- endif -%}
    {%- if message.role == 'tool' and loop.previtem is defined and loop.previtem.role == 'tool' -%}
    {%- endif -%}
    {%- if message.role == 'assistant' and message.tool_calls -%}
        {{- '<|begin|>assistant<|tool_calls|>' -}}
        {%- for call in message.tool_calls -%}
            {{- '<|tool_call:begin|>' + call.id + '<|tool_call:name|>' + call.function.name -}}
            {{- '<|tool_call:args|>' -}}{{- call.function.arguments | tojson -}}{{- '<|tool_call:end|>' -}}
        {%- endfor -%}
        {{- '<|calls|>' -}}
    {%- else -%}
        {{- block(message.role, '<|content|>', message.content) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|begin|>assistant' -}}
    {%- if (reasoning_effort | default('high')) in ('low', 'minimal') -%}
        {{- '<|think|><|end|><|begin|>assistant' -}}
    {%- endif -%}
{%- endif -%}
"""

PREAMBLE = "너는 믿음직한 도우미야. " * 30
MIDM = r"""
{{- bos_token -}}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] | trim -%}{%- set messages = messages[1:] -%}
{%- else -%}
    {%- set system = 'PREAMBLE\n오늘: ' ~ strftime_now('%Y년 %m월') -%}
{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' + system + '<|eot_id|>' -}}
{%- for message in messages -%}
    {%- if message.role == 'assistant' and 'tool_calls' in message -%}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {%- for call in message.tool_calls -%}
            {{- '<tool_call>' ~ (call.function | tojson) ~ '</tool_call>' -}}
        {%- endfor -%}{{- '<|eot_id|>' -}}
    {%- else -%}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}
        {{- message['content'] | trim + '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}
""".replace("PREAMBLE", PREAMBLE)

KANANA2 = r"""
{%- macro parameter(name, value) -%}
    {{- '<parameter=' ~ name ~ '>\n' -}}
    {{- value if value is string else value | tojson -}}{{- '\n</parameter>\n' -}}
{%- endmacro -%}
{%- for message in messages -%}
    {{- '<|im_start|>' ~ message.role ~ '\n' ~ (message.content or '') -}}
    {%- for call in message.tool_calls | default([]) -%}
        {{- '\n<tool_call>\n<function=' ~ call.function.name ~ '>\n' -}}
        {%- for name, value in call.function.arguments | items -%}{{- parameter(name, value) -}}{%- endfor -%}
        {{- '</function>\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
    {%- if enable_thinking is defined and not enable_thinking -%}{{- '<think>\n\n</think>' -}}{%- endif -%}
{%- endif -%}
"""
