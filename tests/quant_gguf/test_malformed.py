"""T1: whatever the bytes are, opening gives a model or a ModelFormatError, at once, in little memory."""

from __future__ import annotations

import random
import re
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.gguf_files import ARRAY, STRING, RawFile, Tensor, string

from lumen_core.errors import ModelFormatError
from lumen_quant_gguf.container import open_file

M = 1 << 64


def read_all(path: Path) -> None:
    """Open and look at everything."""
    with open_file(path) as file:
        for item in file.metadata.values():
            item.tolist() if hasattr(item, "tolist") else item
        for tensor in file.tensors.values():
            assert int(tensor.data[:1].sum()) >= 0
            assert int(tensor.data[-1:].sum()) >= 0


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<IIQ", ARRAY, kind, count) + body


def tokens(count: int, body: bytes) -> RawFile:
    return RawFile().set("tokenizer.ggml.tokens", array(STRING, count, body))


def nested(depth: int) -> bytes:
    return struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQI", 4, 1, 7)


def with_tensor(**changes: object) -> RawFile:
    file = RawFile()
    for name, change in changes.items():
        setattr(file.tensors[1], name, change)
    return file


CASES: dict[str, tuple[Callable[[], RawFile], str]] = {
    "magic": (lambda: RawFile(magic=b"GGML"), "not a GGUF file"),
    "version 0": (lambda: RawFile(version=0), "version at byte 4 is 0"),
    "version 1": (lambda: RawFile(version=1), "version at byte 4 is 1"),
    "version 4": (lambda: RawFile(version=4), "newer Lumen"),
    "big endian": (lambda: RawFile(version=3 << 24), "big-endian"),
    "tensor count 2^32-1": (lambda: RawFile(tensor_count=(1 << 32) - 1), "number of tensors"),
    "tensor count 2^63": (lambda: RawFile(tensor_count=1 << 63), "number of tensors"),
    "one tensor too many": (lambda: RawFile(tensor_count=4), "tensor"),
    "key count 2^32-1": (lambda: RawFile(key_count=(1 << 32) - 1), "number of keys"),
    "key count 2^63": (lambda: RawFile(key_count=1 << 63), "number of keys"),
    "key count 2^64-1": (lambda: RawFile(key_count=M - 1), "number of keys"),
    "empty key": (lambda: RawFile().set("", 1), "key 13.* is empty"),
    "key not UTF-8": (lambda: RawFile(keys=[(b"general.\xff\xfe", 1)]), "not UTF-8"),
    "key of 10 MB": (lambda: RawFile(keys=[("k" * 10_000_000, 1)]), "10000000 bytes"),
    "duplicate key": (lambda: RawFile(keys=[*RawFile().keys, ("general.name", "x")]), "general.name.*twice"),
    "value type 13": (lambda: RawFile().set("x", struct.pack("<II", 13, 0)), "unknown type 13"),
    "bool 2": (lambda: RawFile().set("x", struct.pack("<IB", 7, 2)), "boolean 2"),
    "string of 2^63": (lambda: RawFile().set("x", struct.pack("<IQ", STRING, 1 << 63)), "'x'"),
    "string of 2^64-1": (lambda: RawFile().set("x", struct.pack("<IQ", STRING, M - 1)), "'x'"),
    "array of 2^61 numbers": (lambda: RawFile().set("x", array(10, 1 << 61)), "'x'.*claims"),
    "array of 2^63 bytes": (lambda: RawFile().set("x", array(0, 1 << 63)), "'x'.*claims"),
    "array of 2^40 strings": (lambda: RawFile().set("x", array(STRING, 1 << 40)), "claims 1099511627776"),
    "array of type 99": (lambda: RawFile().set("x", array(99, 1, b"1234")), "element type 99"),
    "array nesting": (lambda: RawFile().set("x", nested(100_000)), "holds arrays"),
    "array of bad bools": (lambda: RawFile().set("x", array(7, 2, b"\1\7")), "booleans"),
    "strings overrun": (lambda: RawFile().set("x", array(STRING, 3, string("a") * 2)), "tensor 0|x\\["),
    "token of 2^31+1": (lambda: tokens(1, struct.pack("<Q", 2**31 + 1)), "tokens"),
    "token of 2^64-8": (lambda: tokens(2, struct.pack("<Q", M - 8)), "tokens"),
    "token not UTF-8": (lambda: tokens(4, string(b"\xff") * 4), "tokens.*UTF-8"),
    "no architecture": (lambda: RawFile().set("general.architecture", 7), "general.architecture"),
    **{f"alignment {item!r}": (lambda item=item: RawFile().set("general.alignment", item), "alignment")
       for item in (0, 3, 1 << 31, "32", 1.0)},
    "tensor name of 65": (lambda: with_tensor(name="n" * 65), "65 bytes"),
    "tensor without name": (lambda: with_tensor(name=""), "no name"),
    "tensor name twice": (lambda: with_tensor(name="token_embd.weight"), "twice"),
    "rank 0": (lambda: with_tensor(sizes=()), "0 dimensions"),
    "rank 5": (lambda: with_tensor(sizes=(32,) * 5), "5 dimensions"),
    "rank 2^32-1": (lambda: with_tensor(rank=(1 << 32) - 1), "4294967295 dimensions"),
    "size 0": (lambda: with_tensor(sizes=(32, 0)), "size 0 in dimension 1"),
    "row 0": (lambda: with_tensor(sizes=(0, 32)), "size 0 in dimension 0"),
    "size 2^63": (lambda: with_tensor(sizes=(32, 1 << 63)), "size 9223372036854775808"),
    "sizes that overflow": (lambda: with_tensor(sizes=(32, 1 << 62, 4, 4)), "takes"),
    "size 2^42+1": (lambda: with_tensor(sizes=(32, (1 << 42) + 1)), "takes"),
    "row of 33 in blocks": (lambda: with_tensor(sizes=(33, 4)), "no multiple of the 32"),
    **{f"type {kind}": (lambda kind=kind: with_tensor(kind=kind), f"type {kind}")
       for kind in (4, 5, 31, 36, 43, (1 << 32) - 1)},
    "removed type": (lambda: with_tensor(kind=4), "Q4_2.*removed"),
    "offset misaligned": (lambda: with_tensor(offset=513), "513"),
    "offset past the end": (lambda: with_tensor(offset=1 << 20), "ends at byte"),
    "offset 2^64-32": (lambda: with_tensor(offset=M - 32), "ends at byte"),
    "overlap": (lambda: with_tensor(offset=480), "overlaps"),
    "same bytes": (lambda: with_tensor(offset=0), "overlaps"),
    "data cut": (lambda: RawFile(data=bytes(1599)), "ends at byte"),
    "types too few": (lambda: RawFile().set("tokenizer.ggml.token_type", [1, 1]), "2 elements for 4"),
    "bos outside": (lambda: RawFile().set("tokenizer.ggml.bos_token_id", 4), "bos_token_id is 4"),
    "eos outside": (lambda: RawFile().set("tokenizer.ggml.eos_token_id", 1 << 31), "eos_token_id"),
    "no heads": (lambda: RawFile().set("llama.attention.head_count", 0), "head_count is 0"),
    "layers 2^32-1": (lambda: RawFile().set("llama.block_count", (1 << 32) - 1), "block_count"),
    "layers as text": (lambda: RawFile().set("llama.block_count", "two"), "block_count"),
    "odd rotation": (lambda: RawFile().set("llama.rope.dimension_count", 7), "odd"),
    "epsilon NaN": (lambda: RawFile().set("llama.attention.layer_norm_rms_epsilon", float("nan")), "epsilon"),
    "epsilon infinite": (lambda: RawFile().set("llama.attention.layer_norm_rms_epsilon", float("inf")), "e"),
    "theta 0": (lambda: RawFile().set("llama.rope.freq_base", 0.0), "freq_base"),
    "vocabulary and embedding": (lambda: RawFile().set("tokenizer.ggml.tokens", ["a"] * 5)
                                 .set("tokenizer.ggml.token_type", [1] * 5), "4 rows"),
    "width and embedding": (lambda: RawFile().set("llama.embedding_length", 64), "embedding_length"),
    "split count lies": (lambda: RawFile().set("split.count", 3), "-00001-of-00003"),
    "split count text": (lambda: RawFile().set("split.count", "3"), "split.count"),
}  # fmt: skip


def test_the_base_is_valid(tmp_path: Path) -> None:
    read_all(RawFile().write(tmp_path / "m.gguf"))


@pytest.mark.parametrize("name", CASES)
def test_handcrafted(name: str, tmp_path: Path) -> None:
    make, message = CASES[name]
    path = make().write(tmp_path / "m.gguf")
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ModelFormatError) as caught:
        read_all(path)
    assert time.process_time() - begin < 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < path.stat().st_size + (64 << 20)
    text = str(caught.value)
    assert re.search(message, text), text
    assert str(tmp_path) in text
    assert len(text) < 2000


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no such file"):
        open_file(tmp_path / "missing.gguf")
    with pytest.raises(ModelFormatError, match="directory"):
        open_file(tmp_path)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ModelFormatError, match="empty"):
        open_file(tmp_path / "empty.gguf")
    (tmp_path / "text.gguf").write_text("<!DOCTYPE html>")
    with pytest.raises(ModelFormatError, match="not a GGUF file"):
        open_file(tmp_path / "text.gguf")
    with pytest.raises(ModelFormatError, match=r"cannot be read|no such file"):
        open_file(Path("bad\0name.gguf"))


Survives = Callable[[bytes], bool]


@pytest.fixture
def survives(tmp_path: Path) -> Iterator[Survives]:
    """Whether these bytes are a model file; anything but a model or a ModelFormatError is a failure."""
    path = tmp_path / "m.gguf"
    with open(path, "wb", buffering=0) as file:  # kept open: making a file anew takes longer than the test

        def check(data: bytes) -> bool:
            file.seek(0)
            file.write(data)
            file.truncate()
            try:
                read_all(path)
            except ModelFormatError:
                return False
            return True

        yield check


def test_truncated_at_every_byte(survives: Survives) -> None:
    file = RawFile()
    data = file.build()
    needed = len(data) - len(file.data) + 1728
    for length in range(len(data)):
        assert survives(data[:length]) == (length >= needed), length


def test_every_byte_of_the_header_changed(survives: Survives) -> None:
    file = RawFile()
    data = file.build()
    for position in range(len(file.header())):
        for change in (0x00, 0xFF, data[position] ^ 0x80):
            survives(data[:position] + bytes((change,)) + data[position + 1 :])


def numbers(generator: random.Random) -> int:
    return generator.choice([0, 1, 2, 31, 33, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62,
                             2**63 - 1, 2**63, M - 1, M - 8, M - 32, generator.getrandbits(64)])  # fmt: skip


def mutate(file: RawFile, generator: random.Random) -> bytes:
    """Change the structure of a file, as one who knows the format would."""
    tensor = generator.choice(file.tensors)
    index = generator.randrange(len(file.keys))
    key, item = file.keys[index]
    number = numbers(generator)
    match generator.randrange(16):
        case 0:
            file.tensor_count = number
        case 1:
            file.key_count = number
        case 2:
            file.version = number & 0xFFFFFFFF
        case 3:
            tensor.offset = number
        case 4:
            tensor.kind = number & 0xFFFFFFFF
        case 5:
            tensor.rank = number & 0xFFFFFFFF
        case 6:
            tensor.sizes = tuple(numbers(generator) for _ in range(generator.randrange(6)))
        case 7:
            file.keys[index] = (key, struct.pack("<IQ", STRING, number) + b"abc")
        case 8:
            file.keys[index] = (key, array(generator.randrange(14), number, generator.randbytes(20)))
        case 9:
            file.keys[index] = (key, struct.pack("<I", generator.randrange(20)) + generator.randbytes(12))
        case 10:
            file.keys.insert(generator.randrange(len(file.keys)), (key, item))
        case 11:
            file.keys[index] = (generator.randbytes(generator.randrange(40)), item)
        case 12:
            file.tensors.append(Tensor(tensor.name, tensor.sizes, tensor.kind, number))
        case 13:
            file.set("general.alignment", generator.choice([number & 0xFFFFFFFF, 64, 1, "x"]))
        case 14:
            del file.keys[index]
        case 15:
            file.data = file.data[: generator.randrange(len(file.data))]
    data = bytearray(file.build())
    if generator.random() < 0.3:
        for _ in range(generator.randrange(1, 8)):
            data[generator.randrange(len(data))] = generator.randrange(256)
    if generator.random() < 0.1:
        at = generator.randrange(len(data))
        data[at:at] = generator.randbytes(generator.randrange(1, 64))
    return bytes(data)


def test_structural_mutations(survives: Survives) -> None:
    before, good = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for seed in range(4000):
        good += survives(mutate(RawFile(), random.Random(seed)))
    assert 50 < good < 2500  # some mutations are harmless, most are not
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_errors_close_the_file(tmp_path: Path) -> None:
    path = RawFile(version=9).write(tmp_path / "m.gguf")
    handles = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(50):
        with pytest.raises(ModelFormatError):
            open_file(path)
    if handles:
        assert len(list(Path("/proc/self/fd").iterdir())) <= handles + 1
