"""What the commands print, where, and with which exit code."""

from __future__ import annotations

import io
import json
import math
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from lumen_core.cli.bench import _numbers
from lumen_core.runtime.cores import available_threads

COMMANDS = ["run", "chat", "inspect", "tokenize", "show", "bench", "synth", "pack", "quantize", "imatrix"]
LISTS = ["models", "formats", "backends", "plugins"]


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_the_answer_alone_goes_to_standard_output(engine: Any, lumen: Any) -> None:
    done = lumen("run", "demo", "가나다", "-n", "2", "--temp", "0.5", "--seed", "3", "-t", "2")
    assert (done.code, done.out) == (0, "다나\n")
    assert "prompt 3 tokens, 6.0 t/s" in done.err
    assert "decode 2 tokens, 8.0 t/s" in done.err
    model = engine.models[0]
    assert model.asked == [("가나다", {"max_tokens": 2, "temperature": 0.5, "seed": 3})]
    assert model.options["threads"] == 2
    assert model.closed


def test_more_threads_than_cores_are_pointed_out(engine: Any, lumen: Any) -> None:
    cores = available_threads()
    assert f"{cores + 1} threads take turns on {cores} cores" in lumen("run", "-t", str(cores + 1)).err
    assert "take turns" not in lumen("run", "-t", str(cores)).err


def test_run_alone_has_a_korean_prompt_for_the_embedded_model(engine: Any, lumen: Any) -> None:
    assert lumen("run").code == 0
    assert engine.models[0].options["name"] == "demo"
    assert any("가" <= letter <= "힣" for letter in engine.models[0].asked[0][0])


def test_run_reads_standard_input(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "파이프".encode())
    assert lumen("run", "demo", "-", "-q").out == "프이파\n"


def test_run_can_give_json(engine: Any, lumen: Any) -> None:
    assert json.loads(lumen("run", "demo", "ab", "--json").out) == {"text": "ba", "finish_reason": "stop"}


def test_a_system_message_implies_the_chat_template(engine: Any, lumen: Any) -> None:
    lumen("run", "demo", "안녕", "--system", "짧게")
    messages, _ = engine.models[0].asked[0]
    assert [message["role"] for message in messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("prompt", "code", "message"),
    [
        ("x" * 1001, 1, "error: 1001 tokens do not fit the context of 1000; give a larger --ctx-size or"),
        ("\udcff", 1, "error: the prompt is not valid UTF-8"),
        ("crash", 3, "internal error: ZeroDivisionError: oh"),
        ("interrupt", 130, ""),
    ],
)
def test_every_error_is_one_message(engine: Any, lumen: Any, prompt: str, code: int, message: str) -> None:
    done = lumen("run", "demo", prompt)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out.strip() == ""


def test_a_traceback_can_be_had(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" in lumen("run", "demo", "crash", "--traceback").err
    monkeypatch.setenv("LUMEN_TRACEBACK", "1")
    assert "Traceback" in lumen("run", "demo", "x" * 1001).err


@pytest.mark.parametrize("arguments", [["nosuch"], ["run", "--bogus"], ["run", "-n", "-1"], ["tokenize"]])
def test_wrong_usage_is_2(lumen: Any, arguments: list[str]) -> None:
    assert lumen(*arguments).code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_by_example(lumen: Any, name: str) -> None:
    done = lumen(name, "--help")
    assert done.code == 0
    assert "Example" in done.out


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_tables_or_json(lumen: Any, name: str) -> None:
    table, data = lumen(name, "list"), lumen(name, "list", "--json")
    assert (table.code, data.code) == (0, 0)
    assert "example" in table.out
    assert json.loads(data.out)


def test_published_models_stand_in_one_table(lumen: Any) -> None:
    lines = lumen("models", "list").out.splitlines()
    (exaone,) = [line.split() for line in lines if line.lstrip().startswith("EXAONE-4.0 ")]
    assert exaone[1:4] == ["1.2B,", "32B", "exaone4"]
    (midm,) = [line for line in lines if line.lstrip().startswith("Midm-2.0 ")]
    assert "Mini 2.31B, Base 11.5B" in midm and " MIT " in midm
    assert exaone[-1] in [line.split()[1].rstrip(":") for line in lines if line.startswith("  checked ")]


def test_facts_are_wrapped_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lumen_core.cli.output import print_facts

    facts: dict[str, object] = {"name": "one two three four five six seven eight", "empty": "", "n": 3}
    print_facts(facts)
    assert capsys.readouterr().out == "name   one two three four five six seven eight\nn      3\n"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_facts(facts)
    assert capsys.readouterr().out == "name   one two three four five\n       six seven eight\nn      3\n"


def test_one_model_and_one_format_can_be_shown(lumen: Any) -> None:
    assert "fn block" in lumen("models", "show", "example_bag").out
    assert "format example_q4" in lumen("formats", "show", "example_q4").out
    assert json.loads(lumen("models", "show", "example_bag", "--json").out)["architectures"] == "example-bag"
    missing = lumen("models", "show", "nosuch")
    assert missing.code == 1
    assert "known: " in missing.err
    assert lumen("formats", "show", "nosuch").code == 1


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"\xff" * 64])
def test_a_bad_file_is_an_error_of_the_user(lumen: Any, tmp_path: Any, content: bytes | None) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    done = lumen("inspect", str(path))
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert lumen("inspect", str(tmp_path)).code == 1


def test_a_file_is_inspected(lumen: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "tiny.gguf")
    assert lumen("synth", "exaone4-tiny", path).code == 0
    found = json.loads(lumen("inspect", path, "--json", "-c", "100").out)
    counted = sum(
        math.prod(item["shape"]) for item in found["tensors"] if item["name"] != "rope_freqs.weight"
    )
    assert found["parameters"] == found["identity"]["parameters"] == counted  # frequencies are none
    assert found["memory"]["context"] == 100 and found["identity"]["problems"] == []
    text = lumen("inspect", path, "--no-tensors").out
    assert f"{counted:,}" in text and "keys and values" in text and "blk.0" not in text


def test_tokens_are_listed(engine: Any, lumen: Any) -> None:
    assert lumen("tokenize", "demo", "ab", "--ids").out == "60 97 98\n"
    assert lumen("tokenize", "demo", "ab", "--ids", "--no-special").out == "97 98\n"
    pieces = json.loads(lumen("tokenize", "demo", "é", "--json").out)
    assert [(piece["text"], piece["bytes"]) for piece in pieces] == [
        ("<", [60]),
        (None, [195]),
        (None, [169]),
    ]
    assert "bytes c3" in lumen("tokenize", "demo", "é").out
    assert lumen("tokenize", "demo", "a", "--ids", "--parse-special").out == "60 97 62\n"


def test_control_tokens_are_read_only_when_asked_for(engine: Any, lumen: Any) -> None:
    lumen("run", "demo", "a", "--parse-special")
    lumen("run", "demo", "a")
    assert [model.asked[0][0] for model in engine.models] == [[60, 97, 62], "a"]
    assert lumen("run", "demo", "a", "--parse-special", "--chat").code == 2


def test_decomposed_hangul_is_pointed_out(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = "\u1112\u1161\u11ab"
    counted = "decomposed Hangul (NFD): 9 tokens, composed (NFC) 3"
    assert counted in lumen("run", "demo", apart).err
    assert counted not in lumen("run", "demo", "한").err
    done = lumen("tokenize", "demo", apart)
    assert counted in done.err and "tokens per syllable: 10.00" in done.out
    stdin(monkeypatch, f"{apart}\n/bye\n".encode())
    assert counted in lumen("chat", "demo").err


def test_chat_keeps_the_conversation(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "안녕",
        "interrupt",
        "/stats",
        "/nonsense",
        "/clear",
        '"""한',
        '줄"""',
        "x" * 1001,
        "끝",
        "/bye",
        "no",
    ]
    stdin(monkeypatch, "\n".join(lines).encode())
    done = lumen("chat", "--system", "짧게")
    assert done.code == 0
    assert done.out == "녕안\n줄\n한\n끝\n"
    assert "(stopped)" in done.err
    assert "unknown command /nonsense" in done.err
    assert "error: 1001 tokens do not fit the context of 1000; give a larger --ctx-size or" in done.err
    asked = [entry for entry in engine.models[0].asked if isinstance(entry[0], list)]
    assert [message["content"] for message in asked[-1][0]] == ["짧게", "한\n줄", "줄\n한", "끝"]


def test_conversations_are_drawn_as_advised(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lumen("run", "demo", "가")
    monkeypatch.setattr(type(engine.models[-1]), "recommended", {"temperature": 0.5, "top_k": 20})
    lumen("run", "demo", "가", "--chat", "--top-k", "9")
    lumen("run", "demo", "가")
    stdin(monkeypatch, "가".encode())
    lumen("chat", "--temp", "0.1")
    options = [model.asked[0][1] for model in engine.models[1:]]
    drawn = [{name: one[name] for name in ("temperature", "top_k") if name in one} for one in options]
    assert drawn == [{"temperature": 0.5, "top_k": 9}, {}, {"temperature": 0.1, "top_k": 20}]


def test_thinking_is_turned_on_and_off_while_talking(
    engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lumen_core.text.chat import ChatFamily

    def talk(*lines: str) -> Any:
        stdin(monkeypatch, "\n".join(lines).encode())
        return lumen("chat")

    assert "this model has no thinking mode" in talk("/think", "가").err
    assert "think" not in engine.models[-1].asked[-1][1]
    monkeypatch.setattr(type(engine.models[-1]), "family", ChatFamily("f", (), on={"a": 1}))
    monkeypatch.setattr(type(engine.models[-1]), "kept", 7)
    done = talk("/think", "가", "/nothink", "나", "/think 50", "다", "/think x", "라", "/stats")
    thinking = [options["think"] for messages, options in engine.models[-1].asked]
    assert thinking == [True, False, 50, 50]
    assert "/think takes a number of tokens, not 'x'" in done.err
    assert "(and 7 kept from before)" in done.err


TOOLS = '[{"name": "날씨", "parameters": {"type": "object"}}]'
CALL = '{"name": "날씨", "arguments": {"도시": "서울"}, "id": "c1"}'


def test_texts_that_end_an_answer(engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lumen("run", "demo", "가", "--stop", "나", "--stop", "다")
    stdin(monkeypatch, "가".encode())
    lumen("chat", "demo", "--stop", "나")
    assert [model.asked[0][1]["stop"] for model in engine.models] == [["나", "다"], ["나"]]


def test_an_error_leaves_standard_output_empty(engine: Any, lumen: Any) -> None:
    for more in ((), ("--chat",)):
        done = lumen("run", "demo", "x" * 1001, *more)
        assert done.code == 1 and done.out == "" and "1001 tokens" in done.err


def test_calls_of_tools_are_printed_as_json(engine: Any, lumen: Any, tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(TOOLS, encoding="utf-8")
    done = lumen("run", "demo", "call", "--tools", str(file), "-q")
    assert done.out.splitlines() == ["llac", CALL]
    messages, options = engine.models[-1].asked[-1]
    assert messages[0]["content"] == "call" and options["tools"][0]["function"]["name"] == "날씨"
    assert "cannot be read: {" in lumen("run", "demo", "wrong", "--tools", str(file)).err
    for content, error in (("[", "is no JSON"), ("{}", "list of descriptions"), ("[3]", "tool 1 has no name"),
                           ('[{"name": "f", "parameters": 3}]', "a JSON schema")):  # fmt: skip
        file.write_text(content, encoding="utf-8")
        done = lumen("run", "demo", "call", "--tools", str(file))
        assert done.code == 1 and str(file) in done.err and error in done.err
    assert "cannot be read" in lumen("run", "demo", "call", "--tools", str(tmp_path)).err


def test_results_of_tools_are_typed_in(
    engine: Any, lumen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "tools.json"
    file.write_text(TOOLS, encoding="utf-8")
    lines = ["/result 없음", "call call", "/result 맑음", "/result 비", "call", "다른 말", "/result 늦음"]
    stdin(monkeypatch, "\n".join(lines).encode())
    done = lumen("chat", "demo", "--tools", str(file))
    assert done.err.count("no tool was called") == 2
    asked = [messages for messages, _ in engine.models[-1].asked]
    assert len(asked) == 4
    roles = [(message["role"], message.get("tool_call_id")) for message in asked[1]]
    assert roles == [("user", None), ("assistant", None), ("tool", "c1"), ("tool", "c2")]
    assert [message["content"] for message in asked[1][2:]] == ["맑음", "비"]
    assert [call["id"] for call in asked[1][1]["tool_calls"]] == ["c1", "c2"]
    assert asked[3][-1] == {"role": "user", "content": "다른 말"}


def test_a_plugins_command_is_there(lumen: Any) -> None:
    assert "hello" in lumen("--help").out
    assert lumen("hello", "--name", "둘").out == "안녕, 둘!\n"


def test_help_comes_at_once() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "lumen_core.cli.main", "--help"], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.6  # seconds of work, 0.25 on a machine that is not busy


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m lumen_core.cli.main models list --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "["
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [(">/dev/full", 1, "error: no space left on device\n"), (">&-", 0, ""), ("2>&-", 0, "")],
)
def test_the_last_words_are_written(redirected: str, code: int, said: str) -> None:
    command = f"{sys.executable} -m lumen_core.cli.main --version {redirected}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_process_ends_as_the_command_did() -> None:
    program = (
        "import atexit; from lumen_core.cli.main import program; atexit.register(print, 'bye'); program()"
    )
    for arguments, code in ((["--version"], 0), (["show", "no-such-model"], 1), (["run", "--no-such"], 2)):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stdout.endswith("bye\n")


def test_version(lumen: Any) -> None:
    assert lumen("--version").out.startswith("lumen 0.1.0")


def test_progress_is_drawn_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from lumen_core.cli.output import progress_bar

    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: False))
    with progress_bar() as report:
        assert report is None


def test_formats_say_their_size(lumen: Any) -> None:
    rows = {row["name"]: row for row in json.loads(lumen("formats", "list", "--json").out)}
    sizes = {"q8_0": (32, 34), "mxfp4": (32, 17), "nvfp4": (64, 36), "q6_k": (256, 210), "bf16": (1, 2)}
    assert {name: (rows[name]["block"], rows[name]["block_bytes"]) for name in sizes} == sizes


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("512", [512]), ("1,8", [1, 8]), ("1-3", [1, 2, 3]), ("128-512+128", [128, 256, 384, 512]),
     ("1-64*4,5", [1, 4, 16, 64, 5]), ("0", [0])],
)  # fmt: skip
def test_lists_of_lengths_are_those_of_llama_bench(text: str, numbers: list[int]) -> None:
    assert _numbers(text, "-p") == numbers


@pytest.mark.parametrize("text", ["", "x", "-1", "1-5*1", "0-5*2", "1-9+0", "1-99999999999", "1,,2", "9-1"])
def test_wrong_lists_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        _numbers(text, "-p")
