"""The compiled search of the quantizer against numpy's: the same codes and losses, format by format."""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
import pytest
from kit.forms import declarations, encodable
from kit.weights import relative_error, sample

from lumen_core.codegen.objects import host_features
from lumen_core.engine.encoders import compile_encoder
from lumen_core.errors import UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import Encoder, encode
from lumen_core.quant.search import Engine
from lumen_core.runtime.cache import ObjectCache
from lumen_core.target import Target

FORMS = {name: form for name, item in declarations().items() if encodable(form := analyse(item))}
TARGETS = {
    target.name: target
    for entry in Registry.load().backends.values()
    for target in entry.value.usable(platform.machine(), host_features())
}
OFTEN = {"bf16", "q4_0", "q5_1", "q4_k", "q6_k", "iq4_xs", "mxfp4", "iq2_xxs", "iq3_s", "iq1_m", "tq1_0"}
CASES = [
    pytest.param(name, target, weighted, marks=[] if usual else [pytest.mark.slow])
    for name in sorted(FORMS)
    for place, target in enumerate(TARGETS)
    for weighted in (False, True)
    for usual in [name in OFTEN and (place == 0) != weighted]
]


@cache
def engine(name: str, target: str, weighted: bool) -> Engine:
    chosen: Target = TARGETS[target]
    return compile_encoder(FORMS[name], chosen, ObjectCache(None), weighted)


def importance(columns: int) -> np.ndarray:
    generator = np.random.default_rng(4)
    return (np.square(generator.standard_normal(columns)) + 0.01).astype(np.float32)


@pytest.mark.parametrize(("name", "target", "weighted"), CASES)
def test_it_finds_what_numpy_finds(name: str, target: str, weighted: bool) -> None:
    form = FORMS[name]
    rows = np.concatenate([sample(kind)[:3] for kind in ("gaussian", "student3")])
    rows = rows[:, : 1024 // form.block * form.block]
    weight = importance(rows.shape[1]) if weighted else None
    found, wanted = encode(form, rows, weight, engine(name, target, weighted)), encode(form, rows, weight)
    # sums are rounded in another order: a block now and then gets another of nearly equal scales
    near = np.abs(form.decode(found) - form.decode(wanted)) <= 0.01 * np.sqrt(np.square(rows).mean())
    assert near.mean() > 0.75, f"{100 * near.mean():.0f} % of the weights agree"
    matters = np.sqrt(weight) if weight is not None else np.float32(1)
    losses = [relative_error(form.decode(item) * matters, rows * matters) for item in (found, wanted)]
    assert abs(losses[0] - losses[1]) <= 0.005 * losses[1]


@pytest.mark.parametrize("name", ["q4_1", "q3_k", "iq2_s", "mxfp4", "f16"])
def test_edges(name: str) -> None:
    """One block (a tile that is not full), zeros, huge and tiny blocks, what cannot be held."""
    form = FORMS[name]
    compiled = engine(name, next(iter(TARGETS)), False)
    for factor in (0.0, 1e-30, 1e-12, 1.0, 1e3):
        rows = (sample("gaussian")[:1, : max(form.block, 32)] * factor).astype(np.float32)
        found = form.decode(encode(form, rows, None, compiled))
        assert np.isfinite(found).all()
        assert np.abs(found - rows).max() <= 1.01 * np.abs(rows).max() + 1e-7
    rows[0, 5] = np.nan
    with pytest.raises(UnsupportedFormatError, match="row 0, column 5"):
        encode(form, rows, None, compiled)
    rows[0, 5] = 3e38
    if Encoder(form).limit > 3e38:
        return
    with pytest.raises(UnsupportedFormatError, match="does not fit"):
        encode(form, rows, None, compiled)
