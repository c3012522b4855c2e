"""Split models: `name-00001-of-00003.gguf` and its brothers.

In: the path that a user named and that file's metadata.  Out: the paths of all parts, in order.
Parts are looked for beside the first one only; nothing in the file can name another folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lumen_core.errors import ModelFormatError

_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.[^.]*)")


def part_paths(path: Path, metadata: Mapping[str, object]) -> list[Path]:
    count, number = metadata.get("split.count", 1), metadata.get("split.no", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ModelFormatError(f"{path}: split.count is {count!r}, not a number of parts")
    if count <= 1:
        return [path]
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ModelFormatError(
            f"{path}: split.count is {count}, but the name does not end in -00001-of-{count:05}.gguf; "
            "give the parts their original names"
        )
    if int(match["count"]) != count:
        raise ModelFormatError(f"{path}: split.count is {count}, but the name says {int(match['count'])}")
    names = [f"{match['stem']}-{part:05}-of-{count:05}{match['suffix']}" for part in range(1, count + 1)]
    if number != 0 or int(match["number"]) != 1:
        raise ModelFormatError(f"{path} is not the first part of a split model; name {names[0]}")
    paths = []
    for name in names:
        part = path.with_name(name)
        if not part.exists():
            raise ModelFormatError(f"{part}: this part of the split model is missing ({count} are needed)")
        paths.append(part)
    return paths
