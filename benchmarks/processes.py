"""Whole processes until the first token, and the time that compiling takes.

In: a model file. Out: seconds and peak resident memory of the command line, from the start of the process to
its exit with one token printed: with an empty cache of compiled objects, with a full one, from a packed file;
and of llama.cpp through its Python package, which does the same with its own functions.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lumen_core.engine.pack import pack
from lumen_core.engine.session import compile_model
from lumen_core.engine.sources import open_model
from lumen_core.engine.targets import choose_target
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.cores import available_threads

PROMPT = "안녕하세요. 오늘 날씨가 어떤가요?"
CONTEXT = 4096
REPETITIONS = 5
# At its end every process says how much memory it had at most (the system's own figure for a child counts
# what its parent had when it was started).
BEFORE = """
import atexit, sys
@atexit.register
def say():
    with open("/proc/self/status") as status:
        print(*(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""
LUMEN = (
    BEFORE
    + """
from lumen_core.cli.main import program
program()
"""
)
# Load, tokenize, one step, the likeliest token: what `lumen run -n 1 --temp 0` does.
LLAMA_CPP = (
    BEFORE
    + f"""
import ctypes
import llama_cpp as l
silence = l.llama_log_callback(lambda *_: None)
l.llama_log_set(silence, ctypes.c_void_p(0))
l.llama_backend_init()
model = l.llama_model_load_from_file(sys.argv[1].encode(), l.llama_model_default_params())
settings = l.llama_context_default_params()
settings.n_ctx = {CONTEXT}
settings.n_threads = settings.n_threads_batch = {available_threads()}
context = l.llama_init_from_model(model, settings)
vocabulary, text = l.llama_model_get_vocab(model), sys.argv[2].encode()
tokens = (l.llama_token * 512)()
count = l.llama_tokenize(vocabulary, text, len(text), tokens, 512, True, False)
assert l.llama_decode(context, l.llama_batch_get_one(tokens, count)) == 0
logits = l.llama_get_logits_ith(context, -1)
best = max(range(l.llama_vocab_n_tokens(vocabulary)), key=logits.__getitem__)
piece = ctypes.create_string_buffer(256)
size = l.llama_token_to_piece(vocabulary, best, piece, 256, 0, True)
sys.stdout.buffer.write(piece.raw[:size])
"""
)


def starts(path: Path) -> dict[str, Any]:
    """Return seconds and MiB of every kind of start, medians; the engines run in turn."""
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(path, Path(folder) / "packed.gguf")
        environment = {**os.environ, "LUMEN_CACHE_DIR": str(Path(folder) / "cache")}
        asked = [PROMPT, "-n", "1", "-q", "--temp", "0", "-c", str(CONTEXT)]
        commands = {
            "plain": [sys.executable, "-c", LUMEN, "run", str(path), *asked],
            "packed": [sys.executable, "-c", LUMEN, "run", str(packed), *asked],
            "llama.cpp": [sys.executable, "-c", LLAMA_CPP, str(path), PROMPT],
        }
        found: dict[str, list[tuple[float, float]]] = {"cold": [process(commands["plain"], environment)]}
        for _ in range(REPETITIONS + 1):
            for name, command in commands.items():
                found.setdefault(name, []).append(process(command, environment))
        times = compile_times(path, Path(folder) / "compiled")
        result: dict[str, Any] = {"compile": times, "file_bytes": path.stat().st_size}
        for name, runs in found.items():
            seconds, resident = zip(*(runs[1:] or runs), strict=True)
            result[name] = {"seconds": statistics.median(seconds), "resident": max(resident)}
        return result


def process(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from start to exit, and peak resident memory in MiB."""
    started = time.perf_counter()
    child = subprocess.run(command, env=environment, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    if child.returncode or not child.stdout:
        raise RuntimeError(f"{command[:4]} ended with {child.returncode}: {child.stderr.decode()[-2000:]}")
    return seconds, int(child.stderr.split()[-1]) / 1024


def compile_times(path: Path, folder: Path) -> dict[str, float]:
    """Seconds to compile a whole model with an empty cache and with a full one."""
    registry = Registry.load()
    target = choose_target(registry, None)
    times = {}
    with open_model(path, registry) as file:
        for name in ("cold", "warm"):
            started = time.perf_counter()
            compile_model(registry, file, target, available_threads(), ObjectCache(folder))
            times[name] = time.perf_counter() - started
    return times
