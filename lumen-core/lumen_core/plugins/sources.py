"""What plugins return for formats and models: where the `.lum` text is, and facts that it does not say.

Nothing is parsed here: the registry reads a file when its names are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lumen_core.text.chat import ChatFamily
    from lumen_core.weights.mapping import Checkpoint
    from lumen_core.weights.model_file import FileTensor


@dataclass(frozen=True)
class FormatSource:
    """A `.lum` file that declares one or many formats.

    tables  gives the values of a `table` of the file by its name, as an integer array of the declared shape;
            it is called when a format that reads the table is first used
    schemes  of checkpoint directories whose weights have formats of the file
    """

    path: Path
    tables: Callable[[str], object] | None = None
    schemes: tuple[Scheme, ...] = ()


@dataclass(frozen=True)
class Scheme:
    """How checkpoint directories say that their weights are quantized.

    methods  `quant_method` of their `quantization_config`
    choose   takes that config; what it returns is given a module's name and its tensors by the last part of
             their names, and returns the name of a format, or None where the module is not quantized
    unread   patterns (`*` and `?`) of tensors that no computation needs
    """

    methods: tuple[str, ...]
    choose: Callable[[Mapping[str, Any]], Callable[[str, Mapping[str, FileTensor]], str | None]]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A published model, recognized by its exact number of parameters.

    verified  how its support was checked, in a few words; empty: not yet
    """

    name: str
    parameters: int
    vendor: str = ""
    license: str = ""
    verified: str = ""


@dataclass(frozen=True)
class ModelSource:
    """A `.lum` file with one model.

    name           of the model, as in the file and in `lumen models list`
    architectures  names that model files use for it, e.g. `general.architecture` of a GGUF
    files          weights that the package ships, by the name that `lumen.load` takes
    checkpoints    kinds of checkpoint directories (config.json and safetensors) that are this model
    chats          chat formats that models of this kind speak
    releases       published models of this kind, by what their files say
    """

    name: str
    path: Path
    architectures: tuple[str, ...]
    family: str = ""
    vendor: str = ""
    license: str = ""
    note: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    chats: tuple[ChatFamily, ...] = ()
    releases: tuple[Release, ...] = ()
