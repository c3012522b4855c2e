"""`lumen run`: a prompt in, its continuation out."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import Speech, note, print_json
from lumen_core.cli.tokenize import warn_of_decomposed

PROMPT = "옛날 옛적에"  # what `lumen run` alone continues

EPILOG = """Examples:

  lumen run                                     the embedded model and a prompt of its own
  lumen run demo "오늘 아침에" -n 64
  lumen run model.gguf "대한민국의 수도는" --temp 0.7 --seed 1
  lumen run model.gguf "한 문장으로 자기소개를 해 줘." --chat
  lumen run Qwen/Qwen3-0.6B "17 x 23?" --think
  lumen run model.gguf "서울 날씨는?" --tools tools.json       calls of tools are printed as JSON
  lumen run model.gguf "<|im_start|>user..." --parse-special    a prompt with control tokens of its own
  cat letter.txt | lumen run model.gguf -       the prompt from standard input
"""


def run(
    model: options.ModelName = "demo",
    prompt: Annotated[str, typer.Argument(help="The text to continue; `-` reads standard input.")] = PROMPT,
    max_tokens: options.MaxTokens = 128,
    chat: Annotated[bool, typer.Option("--chat", help="Use the model's chat template.")] = False,
    system: Annotated[
        str | None, typer.Option("--system", "-sys", help="A system message; implies --chat.")
    ] = None,
    parse_special: options.ParseSpecial = False,
    think: options.Think = None,
    think_budget: options.ThinkBudget = None,
    tools: options.ToolsFile = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    threads: options.Threads = None,
    context: options.ContextSize = None,
    kv_format: options.KvFormat = None,
    target: options.TargetName = None,
    lookup: options.Lookup = False,
    draft: options.DraftName = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No statistics and no progress bars.")] = False,
    json: options.Json = False,
) -> None:
    """Continue a prompt; the answer alone goes to standard output, statistics to standard error."""
    text = options.text_or_stdin(prompt)
    functions = options.tools_of(tools)
    sampling = options.given(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
        stop=stop or None,
    )
    started = time.perf_counter()
    with (
        options.opened(model, threads, context, target, quiet or json, kv_format=kv_format) as loaded,
        options.speculating(lookup, draft, threads, context, target) as guesses,
    ):
        sampling |= guesses
        load_seconds = time.perf_counter() - started
        messages = [{"role": "user", "content": text}]
        if system is not None:
            options.valid_text(system, "the system message")
            messages.insert(0, {"role": "system", "content": system})
        thinking = think if think_budget is None else think_budget
        with_template = chat or system is not None or thinking is not None or tools is not None
        if with_template:
            sampling = loaded.recommended | sampling
        if thinking is not None:
            sampling["think"] = thinking
        if functions:
            sampling["tools"] = functions
        if with_template and parse_special:
            raise typer.BadParameter("--parse-special is for plain prompts; a chat template writes its own")
        warn_of_decomposed(text, loaded.tokenizer)
        asked: Any = loaded.tokenizer.encode(text, parse_special=True) if parse_special else text
        if json:
            call: Any = loaded.reply if with_template else loaded.generate
            completion = call(messages if with_template else asked, max_tokens=max_tokens, **sampling)
            print_json(completion)
            return
        speech = Speech()
        try:
            if with_template:
                turn = loaded.stream_parts(messages, max_tokens=max_tokens, **sampling)
                for part in turn:
                    speech.write(part.channel, part.text)
                speech.calls(turn.reply())
            else:
                if sys.stdout.isatty():  # people want the sentence, pipes the answer
                    speech.write("answer", text)
                for piece in loaded.stream(asked, max_tokens=max_tokens, **sampling):
                    speech.write("answer", piece)
        finally:
            speech.end()
            if not quiet and loaded.statistics is not None:
                note(summary(loaded.statistics, load_seconds))


def summary(statistics: Any, load_seconds: float | None = None) -> str:
    """Return one line about how fast it was."""
    parts = [] if load_seconds is None else [f"load {load_seconds:.2f} s"]
    kept = f" (and {statistics.reused_tokens} kept from before)" if statistics.reused_tokens else ""
    parts.append(
        f"prompt {statistics.prompt_tokens} tokens{kept}, "
        f"{_rate(statistics.prompt_tokens, statistics.prompt_seconds)} t/s"
    )
    parts.append(f"first token {statistics.first_token_seconds:.3f} s")
    parts.append(
        f"decode {statistics.generated_tokens} tokens, "
        f"{_rate(statistics.generated_tokens, statistics.decode_seconds)} t/s"
    )
    if statistics.proposed_tokens:
        parts.append(f"guessed {statistics.proposed_tokens}, right {statistics.accepted_tokens}")
    return " | ".join(parts)


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.1f}" if seconds > 0 else "-"
