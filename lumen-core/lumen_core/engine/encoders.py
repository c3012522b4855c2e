"""The compiled quantizer of a format: its kernels, built, compiled (or taken from the cache) and linked.

In: a normal form, a target. Out: an engine of `weights.encoder`, which `quant.encode` takes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

from lumen_core.engine.session import compile_request
from lumen_core.ir.kernel import Kernel
from lumen_core.quant.alphabet import fields_of
from lumen_core.quant.encode import Encoder
from lumen_core.quant.floats import FLOAT_BYTES, is_small
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.search import Engine, NumpyEngine
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Function, Library
from lumen_core.schedule.encode import build_blocks, build_floats, is_plain, room
from lumen_core.schedule.phases import Request
from lumen_core.schedule.search import (
    AFFINE_SUMS,
    TRIAL_SUMS,
    build_affine,
    build_contents,
    build_prepare,
    build_scales,
    build_trial,
)
from lumen_core.target import Target
from lumen_core.weights.encoder import BlockEngine, FloatEngine, SearchEngine


def compile_encoder(form: NormalForm, target: Target, cache: ObjectCache, weighted: bool = False) -> Engine:
    """Return the compiled engine of a format; of floats with a scale, numpy's.

    Args:
        weighted: for weights that come with an importance.

    Raises:
        UnsupportedFormatError: no quantizer is derived for the format.
    """
    encoder = Encoder(form)
    form, builders = encoder.form, _builders(encoder, target, weighted)
    if not builders:
        return NumpyEngine()
    content = f"weighted {weighted} {form!r}"
    requests = [Request(name, f"{name} {content}", build) for name, build in builders.items()]
    library = Library([compile_request(request, target, cache) for request in requests], list(builders))

    def function(name: str, pointers: int, numbers: int) -> Function:
        kinds = [*[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers]
        return library.function(name, None, *kinds)

    if form.kind == "float":
        return FloatEngine(target.lanes, FLOAT_BYTES[form.element], function("floats", 3, 2))
    if is_plain(form):
        memory = room(form, target, weighted).bytes
        return BlockEngine(target.lanes, form.block_bytes, memory, weighted, function("blocks", 5, 2))
    affine = form.offset is not None
    sums, given = (AFFINE_SUMS, 4) if affine else (TRIAL_SUMS, 3)  # weights, importance, scales (and offsets)
    return SearchEngine(
        target.lanes,
        sums,
        weighted,
        prepare=function("prepare", 4, 3),
        best=function("best", 5 if affine else 3, 3),
        trial=function("trial", given + len(sums), 3),
        contents=function("contents", given + len(fields_of(encoder.alphabet)), 3),
    )


def encoder_kernels(form: NormalForm, target: Target) -> list[Kernel]:
    """The kernels of a format's quantizer."""
    return [build() for build in _builders(Encoder(form), target, False).values()]


def _builders(encoder: Encoder, target: Target, weighted: bool) -> dict[str, Callable[[], Kernel]]:
    form = encoder.form  # what it chooses, block by block
    if form.kind == "float":
        if is_small(form.element) or form.scale is not None:
            return {}
        return {"floats": partial(build_floats, form, target, "floats")}
    effort = encoder.effort(weighted)
    if is_plain(form):
        return {"blocks": partial(build_blocks, form, target, weighted, encoder.signed, effort, "blocks")}
    if form.offset is None:
        best = partial(build_scales, form, target, weighted, encoder.signed, effort)
    else:
        best = partial(build_affine, form, target, weighted, encoder.one_sign, effort)
    builders: dict[str, Callable[..., Kernel]] = {
        "prepare": partial(build_prepare, form, target),
        "best": best,
        "trial": partial(build_trial, form, target, weighted),
        "contents": partial(build_contents, form, target, weighted),
    }
    return {name: partial(build, name=name) for name, build in builders.items()}
