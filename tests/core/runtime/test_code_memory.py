"""Memory that holds code is never writable, and what was compiled lives as long as it is needed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lumen_core.engine.synth import synthesize

LOOK = """
import sys
import llvmlite.binding  # its own callbacks into Python stand in a page of ctypes that some builds leave open
import lumen_core as lumen
from lumen_core.engine.session import PROGRAMS

def pages():
    found = {}
    for line in open("/proc/self/maps"):
        span, protection = line.split()[:2]
        found[tuple(int(end, 16) for end in span.split("-"))] = protection
    return found

def open_pages():
    return {span for span, protection in pages().items() if "w" in protection and "x" in protection}

before, models = open_pages(), []
for turn in range(2):
    models.append(lumen.load(sys.argv[1], threads=2))
    models[-1].generate("abc", max_tokens=4, ignore_end=True, seed=1)
    assert open_pages() == before
    for name in PROGRAMS:
        address = models[-1]._session.library.address(name)
        (protection,) = [p for (start, end), p in pages().items() if start <= address < end]
        assert protection.startswith("r-x"), (name, protection)
print(models[-1].describe()["objects_cached"])
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_page_is_writable_and_executable(tmp_path: Path) -> None:
    """Cold (everything compiled) and warm (everything from the cache)."""
    path = synthesize("llama-tiny", tmp_path / "m.gguf", "q4_0")
    environment = {**os.environ, "LUMEN_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert int(done.stdout) > 0


def test_functions_keep_their_library() -> None:
    from lumen_core.codegen.llvm import emit_llvm
    from lumen_core.engine.targets import choose_target
    from lumen_core.ir.kernel import I64, Kernel
    from lumen_core.ir.kernel_builder import Builder
    from lumen_core.plugins.registry import Registry
    from lumen_core.runtime.link import Library, compile_object

    target = choose_target(Registry.load(), None)
    kernel = Kernel("seven", [("x", I64)], I64)
    builder = Builder(kernel)
    builder.ret(builder.add(kernel.parameters[0], 7))
    content = compile_object(emit_llvm(kernel, target), target)
    functions = []
    for _ in range(50):
        import ctypes

        functions.append(Library([content], ["seven"]).function("seven", ctypes.c_int64, ctypes.c_int64))
    gc.collect()
    assert [function(number) for number, function in enumerate(functions)] == list(range(7, 57))
