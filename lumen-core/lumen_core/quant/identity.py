"""What tells two formats of one name apart: a digest of what the declaration says.

In: a declaration. Out: its digest, the same whatever comments and white space the text has.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_item


def fingerprint(declaration: ast.Format) -> str:
    """32 hexadecimal digits."""
    text = print_item(replace(declaration, doc=""))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
