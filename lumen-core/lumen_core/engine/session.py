"""The whole compile river for one model file, in order; nothing else knows the order.

page and file -> bound weights -> tensor IR -> fused -> plans -> kernels -> objects -> linked programs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.dsl.typed import TypedModel, TypedModule
from lumen_core.engine.binding import BoundModel, bind, load_page
from lumen_core.engine.cache_formats import cache_formats
from lumen_core.engine.pools import chunk_tokens
from lumen_core.errors import UnsupportedFormatError
from lumen_core.ir.core import Function, Module
from lumen_core.lower.model import lower_step
from lumen_core.passes.pipeline import run as run_passes
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import Formats, analyse
from lumen_core.quant.identity import fingerprint
from lumen_core.quant.layout import ALIGNMENT
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Library, compile_object, toolchain_version
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.cache import CacheFormats
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.pack import build_pack
from lumen_core.schedule.phases import Call, Chain, Needs, Number, Phase, Request, Slot
from lumen_core.schedule.plan import plan
from lumen_core.schedule.sampling import build_sample, padded, scratch_bytes
from lumen_core.schedule.step import Part, Profile, Records, build_step
from lumen_core.schedule.team import build_publish, build_serve
from lumen_core.target import Target
from lumen_core.weights.model_file import FileTensor, FormatIdentity, ModelFile
from lumen_core.weights.packed_file import PackedFile
from lumen_core.weights.packing import packing_digest

FEW = 64  # tokens of a step whose weights are read front to back, and of which there are logits at once
Linker = Callable[[Mapping[str, Request], Target, ObjectCache], Library]
PROGRAMS = ("prefill", "few", "decode", "last", "score")


def load_formats(registry: Registry, names: set[str]) -> Formats:
    """Return the normal forms of the named formats."""
    return Formats({name: analyse(registry.format(name)) for name in sorted(names)})


@dataclass
class Lowered:
    """A model's functions after lowering and after fusion.

    There is one block per distinct set of weight formats and settings of a layer.
    """

    tensor: list[Function] = field(default_factory=list)
    fused: list[Function] = field(default_factory=list)
    variants: dict[tuple[object, ...], int] = field(default_factory=dict)
    layer_variants: list[int] = field(default_factory=list)

    def function(self, name: str, variant: int = 0) -> Function:
        return [function for function in self.fused if function.name == name][variant]


def lower(module: TypedModule, model: TypedModel, bound: BoundModel, formats: Formats) -> Lowered:
    """Lower and fuse embed, every variant of block, and head."""
    result = Lowered()
    common = {name: tensor.format for name, tensor in bound.weights.items()}

    def add(
        step: str,
        weight_formats: Mapping[str, str],
        settings: Mapping[str, int] | None = None,
        orders: Mapping[str, str] | None = None,
    ) -> None:
        function = lower_step(
            module, model, step, bound.configuration, weight_formats, formats, settings, orders
        )
        result.tensor.append(function)
        result.fused.extend(run_passes(Module([function])))

    for number, layer in enumerate(bound.layers):
        settings = bound.configuration.of_layer(number)
        formats_of = {name: tensor.format for name, tensor in layer.items()}
        orders = _equal_orders(layer)
        names = model.layer_weights
        signature = (*map(formats_of.get, names), *map(orders.get, names), *settings.values())
        if signature not in result.variants:
            result.variants[signature] = len(result.variants)
            add("block", common | formats_of, settings, orders)
        result.layer_variants.append(result.variants[signature])
    add("embed", common)
    add("head", common)
    return result


def _equal_orders(layer: Mapping[str, FileTensor]) -> dict[str, str]:
    """Of each weight with sorted columns, the first one whose columns are in the same order."""
    found: dict[bytes, str] = {}
    return {
        name: found.setdefault(tensor.order.tobytes(), name)
        for name, tensor in layer.items()
        if tensor.order is not None
    }


@dataclass
class Session:
    """A compiled model: everything but memory."""

    target: Target
    formats: Formats
    bound: BoundModel
    lowered: Lowered
    needs: Needs
    records: Records
    kernels: dict[str, Request]
    library: Library
    cache: ObjectCache
    chunk: int
    cache_formats: CacheFormats

    def tensors(self, names: Iterable[str]) -> list[FileTensor]:
        """Return weights of these names, each once, as a step reads them: layer by layer, then the head."""
        wanted = set(names)
        tables = (*self.bound.layers, self.bound.weights)
        found = {id(t): t for table in tables for name, t in table.items() if name in wanted}
        return list(found.values())


def file_formats(registry: Registry, file: ModelFile) -> Formats:
    """Return the normal forms of a file's formats; a name must mean what it meant when the file was made."""
    for name, identity in file.identities.items():
        try:
            installed = fingerprint(registry.format(name))
        except UnsupportedFormatError:
            raise UnsupportedFormatError(
                f"{file.path} was made with the format {name} (digest {identity.digest}), which no installed "
                "package declares; install the package that the file was made with"
            ) from None
        if installed != identity.digest:
            entry = registry.format_entry(name)
            raise UnsupportedFormatError(
                f"two formats are called {name}: the one that {file.path} was made with (digest "
                f"{identity.digest}) and the one of {entry.distribution} ({installed}, {entry.path}); "
                "install the package that the file was made with"
            )
    return load_formats(registry, {tensor.format for tensor in file.tensors.values()} | {"f32"})


def format_identities(registry: Registry, formats: Mapping[str, NormalForm]) -> dict[str, FormatIdentity]:
    """Return what a file has to say about each format, for containers that have no number for it."""
    return {
        name: FormatIdentity(
            name, fingerprint(registry.format(name)), form.block, form.block_bytes, form.header_bytes
        )
        for name, form in formats.items()
    }


def packing_digests(
    registry: Registry, names: Iterable[str], formats: Formats, target: Target
) -> dict[str, str]:
    """Return what decides the packed bytes of each format."""
    return {name: packing_digest(registry.format(name), formats[name], target) for name in names}


def compile_model(
    registry: Registry,
    file: ModelFile,
    target: Target,
    threads: int,
    cache: ObjectCache,
    chunk: int | None = None,
    profile: bool = False,
    linker: Linker | None = None,
    kv_format: str | None = None,
) -> Session:
    """Run the compile river for a file.

    chunk    tokens of a prefill step; None: what suits the model
    kv_format  how keys and values are kept (`q8_0`, or `q8_0:f16`); None: as the model's page says
    profile  programs that measure themselves
    linker   makes the library instead of `link`, for programs that do not run in this process
    """
    module, model = load_page(registry, file.architecture)
    formats = file_formats(registry, file)
    if isinstance(file, PackedFile):
        known = [name for name in file.digests if name in formats]
        file.require(packing_digests(registry, known, formats, target), target.name)
    bound = bind(model, file)
    lowered = lower(module, model, bound, formats)
    kept = cache_formats(kv_format, registry, model)
    needs, records = Needs(), Records(profile=Profile() if profile else None)
    chunk = chunk_tokens(file) if chunk is None else chunk
    conditions = Conditions(target, formats, frozenset(model.layer_weights), kept, threads)
    steps = plan_steps(lowered, conditions, chunk, needs, records)
    requests = dict(needs.kernels)
    for request in (*steps, *support_kernels(target, formats, needs, bound)):
        requests[request.symbol] = request
    library = (linker or link)(requests, target, cache)
    return Session(target, formats, bound, lowered, needs, records, requests, library, cache, chunk, kept)


def plan_steps(
    lowered: Lowered, conditions: Conditions, chunk: int, needs: Needs, records: Records
) -> list[Request]:
    """Plan every program, on conditions of one token; return the requests for their step kernels.

    chunk  tokens of a prefill step at most
    """
    target = conditions.target
    wide = replace(conditions, columns=tile_columns(target))
    kinds = {"one": conditions, "few": replace(wide, capacity=FEW), "many": replace(wide, capacity=chunk)}

    def phases(name: str, kind: str, variant: int = 0) -> tuple[Phase, ...]:
        return plan(lowered.function(name, variant), kinds[kind], needs)

    def blocks(kind: str) -> Part:
        return Part(variants=tuple(phases("block", kind, v) for v in range(len(lowered.variants))))

    def once(name: str, kind: str) -> Part:
        return Part(phases(name, kind))

    vocabulary = lowered.function("head").results[0].type.shape[-1].value or 0
    sample = Part((_sample_phase(vocabulary, needs, target),))
    parts = {
        "prefill": [once("embed", "many"), blocks("many")],
        "few": [once("embed", "few"), blocks("few")],
        "decode": [once("embed", "one"), blocks("one"), once("head", "one"), sample],
        "last": [once("head", "one"), sample],
        "score": [once("head", "few")],
    }
    requests = []
    for name in PROGRAMS:
        kernel = build_step(name, parts[name], target, records, singly=name == "prefill")
        requests.append(Request(name, str(kernel), lambda kernel=kernel: kernel))  # type: ignore[misc]
    return requests


def _sample_phase(vocabulary: int, needs: Needs, target: Target) -> Phase:
    symbol = needs.request("sample", f"sample {target.name}", lambda name: build_sample(target, name))
    needs.buffer("head.out", 4 * padded(vocabulary))
    needs.buffer("sampling.scratch", scratch_bytes(vocabulary))
    needs.buffer("sampling.token", 8)
    arguments = (
        Slot("head.out"),
        Number(vocabulary),
        Slot("sampling.recent"),
        Slot("sampling.recents"),
        Slot("sampling.settings"),
        Slot("sampling.position"),
        Slot("sampling.scratch"),
    )
    call = Call(symbol, arguments, Slot("sampling.token"))
    return Phase((), (Chain((call,), units=1),))


def support_kernels(target: Target, formats: Formats, needs: Needs, bound: BoundModel) -> list[Request]:
    """Requests for packing each matrix format, and for the worker team."""
    tables = (bound.weights, *bound.layers)
    used = {table[name].format for table in tables for name in needs.packed if name in table}
    requests = [
        Request("serve", "serve", lambda: build_serve("serve")),
        Request("publish", "publish", lambda: build_publish("publish")),
    ]
    for name in sorted(used):
        form, symbol = formats[name], f"pack_{name}"
        requests.append(Request(symbol, f"pack {form!r}", partial(build_pack, form, target, symbol)))
    return requests


# ------------------------------------------------------------------ compilation


def link(requests: Mapping[str, Request], target: Target, cache: ObjectCache) -> Library:
    """Compile every kernel (or take it from the cache) and link them."""
    objects = [compile_request(request, target, cache) for request in requests.values()]
    exported = [*PROGRAMS, "serve", "publish", *(s for s in requests if s.startswith(("pack_", "sample_")))]
    return Library(objects, [symbol for symbol in exported if symbol in requests])


def compile_request(request: Request, target: Target, cache: ObjectCache) -> bytes:
    """Return a kernel's object."""

    def make() -> bytes:
        return compile_object(emit_llvm(request.build(), target), target)

    return cache.get(cache_key(request.content, target), make)


def cache_key(content: str, target: Target) -> bytes:
    """What decides an object: the generator, the toolchain, the target and the kernel."""
    parts = (generator_fingerprint(), toolchain_version(), repr(target))
    instructions = hashlib.sha256(repr(target.instructions).encode()).hexdigest()
    return "\n".join((*parts, instructions, str(ALIGNMENT), content)).encode()


@lru_cache(maxsize=1)
def generator_fingerprint() -> str:
    """A digest of the sources that turn a request into code."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in ("schedule", "codegen", "quant", "ir"):
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
