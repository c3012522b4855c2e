"""Each pass on the programs of its `.lir` file: `# before:` the name of a case, `# after`.

`pytest --bless` rewrites what stands after; dead code is removed so that the text stays short.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.ir import parse_module, print_module, verify
from lumen_core.passes.dead_code import DeadCode
from lumen_core.passes.pipeline import PIPELINE
from lumen_core.source import Source

FOLDER = Path(__file__).parent
PASSES = {step.name: step for step in PIPELINE}
FILES = sorted(FOLDER.glob("*.lir"))


def sections(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Return what precedes the first case, and the cases: name, before, after."""
    head, *cases = text.split("# before: ")
    found = []
    for case in cases:
        name, body = case.split("\n", 1)
        before, _, after = body.partition("# after\n")
        found.append((name.strip(), before.strip() + "\n", after.strip() + "\n"))
    return head, found


CASES = [(path, name) for path in FILES for name, _, _ in sections(path.read_text("utf-8"))[1]]


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{path.stem}: {name}" for path, name in CASES])
def test_pass(path, name, request):
    head, cases = sections(path.read_text("utf-8"))
    place = [case[0] for case in cases].index(name)
    _, before, after = cases[place]
    module = parse_module(Source(f"{path.name} ({name})", before))
    found = DeadCode().run(PASSES[path.stem].run(module))
    verify(found)
    if request.config.getoption("--bless", default=False):
        cases[place] = (name, before, print_module(found))
        text = "\n".join(f"# before: {title}\n{old}\n# after\n{new}" for title, old, new in cases)
        path.write_text(head + text, "utf-8")
        return
    assert after == print_module(found)
    assert parse_module(after) == found


def test_every_pass_has_a_file():
    assert {path.stem for path in FILES} == set(PASSES)
