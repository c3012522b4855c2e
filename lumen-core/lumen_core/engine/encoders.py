"""The compiled quantizer of a format: its kernels, built, compiled (or taken from the cache) and linked.

In: a normal form, a target. Out: `weights.encoder.Functions`, which `quant.encode` takes as its searcher.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

from lumen_core.engine.session import compile_request
from lumen_core.ir.kernel import Kernel
from lumen_core.quant.alphabet import fields_of
from lumen_core.quant.encode import Encoder
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Library
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
from lumen_core.weights.encoder import Functions


def compile_encoder(
    form: NormalForm, target: Target, cache: ObjectCache, weighted: bool = False
) -> Functions | None:
    """Return the compiled search of a format; None for one that is stored as plain floats.

    Args:
        weighted: for weights that come with an importance.

    Raises:
        UnsupportedFormatError: no quantizer is derived for the format.
    """
    if form.kind == "float":
        return None
    encoder = Encoder(form)
    form, builders = encoder.form, _builders(form, target, weighted)
    content = f"weighted {weighted} {form!r}"
    requests = [Request(name, f"{name} {content}", build) for name, build in builders.items()]
    library = Library([compile_request(request, target, cache) for request in requests], list(builders))
    sums = TRIAL_SUMS if form.offset is None else AFFINE_SUMS
    counts = {"search": 1 if form.offset is None else 3, "trial": _scales(form) + len(sums),
              "contents": _scales(form) + len(fields_of(encoder.alphabet))}  # fmt: skip
    functions = {
        name: library.function(name, None, *[ctypes.c_void_p] * (2 + count), *[ctypes.c_int64] * 3)
        for name, count in counts.items()
    }
    functions["prepare"] = library.function("prepare", None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 3)
    return Functions(target.lanes, sums, weighted, **functions)


def _scales(form: NormalForm) -> int:
    return 1 if form.offset is None else 2


def encoder_kernels(form: NormalForm, target: Target) -> list[Kernel]:
    """The kernels of a format's quantizer; none for one that is stored as plain floats."""
    return [] if form.kind == "float" else [build() for build in _builders(form, target, False).values()]


def _builders(form: NormalForm, target: Target, weighted: bool) -> dict[str, Callable[[], Kernel]]:
    encoder = Encoder(form)
    form = encoder.form  # what it chooses, block by block
    effort = encoder.effort(weighted)
    if form.offset is None:
        search = partial(build_scales, form, target, weighted, encoder.signed, effort)
    else:
        search = partial(build_affine, form, target, weighted, encoder.one_sign, effort)
    builders: dict[str, Callable[..., Kernel]] = {
        "prepare": partial(build_prepare, form, target),
        "search": search,
        "trial": partial(build_trial, form, target, weighted),
        "contents": partial(build_contents, form, target, weighted),
    }
    return {name: partial(build, name=name) for name, build in builders.items()}
