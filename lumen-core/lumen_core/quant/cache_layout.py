"""Where keys and values lie in a page of the cache, for any format whose block divides a head.

Keys lie as the dot product with a query wants them, `rows` tokens side by side: of a float format
[kv head][tile of `rows` tokens][dimension / group][token in tile][group], of an integer format as a packed
weight matrix whose rows are tokens (`WeightLayout`). Values lie by token: of a float format
[kv head][token / group][dimension][group], of an integer format as the blocks of a file's row.
A group is what one lane of a product takes at a time: one number, or two where the machine multiplies pairs.
A page holds `page` tokens of a layer, keys before values. All pages of a layer lie side by side, so that a
sequence that took its pages in order is read front to back.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.alphabet import alphabet
from lumen_core.quant.choices import choice
from lumen_core.quant.encodable import without_optional_offset
from lumen_core.quant.floats import is_small
from lumen_core.quant.layout import ALIGNMENT, WeightLayout
from lumen_core.quant.normal_form import NormalForm

PAGE = 128  # tokens of a page of the cache


def check_cache_format(form: NormalForm, size: int, what: str) -> None:
    """Raise UnsupportedFormatError unless heads of `size` numbers can be kept in this format."""

    def refuse(reason: str) -> UnsupportedFormatError:
        return UnsupportedFormatError(
            f"{what} cannot be kept as {form.name}: {reason}; f16 suits every model, q8_0 most"
        )

    if size % form.block:
        raise refuse(f"its blocks of {form.block} do not divide heads of {size}")
    row = form.row.floats if form.row is not None else ()
    if form.ordered or form.reads_header or len(row) > 1 or any(is_small(field.element) for field in row):
        raise refuse("a row stores more than one factor beside its blocks")
    if form.kind == "float":
        if is_small(form.element) or form.scale is not None or row or form.block != 1:
            raise refuse(f"numbers cannot be written as {form.element} while a text is read")
        return
    form = without_optional_offset(form)
    try:
        alphabet(form)
        scales = [scale for scale in (form.scale, form.offset) if scale is not None]
        integers = [choice(scale.integer, form.name) for scale in scales if scale.integer is not None]
    except UnsupportedFormatError as error:
        raise refuse(str(error)) from None
    groups = form.block // form.sub
    if any(numbers.field.count != groups or numbers.field.width > 8 for numbers in integers):
        raise refuse("its scales have not one integer of a byte for each sub-block")
    least = 0 if row else 1
    floats = [field for scale in scales for field in scale.floats]
    if any(not least <= len(scale.floats) <= 1 for scale in scales) or len(set(floats)) < len(floats):
        raise refuse("it has not one stored number for each scale")
    for field in floats:
        apart = not field.whole and (is_small(field.element) or field.count > 1)
        if apart or field.inverse or field.count not in (1, groups):
            raise refuse(f"its {field.name} does not lie in whole bytes, or not for every sub-block")
    for field in form.offset.floats if form.offset is not None else ():
        if is_small(field.element):
            raise refuse(f"offsets cannot be written as {field.element}")


@dataclass(frozen=True)
class CacheLayout:
    """One page of the cache of one layer: formats of keys and values, and numbers of a lane's group."""

    heads: int
    size: int
    rows: int
    keys: NormalForm
    values: NormalForm
    key_group: int = 1
    value_group: int = 1
    page: int = PAGE

    @property
    def key_tile_bytes(self) -> int:
        """Bytes of the keys of `rows` tokens of a head."""
        if self.keys.kind == "float":
            return self.rows * self.keys.row_bytes(self.size)
        return WeightLayout(self.keys, self.rows).group_bytes(self.size)

    @property
    def key_head_bytes(self) -> int:
        return self.page // self.rows * self.key_tile_bytes

    @property
    def value_token_bytes(self) -> int:
        """Bytes of the values of a token of a head."""
        return self.values.row_bytes(self.size)

    @property
    def value_head_bytes(self) -> int:
        return self.page * self.value_token_bytes

    @property
    def value_offset(self) -> int:
        """Byte offset of the values within a layer's part of the page."""
        return self.heads * self.key_head_bytes

    @property
    def page_bytes(self) -> int:
        bytes = self.value_offset + self.heads * self.value_head_bytes
        return -(-bytes // ALIGNMENT) * ALIGNMENT

    def key(self, head: int, slot: int, dimension: int) -> int:
        """Byte offset of a number of a key in a float format."""
        tile, token = divmod(slot, self.rows)
        step, inside = divmod(dimension, self.key_group)
        number = (step * self.rows + token) * self.key_group + inside
        return head * self.key_head_bytes + tile * self.key_tile_bytes + self.keys.block_bytes * number

    def value(self, head: int, slot: int, dimension: int) -> int:
        """Byte offset of a number of a value in a float format."""
        step, inside = divmod(slot, self.value_group)
        number = (step * self.size + dimension) * self.value_group + inside
        return self.value_offset + head * self.value_head_bytes + self.values.block_bytes * number
