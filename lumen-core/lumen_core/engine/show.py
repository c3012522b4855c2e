"""Any level of the compiler as text: what `lumen show` prints.

In: the name of a model or a format, a `.lum` file or a model file, and a level. Out: text. A model without a
file is shown with the sizes of a small model of its kind, and with the weight format that is asked for; a
format is shown by what the compiler makes of one matrix product with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_assembly
from lumen_core.dsl import ast, check, configure, parse, standard_library
from lumen_core.dsl.library import STANDARD, whole
from lumen_core.dsl.printer import print_module
from lumen_core.dsl.typed import TypedFunction, TypedModel, TypedModule
from lumen_core.dsl.typed_printer import print_typed
from lumen_core.engine import session
from lumen_core.engine.binding import BoundModel, bind
from lumen_core.engine.cache_formats import cache_formats
from lumen_core.engine.pools import CHUNK
from lumen_core.engine.shapes import SHAPES
from lumen_core.engine.sources import open_model
from lumen_core.engine.synth import tensors_of
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError, ModelError
from lumen_core.ir.core import Function, Module
from lumen_core.ir.kernel import Kernel
from lumen_core.ir.printer import print_function
from lumen_core.lower import lower_function
from lumen_core.passes.pipeline import run as run_passes
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import Formats, analyse
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.pack import build_pack
from lumen_core.schedule.phases import Needs
from lumen_core.schedule.plan import plan
from lumen_core.schedule.step import Records
from lumen_core.source import Source
from lumen_core.target import Target
from lumen_core.types import Dim
from lumen_core.weights.model_file import FileTensor, ModelFile

LEVELS = ("ast", "typed", "tensor", "fused", "kernel", "llvm", "asm")
SAMPLE_VOCABULARY = 512
SAMPLE_ROWS, SAMPLE_COLUMNS = 64, 512  # of the matrix that shows a format
PROMPT = 64  # tokens of the prefill that shows a format


def show(
    what: str, level: str, *, target: str | None = None, format: str | None = None, only: str = ""
) -> str:
    """Return the text of a level.

    target  whose kernels are shown; the best of this machine if not given
    format  of a model's matrices, where no file says it
    only    show functions and kernels whose name begins so
    """
    if level not in LEVELS:
        raise LumenError(f"no level is named {level}; known: {', '.join(LEVELS)}")
    registry = Registry.load()
    tree, path = locate(what, registry)
    if level == "ast":
        return print_module(tree)
    tree = whole(tree, (*_folders(tree), *registry.folders))
    with open_model(path, registry) if path else nullcontext() as file:
        subject = _subject(tree, registry, format or "f32", file)
    if level == "typed":
        return print_typed(subject.typed)
    if level in ("tensor", "fused"):
        functions = [f for f in subject.functions(level == "fused") if f.name.startswith(only)]
        if not functions:
            raise LumenError(f"{what} has no function whose name begins with {only!r}")
        return "\n".join(map(print_function, functions))
    chosen = choose_target(registry, target, run=False)
    kernels = list(subject.kernels(chosen))
    if not kernels:
        raise LumenError(f"{what} has no model and no format, so there are no kernels; try `level` fused")
    comment = ";" if level == "llvm" else "#"
    width = max(len(kernel.name) for kernel in kernels)
    index = [f"{comment} {kernel.name:{width}}  {kernel.doc}".rstrip() for kernel in kernels]
    shown = [kernel for kernel in kernels if kernel.name.startswith(only)]
    if not shown:
        raise LumenError(f"no kernel's name begins with {only}; known: {', '.join(k.name for k in kernels)}")
    head = f"{comment} {len(kernels)} kernels for {chosen.name}, {len(shown)} of them below\n"
    return "\n".join([head + "\n".join(index) + "\n", *(_kernel_text(k, level, chosen) for k in shown)])


def _kernel_text(kernel: Kernel, level: str, target: Target) -> str:
    if level == "kernel":
        return str(kernel)
    text = emit_llvm(kernel, target)
    if level == "llvm":
        return f"; @{kernel.name}: {kernel.doc}\n{text}"
    return f"# {kernel.name}: {kernel.doc}\n{compile_assembly(text, target)}"


@dataclass
class Subject:
    """What is shown: the typed form of a tree, and what of it can be lowered."""

    registry: Registry
    typed: TypedModule
    forms: Formats
    plain: list[TypedFunction] = field(default_factory=list)
    shown_formats: list[str] = field(default_factory=list)
    models: list[tuple[TypedModel, BoundModel]] = field(default_factory=list)

    def functions(self, fused: bool) -> Iterator[Function]:
        """Give the tensor IR of everything, before or after the passes."""
        for function in self.plain:
            yield from self._passed(self._lowered(function, {}), fused)
        for name in self.shown_formats:
            yield from self._passed(self._product(name), fused)
        for model, bound in self.models:
            lowered = session.lower(self.typed, model, bound, self.forms)
            yield from lowered.fused if fused else lowered.tensor

    def kernels(self, target: Target) -> Iterator[Kernel]:
        for name in self.shown_formats:
            needs = Needs()
            (product,) = run_passes(Module([self._product(name)]))
            for columns, tokens in ((1, 1), (tile_columns(target), PROMPT)):
                plan(product, Conditions(target, self.forms, columns=columns, capacity=tokens), needs)
            yield build_pack(self.forms[name], target, f"pack_{name}")
            yield from (request.build() for request in needs.kernels.values())
        for model, bound in self.models:
            needs = Needs()
            lowered = session.lower(self.typed, model, bound, self.forms)
            kept = cache_formats(None, self.registry, model)
            conditions = Conditions(target, self.forms, frozenset(model.layer_weights), kept)
            steps = session.plan_steps(lowered, conditions, CHUNK, needs, Records())
            support = session.support_kernels(target, self.forms, needs, bound)
            for request in (*needs.kernels.values(), *steps, *support):
                yield request.build()

    def _product(self, name: str) -> Function:
        """A matrix product with weights of a format, in the four explicit steps."""
        return self._lowered(self.typed.functions["linear"], {"N": SAMPLE_ROWS, "K": SAMPLE_COLUMNS}, name)

    def _lowered(self, function: TypedFunction, sizes: dict[str, int], format: str = "f32") -> Function:
        """Lower a function; generic sizes that have no number stay symbols."""
        kinds = function.generics
        return lower_function(
            self.typed,
            function,
            {name: Dim.of(sizes.get(name, name)) for name, kind in kinds.items() if kind == "size"},
            packs={name: ("T",) for name, kind in kinds.items() if kind == "pack"},
            elements={name: format for name, kind in kinds.items() if kind == "format"},
            formats=self.forms,
        )

    @staticmethod
    def _passed(function: Function, fused: bool) -> list[Function]:
        return list(run_passes(Module([function]))) if fused else [function]


def _folders(tree: ast.Module) -> tuple[Path, ...]:
    """Where the text of a tree lies: the pages that its models are like stand beside it."""
    name = tree.items[0].span.source.name if tree.items else ""
    return (Path(name).parent,) if name.endswith(".lum") else ()


def locate(what: str, registry: Registry) -> tuple[ast.Module, Path | None]:
    """Return the tree that a name stands for (a file, a model, a format), and the model file if it is one."""
    if what == "standard" or Path(what).resolve() == STANDARD:
        return standard_library(), None
    if what.endswith(".lum"):
        return parse(Source.read(what)), None
    if what in registry.models:
        return parse(Source.read(registry.models[what].value.path)), None
    if what in registry.formats:
        return ast.Module((registry.formats[what].value,)), None
    path = registry.file(what)
    if not path.exists():
        known = ", ".join([*sorted(registry.models), *sorted(registry.formats), *sorted(registry.files)])
        raise ModelError(f"no file, model or format is named {what}; known: {known}")
    with open_model(path, registry) as file:
        return parse(Source.read(registry.model(file.architecture).path)), path


def _subject(tree: ast.Module, registry: Registry, format: str, file: ModelFile | None) -> Subject:
    own = {item.name: item for item in tree.formats if not item.generics}
    library = ast.Module(()) if tree is standard_library() else standard_library()
    typed = check(tree, library, [name for name in registry.formats if name not in own])
    names = {"f32", format, *own} | {tensor.format for tensor in (file.tensors.values() if file else ())}
    forms = Formats({name: analyse(own[name] if name in own else registry.format(name)) for name in names})
    models = []
    for model in typed.models.values():
        models.append((model, bind(model, file or _sample(model, registry, forms[format]))))
    plain = [typed.functions[name] for name in typed.functions if name in typed.own]
    return Subject(registry, typed, forms, plain, list(own), models)


def _sample(model: TypedModel, registry: Registry, form: NormalForm) -> ModelFile:
    """Return a file without data for a model: of the shapes of its kind the first that fills whole blocks."""
    names = (
        registry.models[model.name].value.architectures if model.name in registry.models else (model.name,)
    )
    shapes = [shape for shape in SHAPES.values() if shape.architecture in names] or list(SHAPES.values())
    for shape in shapes:
        numbers = {**shape.metadata(), "vocab_size": SAMPLE_VOCABULARY}
        extents = tensors_of(model, configure(model, numbers.get), shape)
        if all(extent[-1] % form.block == 0 for extent in extents.values() if len(extent) > 1):
            chosen = {name: form.name if len(extent) > 1 else "f32" for name, extent in extents.items()}
            tensors = {n: FileTensor(n, chosen[n], extents[n], np.empty(0, np.uint8)) for n in extents}
            metadata = {f"{names[0]}.{key}": value for key, value in numbers.items()}
            return ModelFile(Path(f"{model.name}.lum"), names[0], metadata, tensors, ())
    raise LumenError(f"no shape of {model.name} that Lumen knows has rows of whole blocks of {form.block}")
