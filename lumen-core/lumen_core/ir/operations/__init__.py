"""Every kind of operation, by name: the union of the tables of this folder's modules."""

from __future__ import annotations

from lumen_core.ir.core import Definition
from lumen_core.ir.operations import (
    elementwise,
    experts,
    integer,
    model,
    quantized,
    reduction,
    region,
    shape,
)

DEFINITIONS: dict[str, Definition] = {
    definition.name: definition
    for table in (elementwise, integer, reduction, shape, model, quantized, experts, region)
    for definition in table.OPERATIONS
}
