"""Choosing a token from logits, as one kernel; nothing is sorted.

The order is that of llama.cpp's default chain: repetition penalty, top-k, top-p, min-p, temperature, draw.
  penalty      the logit of every recent token is divided by the penalty if positive, else multiplied
  weights      w = exp(logit - largest logit), before temperature
  top-k        keeps w >= the k-th largest w (so tokens that tie with it stay too); 0 keeps all
  top-p        of those, the largest t such that the weights >= t hold a share of top_p; 1 keeps all
  min-p        keeps w >= min_p (the largest w is 1); 0 keeps all
  temperature  divides the logits of what is left; 0 or less takes the first of the largest logits instead
  draw         the first token, in the order of ids, at which the running sum exceeds u * total
u depends on seed and position alone: mix(mix(seed) + (position + 1) * 0x9E3779B97F4A7C15) >> 40, times
2**-24, with the finalizer of splitmix64 as mix.

All filters are thresholds on w, found by bisection over the bits of a float (which order as the floats do).
Weights are looked at in blocks of 64; a search looks only at blocks whose largest weight can matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule.math import exp
from lumen_core.target import Target

BLOCK = 64
SETTINGS = np.dtype(
    [
        ("penalty", "<f4"),
        ("top_p", "<f4"),
        ("min_p", "<f4"),
        ("temperature", "<f4"),
        ("top_k", "<i8"),
        ("seed", "<u8"),
    ]
)
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ONE_BITS = 0x3F800000  # the bits of 1.0, the largest weight


def padded(count: int) -> int:
    """How many numbers the buffer of `count` logits must have room for."""
    return -(-count // BLOCK) * BLOCK


def scratch_bytes(count: int) -> int:
    """Scratch memory for `count` logits: weights, then per block its largest weight, number and sum."""
    return 4 * padded(count) + 3 * 4 * (padded(count) // BLOCK + BLOCK)


def build_sample(target: Target, name: str = "sample") -> Kernel:
    """Build `name(logits, count, recent, recents, settings, position, scratch) -> i64`, the chosen token.

    logits    f32 [count], changed by the penalty; the padding up to `padded(count)` is overwritten
    recent    i32 [recents], the ids to penalize, each once
    settings  one element of SETTINGS
    Returns -1 if no logit is a number above minus infinity.
    """
    return _Sampler(target, name).build()


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


class _Sampler:
    def __init__(self, target: Target, name: str):
        self.vector = Type("f32", target.lanes)
        self.lanes = target.lanes
        parameters = [("logits", PTR), ("count", I64), ("recent", PTR), ("recents", I64)]
        parameters += [("settings", PTR), ("position", I64), ("scratch", PTR)]
        self.kernel = Kernel(name, parameters, I64, doc="the next token")
        self.b = Builder(self.kernel)
        self.logits, self.count, self.recent, self.recents = self.kernel.parameters[:4]
        self.settings, self.position, self.weights = self.kernel.parameters[4:]

    def setting(self, name: str) -> Value:
        type = I64 if SETTINGS[name].itemsize == 8 else F32
        assert SETTINGS.fields is not None
        return self.b.load(type, self.settings, SETTINGS.fields[name][1], align=4)

    def build(self) -> Kernel:
        b = self.b
        self.blocks = b.div(b.add(self.count, BLOCK - 1), BLOCK)
        self.largest_of = b.offset(self.weights, b.mul(self.blocks, 4 * BLOCK))
        side = b.add(b.mul(self.blocks, 4), 4 * BLOCK)  # bytes of an array with an entry per block
        self.active = b.offset(self.largest_of, side)
        self.running = b.offset(self.active, side)
        self._penalize()
        self._pad()
        self.largest = self._find_largest()
        with b.when(b.compare("eq", self.largest, -math.inf)):
            b.ret(b.i64(-1))
        temperature = self.setting("temperature")
        certain = b.bitor(b.compare("le", temperature, 0.0), b.compare("eq", self.largest, math.inf))
        with b.when(certain):
            b.ret(self._first_largest())
        self._weigh()
        self.threshold = b.stack(4)
        b.store(b.i32(0), self.threshold, align=4)
        self.listed = b.stack(8)  # how many blocks are listed as active
        b.store(b.i64(0), self.listed, align=8)
        self._keep_top_k()
        self._keep_top_p()
        self._keep_min_p()
        b.ret(self._draw(b.div(b.f32(1.0), temperature)))
        return self.kernel

    # ------------------------------------------------------------------ logits

    def _penalize(self) -> None:
        b = self.b
        penalty = self.setting("penalty")
        with b.loop(0, self.recents) as loop:
            token = b.convert(b.load(I32, self.recent, b.mul(loop.index, 4), align=4), "i64")
            place = b.offset(self.logits, b.mul(token, 4))
            value = b.load(F32, place, align=4)
            positive = b.compare("gt", value, 0.0)
            b.store(b.select(positive, b.div(value, penalty), b.mul(value, penalty)), place, align=4)

    def _pad(self) -> None:
        b = self.b
        with b.loop(self.count, b.mul(self.blocks, BLOCK)) as loop:
            b.store(b.f32(-math.inf), self.logits, b.mul(loop.index, 4), align=4)
        with b.loop(self.blocks, b.add(self.blocks, BLOCK)) as loop:
            b.store(b.f32(-1.0), self.largest_of, b.mul(loop.index, 4), align=4)

    def _block(self, pointer: Value, block: Value) -> list[Value]:
        """The vectors of one block."""
        b = self.b
        here = b.offset(pointer, b.mul(block, 4 * BLOCK))
        return [b.load(self.vector, here, 4 * at, align=4) for at in range(0, BLOCK, self.lanes)]

    def _find_largest(self) -> Value:
        b = self.b
        start = [b.constant(self.vector, -math.inf)] * (BLOCK // self.lanes)
        with b.loop(0, self.blocks, 1, start) as loop:
            values = self._block(self.logits, loop.index)
            loop.next(*(b.maximum(value, most) for value, most in zip(values, loop.values, strict=True)))
        return b.reduce("max", self._tree(b.maximum, list(loop.results)))

    @staticmethod
    def _tree(combine: Callable[[Value, Value], Value], values: list[Value]) -> Value:
        while len(values) > 1:
            values = [combine(left, right) for left, right in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def _first_largest(self) -> Value:
        b = self.b
        wanted = b.splat(self.largest, self.lanes)
        bits = Type(f"i{self.lanes}")
        with b.repeat([b.i64(0)]) as search:
            (block,) = search.values
            hits = [b.compare("eq", value, wanted) for value in self._block(self.logits, block)]
            found = b.compare("ne", b.bitcast(self._tree(b.bitor, hits), bits), 0)
            search.condition = b.compare("eq", found, 0)
            search.next(b.select(found, block, b.add(block, 1)))
        start = b.mul(search.results[0], BLOCK)
        with b.repeat([start]) as scan:
            value = b.load(F32, self.logits, b.mul(scan.values[0], 4), align=4)
            scan.condition = b.compare("ne", value, self.largest)
            scan.next(b.select(scan.condition, b.add(scan.values[0], 1), scan.values[0]))
        return scan.results[0]

    def _weigh(self) -> None:
        """Write w = exp(logit - largest) and the largest w of each block."""
        b = self.b
        shift = b.splat(self.largest, self.lanes)
        with b.loop(0, self.blocks) as loop:
            here = b.offset(self.weights, b.mul(loop.index, 4 * BLOCK))
            weights = [exp(b, b.sub(value, shift)) for value in self._block(self.logits, loop.index)]
            for number, weight in enumerate(weights):
                b.store(weight, here, 4 * number * self.lanes, align=4)
            # a NaN counts as 0: it is never kept
            zero = b.constant(self.vector, 0.0)
            most = self._tree(b.maximum, [b.maximum(weight, zero) for weight in weights])
            b.store(b.reduce("max", most), self.largest_of, b.mul(loop.index, 4), align=4)

    # --------------------------------------------------------------- thresholds

    def _bisect(self, low: Value, holds: Callable[[Value], Value]) -> Value:
        """The largest bits t >= low for which `holds(t)`; it holds for `low` and for none above 1.0."""
        b = self.b
        with b.repeat([low, b.i32(_ONE_BITS + 1)]) as loop:
            below, above = loop.values
            middle = b.shr(b.add(below, above), 1)
            good = holds(b.bitcast(middle, F32))
            below, above = b.select(good, middle, below), b.select(good, above, middle)
            loop.condition = b.compare("gt", b.sub(above, below), 1)
            loop.next(below, above)
        return loop.results[0]

    def _threshold(self) -> Value:
        return self.b.load(I32, self.threshold, align=4)

    def _list_active(self, lowest: Value) -> None:
        """List the blocks that hold a weight >= the float with bits `lowest`."""
        b = self.b
        least = b.bitcast(lowest, F32)
        with b.loop(0, self.blocks, 1, [b.i64(0)]) as loop:
            (listed,) = loop.values
            b.store(b.convert(loop.index, "i32"), self.active, b.mul(listed, 4), align=4)
            most = b.load(F32, self.largest_of, b.mul(loop.index, 4), align=4)
            loop.next(b.add(listed, b.convert(b.compare("ge", most, least), "i64", signed=False)))
        b.store(loop.results[0], self.listed, align=8)

    def _over_active(self, step: Callable[[list[Value], Value], Value], start: Value) -> Value:
        """Fold the listed blocks into a vector: step(weights of the block, sums so far)."""
        b = self.b
        with b.loop(0, b.load(I64, self.listed, align=8), 1, [start]) as loop:
            block = b.convert(b.load(I32, self.active, b.mul(loop.index, 4), align=4), "i64")
            loop.next(step(self._block(self.weights, block), loop.values[0]))
        return b.reduce("add", loop.results[0])

    def _many(self, least: Value) -> Value:
        """How many weights of the listed blocks are >= `least`."""
        b, counts = self.b, Type("i32", self.lanes)
        bound = b.splat(least, self.lanes)

        def step(weights: list[Value], sums: Value) -> Value:
            hits = [b.convert(b.compare("ge", weight, bound), "i32") for weight in weights]
            return b.sub(sums, self._tree(b.add, hits))  # a hit is -1

        return self._over_active(step, b.constant(counts, 0))

    def _mass(self, least: Value) -> Value:
        """The sum of the weights >= `least` of the listed blocks."""
        b, zero = self.b, self.b.constant(self.vector, 0.0)
        bound = b.splat(least, self.lanes)

        def step(weights: list[Value], sums: Value) -> Value:
            kept = [b.select(b.compare("ge", weight, bound), weight, zero) for weight in weights]
            return b.add(sums, self._tree(b.add, kept))

        return self._over_active(step, zero)

    def _over_largest(self, least: Value, weighted: bool) -> Value:
        """Count (or sum) the blocks' largest weights that are >= `least`: a lower bound of what all give."""
        b = self.b
        type = self.vector if weighted else Type("i32", self.lanes)
        bound, zero = b.splat(least, self.lanes), b.constant(type, 0)
        with b.loop(0, self.blocks, self.lanes, [zero]) as loop:
            most = b.load(self.vector, self.largest_of, b.mul(loop.index, 4), align=4)
            hit = b.compare("ge", most, bound)
            value = most if weighted else b.constant(type, 1)
            loop.next(b.add(loop.values[0], b.select(hit, value, zero)))
        return b.reduce("add", loop.results[0])

    def _keep_top_k(self) -> None:
        b = self.b
        top_k = self.setting("top_k")
        limited = b.bitand(b.compare("gt", top_k, 0), b.compare("lt", top_k, self.count))
        with b.when(limited):
            wanted = b.convert(top_k, "i32")
            low = self._bisect(b.i32(0), lambda t: b.compare("ge", self._over_largest(t, False), wanted))
            self._list_active(low)
            found = self._bisect(low, lambda t: b.compare("ge", self._many(t), wanted))
            b.store(found, self.threshold, align=4)

    def _keep_top_p(self) -> None:
        b = self.b
        top_p = self.setting("top_p")
        with b.when(b.compare("lt", top_p, 1.0)):
            kept = self._threshold()
            self._list_active(kept)
            wanted = b.mul(self._mass(b.bitcast(kept, F32)), top_p)
            low = self._bisect(kept, lambda t: b.compare("ge", self._over_largest(t, True), wanted))
            self._list_active(low)
            found = self._bisect(low, lambda t: b.compare("ge", self._mass(t), wanted))
            b.store(found, self.threshold, align=4)

    def _keep_min_p(self) -> None:
        b = self.b
        least = b.maximum(b.minimum(self.setting("min_p"), 1.0), 0.0)
        bits = b.maximum(self._threshold(), b.bitcast(least, I32))
        b.store(bits, self.threshold, align=4)
        self._list_active(bits)

    # -------------------------------------------------------------------- draw

    def _mix(self, bits: Value) -> Value:
        b = self.b
        bits = b.mul(b.bitxor(bits, b.shr(bits, 30)), _signed(_MIX_1))
        bits = b.mul(b.bitxor(bits, b.shr(bits, 27)), _signed(_MIX_2))
        return b.bitxor(bits, b.shr(bits, 31))

    def _uniform(self) -> Value:
        b = self.b
        counter = b.mul(b.add(self.position, 1), _signed(_GAMMA))
        bits = self._mix(b.add(self._mix(self.setting("seed")), counter))
        return b.mul(b.convert(b.convert(b.shr(bits, 40), "i32"), "f32"), 2.0**-24)

    def _draw(self, inverse: Value) -> Value:
        """Draw among the kept tokens; `inverse` is 1 / temperature."""
        b = self.b
        bound = b.splat(b.bitcast(self._threshold(), F32), self.lanes)
        shift, factor = b.splat(self.largest, self.lanes), b.splat(inverse, self.lanes)
        zero = b.constant(self.vector, 0.0)
        listed = b.load(I64, self.listed, align=8)
        with b.loop(0, listed, 1, [b.f32(0.0)]) as loop:
            block = b.convert(b.load(I32, self.active, b.mul(loop.index, 4), align=4), "i64")
            here = b.offset(self.weights, b.mul(block, 4 * BLOCK))
            shares = []
            logits, weights = self._block(self.logits, block), self._block(self.weights, block)
            for number, (logit, weight) in enumerate(zip(logits, weights, strict=True)):
                share = exp(b, b.mul(b.sub(logit, shift), factor))
                share = b.select(b.compare("ge", weight, bound), share, zero)
                b.store(share, here, 4 * number * self.lanes, align=4)
                shares.append(share)
            b.store(loop.values[0], self.running, b.mul(loop.index, 4), align=4)
            loop.next(b.add(loop.values[0], b.reduce("add", self._tree(b.add, shares))))
        goal = b.mul(self._uniform(), loop.results[0])
        # rounding must not lift the goal to the total: the last block may hold nothing
        goal = b.minimum(goal, b.mul(loop.results[0], 1 - 2.0**-22))
        # the last entry whose running sum before it does not exceed the goal: of the blocks, then inside
        with b.loop(0, listed, 1, [b.i64(0)]) as search:
            before = b.load(F32, self.running, b.mul(search.index, 4), align=4)
            search.next(b.select(b.compare("le", before, goal), search.index, search.values[0]))
        place = b.mul(search.results[0], 4)
        first = b.mul(b.convert(b.load(I32, self.active, place, align=4), "i64"), BLOCK)
        running = b.load(F32, self.running, place, align=4)
        with b.loop(first, b.add(first, BLOCK), 1, [running, b.i64(-1)]) as scan:
            before, chosen = scan.values
            share = b.load(F32, self.weights, b.mul(scan.index, 4), align=4)
            fits = b.bitand(b.compare("gt", share, 0.0), b.compare("le", before, goal))
            scan.next(b.add(before, share), b.select(fits, scan.index, chosen))
        return scan.results[1]
