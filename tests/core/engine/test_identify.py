"""What `lumen inspect` says of a model beyond its metadata: which one it is, and what will not work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kit import checkpoints

from lumen_core.engine.identify import identify
from lumen_core.engine.sources import open_model
from lumen_core.plugins.collect import Entry
from lumen_core.plugins.registry import Registry
from lumen_core.plugins.sources import Release


def test_a_model_is_known_by_its_parameters(tmp_path: Path) -> None:
    registry = Registry.load()
    checkpoints.write(tmp_path, "llama")
    with open_model(tmp_path, registry) as file:
        found = identify(file, registry)
        own = Release("tiny", found.parameters, "nobody", "free")
        twin = replace(own, name="twin")
        assert found.releases == () and found.chat == "Qwen3" and found.problems == ()
        entry = registry.architectures["llama"]
        known = Entry(
            replace(entry.value, releases=(own, replace(own, parameters=1), twin)), entry.distribution
        )
        vars(registry)["architectures"] = registry.architectures | {"llama": known}
        assert identify(file, registry).releases == (own, twin)
    counted = sum(array.size for array in checkpoints.weights("llama").values())
    assert found.parameters == counted  # the divisors of the frequencies are no parameters


def test_problems_are_named(tmp_path: Path) -> None:
    registry = Registry.load()
    checkpoints.write(tmp_path, "qwen3", head_dim=8)
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    with open_model(tmp_path, registry) as file:
        problems = identify(file, registry).problems
    assert any(problem.startswith("weights: ") and "has shape" in problem for problem in problems)
    assert any(problem.startswith("chat: ") for problem in problems)


def test_published_counts_follow_from_the_published_shapes() -> None:
    releases = {r.name: r.parameters for e in Registry.load().models.values() for r in e.value.releases}

    def count(layers: int, width: int, heads: int, groups: int, head: int, inner: int, rows: int, tables: int,
              more: int = 0) -> int:  # fmt: skip
        attention = 2 * width * heads * head + 2 * width * groups * head
        return layers * (attention + 3 * width * inner + 2 * width + more) + width + tables * rows * width

    assert releases["Kanana-1.5-2.1B"] == count(32, 1792, 24, 8, 128, 8064, 128259, 2)
    assert releases["Midm-2.0-Mini"] == count(48, 1792, 32, 8, 128, 4608, 131392, 1)
    assert releases["Kanana-2-3B"] == count(32, 2560, 32, 8, 128, 8192, 128256, 2, more=2 * 128)
    assert releases["A.X-4.0-Light"] == count(28, 3584, 28, 4, 128, 18944, 102400, 2, more=36 * 128)
    assert releases["A.X-3.1-Light"] == count(32, 4096, 32, 32, 128, 10880, 102400, 2)
    assert releases["HyperCLOVAX-SEED-Text-Instruct-1.5B"] == count(24, 2048, 16, 8, 128, 7168, 110592, 1)

    experts = 3 * 6144 * 2048 * 129 + 128 * 6144 + 128  # one of them shared; a gate and a bias for the others
    more = 47 * (experts - 3 * 6144 * 18432) + 48 * 2 * 128
    assert releases["K-EXAONE-236B-A23B"] == count(48, 6144, 64, 8, 128, 18432, 153600, 2) + more
    gate = 4096 * 128 + 128
    assert releases["Solar-Open-100B"] == count(48, 4096, 64, 8, 128, 1280 * 129, 196608, 2, more=gate)
