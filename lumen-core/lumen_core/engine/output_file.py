"""Where a command may write: a new file in a folder that is there, or a plain file that it does not read.

In: a path, and the model file that is being read.  Out: nothing, or an error before any work is done.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lumen_core.errors import LumenError
from lumen_core.weights.model_file import ModelFile


def require_safe_output(path: Path, file: ModelFile) -> None:
    """Refuse an output that is the source (under whatever name), a folder, a link or a device."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise LumenError(f"{path}: the folder {path.parent} does not exist") from None
        return
    for source in file.paths:
        if path.exists() and os.path.samefile(path, source):
            raise LumenError(f"{path} is the file that is read; name another one for the result")
    if stat.S_ISDIR(status.st_mode):
        raise LumenError(f"{path} is a directory; name the file to write in it")
    if not stat.S_ISREG(status.st_mode):
        raise LumenError(f"{path} is not a regular file (a link or a device); name the file itself")
