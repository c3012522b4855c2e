"""From a `quantization_config` to the format of each weight.

In: the config. Out: a function that is given a module's name and tensors (by the last part of their names)
and returns the name of a format of `formats.lum`, or None where the module is not quantized. Which tensors a
module has decides that, so lists such as `ignore` and `modules_to_not_convert` need no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeVar

from lumen_core.errors import ModelFormatError
from lumen_core.plugins.sources import Scheme
from lumen_core.weights.model_file import FileTensor

Entries = TypeVar("Entries", dict[str, Any], list[Any])
Tensors = Mapping[str, FileTensor]
Choose = Callable[[str, Tensors], str | None]
_FLOATS = {"f8_e4m3": "e4m3", "f8_e5m2": "e5m2"}
_SCALES = ("f32", "f16", "bf16")
MATCHING = 1.0  # seconds
# Activations are quantized as the kernels like it; caches keep their own types.
_UNREAD = ("*.input_scale", "*.input_zero_point", "*.input_global_scale", "*.output_scale",
           "*.output_zero_point", "*.k_scale", "*.v_scale", "*.k_zero_point", "*.v_zero_point",
           "*.q_scale", "*.weight_shape", "*.activation_scale")  # fmt: skip


def _whole(config: Mapping[str, Any], key: str, known: tuple[int, ...] = ()) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or (known and value not in known):
        expected = f"one of {', '.join(map(str, known))}" if known else "a whole number"
        raise ModelFormatError(f"quantization_config: {key} is {str(value)[:40]!r}, expected {expected}")
    return value


def _entries(config: Mapping[str, Any], key: str, kind: type[Entries]) -> Entries:
    """The object or the list that stands there; an empty one if none does."""
    value = config.get(key)
    if value is not None and not isinstance(value, kind):
        expected = "an object" if kind is dict else "a list"
        raise ModelFormatError(f"quantization_config: {key} is {str(value)[:40]!r}, expected {expected}")
    return value or kind()


def _group(value: object) -> str:
    """Columns of a group; -1 means that a row is one."""
    if value == -1 or value is None:
        return "all"
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 16 or value % 32:
        raise ModelFormatError(
            f"quantization_config: group_size is {str(value)[:40]!r}, expected -1 or a multiple of 32"
        )
    return str(value)


def _scale(module: str, tensors: Tensors, suffix: str) -> FileTensor:
    tensor = tensors.get(suffix)
    if tensor is None:
        raise ModelFormatError(f"{module}: the tensor {suffix} is missing")
    if tensor.format not in _SCALES:
        raise ModelFormatError(f"tensor {tensor.name}: is {tensor.format}, expected {', '.join(_SCALES)}")
    return tensor


def gptq(config: Mapping[str, Any]) -> Choose:
    bits = _whole(config, "bits", (2, 3, 4, 8))
    group = _group(config.get("group_size", -1))
    layout = str(config.get("checkpoint_format") or "gptq")
    if layout not in ("gptq", "gptq_v2"):
        raise ModelFormatError(
            f"quantization_config: checkpoint_format is {layout[:40]!r}, a layout for one kernel; "
            "take a checkpoint with gptq or gptq_v2"
        )
    changed = [pattern for pattern in _entries(config, "dynamic", dict) if not str(pattern).startswith("-:")]
    if changed:
        raise ModelFormatError(
            f"quantization_config: dynamic gives other settings to {str(changed[0])[:60]!r}, that is not read"
        )

    def choose(module: str, tensors: Tensors) -> str | None:
        if "qweight" not in tensors:
            return None
        if config.get("desc_act") and group != "all" and "g_idx" not in tensors:
            raise ModelFormatError(f"{module}: the tensor g_idx is missing, but desc_act is true")
        return f"{layout}_{_scale(module, tensors, 'scales').format}_{bits}_{group}"

    return choose


def awq(config: Mapping[str, Any]) -> Choose:
    _whole(config, "bits" if "bits" in config else "w_bit", (4,))
    group = _group(config.get("group_size", config.get("q_group_size", -1)))
    version = str(config.get("version", "gemm")).lower()
    if version != "gemm":
        raise ModelFormatError(f"quantization_config: version is {version[:40]!r}; only gemm is read")
    if not config.get("zero_point", True):
        raise ModelFormatError("quantization_config: zero_point is false, which AWQ's own code does not read")

    def choose(module: str, tensors: Tensors) -> str | None:
        if "qweight" not in tensors:
            return None
        if "qzeros" not in tensors:
            raise ModelFormatError(f"{module}: the tensor qzeros is missing")
        return f"awq_{_scale(module, tensors, 'scales').format}_{group}"

    return choose


def fp8(config: Mapping[str, Any]) -> Choose:
    sizes = config.get("weight_block_size")
    if sizes is not None and not (isinstance(sizes, list) and len(sizes) == 2):
        raise ModelFormatError(
            f"quantization_config: weight_block_size is {str(sizes)[:40]!r}, expected [N, K]"
        )

    def choose(module: str, tensors: Tensors) -> str | None:
        weight = tensors.get("weight")
        if weight is None or weight.format not in _FLOATS:
            return None
        inverse = "weight_scale_inv" in tensors
        scale = _scale(module, tensors, "weight_scale_inv" if inverse else "weight_scale")
        family = "fp8" if inverse else "ct_float"
        return f"{family}_{_FLOATS[weight.format]}_{scale.format}_{_blocks(scale, weight, sizes)}"

    return choose


def _blocks(scale: FileTensor, weight: FileTensor, sizes: list[int] | None) -> str:
    """R and G of a scale, by its shape: one, one for each row, or one for each block."""
    if prod(scale.shape) == 1:
        return "all_all"
    if len(scale.shape) < 2 or list(scale.shape) == [*weight.shape[:1], 1]:
        return "1_all"
    if sizes is None:
        raise ModelFormatError(
            f"tensor {scale.name}: {list(scale.shape)} scales for {list(weight.shape)} weights, "
            "but quantization_config has no block size"
        )
    rows, columns = sizes
    if not all(isinstance(size, int) and 0 < size < 1 << 16 for size in sizes):
        raise ModelFormatError(f"quantization_config: blocks of {str(sizes)[:40]}")
    return f"{rows}_{columns}"


def compressed(config: Mapping[str, Any]) -> Choose:
    sparsity = _entries(config, "sparsity_config", dict).get("format", "dense")
    if sparsity != "dense":
        raise ModelFormatError(f"quantization_config: sparse weights ({str(sparsity)[:40]}) are not read")
    if config.get("transform_config"):
        raise ModelFormatError("quantization_config: rotated weights (transform_config) are not read")
    groups = _entries(config, "config_groups", dict)
    if not groups:
        raise ModelFormatError("quantization_config: config_groups is missing")
    layout = str(config.get("format", ""))

    def choose(module: str, tensors: Tensors) -> str | None:
        stored = tensors.get("weight_packed") or tensors.get("weight")
        plain = stored is None or ("weight_packed" not in tensors and stored.format not in (*_FLOATS, "i8"))
        if stored is None or plain:
            return None
        group = _targeted(module, groups)
        weights = _entries(group, "weights", dict)
        if not weights:
            raise ModelFormatError(
                f"{module}: no group of quantization_config says how its weights are stored"
            )
        return _compressed(module, tensors, stored, weights, str(group.get("format") or layout))

    return choose


def _targeted(module: str, groups: Mapping[str, Any]) -> Mapping[str, Any]:
    """The group that names the module, else the one for all linear ones, else an empty one."""
    linear: Mapping[str, Any] = {}
    for name in groups:
        group = _entries(groups, name, dict)
        for target in map(str, _entries(group, "targets", list)):
            if target == "Linear":
                linear = linear or group
            elif target.startswith("re:"):
                if _matches(target[3:], module):
                    return group
            elif module == target or module.endswith("." + target):
                return group
    return linear


def _matches(pattern: str, module: str) -> bool:
    """Tell whether a name begins as a pattern says, which comes from the file and may be anything."""
    import regex  # a start without patterns does not wait for it

    try:
        return regex.match(pattern, module, timeout=MATCHING) is not None
    except regex.error as error:
        raise ModelFormatError(f"quantization_config: the target {pattern[:60]!r}: {error}") from None
    except TimeoutError:
        raise ModelFormatError(
            f"quantization_config: the target {pattern[:60]!r} takes more than {MATCHING} s to match"
        ) from None


def _compressed(
    module: str, tensors: Tensors, stored: FileTensor, weights: Mapping[str, Any], layout: str
) -> str:
    if layout == "nvfp4-pack-quantized":
        return "ct_nvfp4"
    if layout == "mxfp4-pack-quantized":
        return "ct_mxfp4"
    scale = _scale(module, tensors, "weight_scale")
    strategy = str(weights.get("strategy") or ("group" if weights.get("group_size") else "tensor"))
    structure = _entries(weights, "block_structure", list)
    blocks = {
        "tensor": "all_all",
        "channel": "1_all",
        "group": f"1_{_group(weights.get('group_size'))}",
        "block": "_".join(map(str, structure)),
    }.get(strategy)
    if not blocks:
        raise ModelFormatError(f"quantization_config: the strategy {strategy[:40]!r} is not read")
    if layout == "pack-quantized":
        bits = _whole(weights, "num_bits", (2, 4, 8))
        if not weights.get("symmetric", True) and "weight_zero_point" not in tensors:
            raise ModelFormatError(f"{module}: the tensor weight_zero_point is missing")
        return f"ct_packed_{scale.format}_{bits}_{blocks}"
    if layout in ("int-quantized", "float-quantized", "naive-quantized"):
        if stored.format in _FLOATS:
            return f"ct_float_{_FLOATS[stored.format]}_{scale.format}_{blocks}"
        return f"ct_int_{scale.format}_{blocks}"
    raise ModelFormatError(f"quantization_config: the format {layout[:40]!r} is not read")


SCHEMES = (
    Scheme(("gptq",), gptq, _UNREAD),
    Scheme(("awq",), awq, _UNREAD),
    Scheme(("compressed-tensors",), compressed, _UNREAD),
    Scheme(("fp8", "fbgemm_fp8"), fp8, _UNREAD),
)
