"""What tells two formats of one name apart: a digest of what the declaration says.

In: a declaration. Out: its digest, the same whatever comments and white space the text has.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_item


def fingerprint(declaration: ast.Format) -> str:
    """32 hexadecimal digits of the declaration and of the tables that it reads."""
    text = print_item(replace(declaration, doc="", tables=()))
    digest = hashlib.sha256(text.encode())
    for table in declaration.tables:
        if table.supply is not None and re.search(rf"\b{re.escape(table.name)}\b", text):
            values = np.asarray(table.supply(table.name), np.int64)
            digest.update(f"\n{table.name} {values.size}\n".encode() + values.astype("<i8").tobytes())
    return digest.hexdigest()[:32]
