"""What there is to say about a loaded model, for tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from lumen_core.engine.memory import Memory
from lumen_core.engine.session import Session
from lumen_core.weights.model_file import ModelFile


def facts(file: ModelFile, session: Session, memory: Memory, threads: int) -> dict[str, Any]:
    """Return them by name."""
    return {
        "name": str(file.metadata.get("general.name") or Path(file.path).stem),
        "path": str(file.path),
        "architecture": file.architecture,
        "parameters": session.bound.parameters,
        "file_bytes": file.size,
        "formats": dict(Counter(tensor.format for tensor in file.tensors.values())),
        "context": memory.context,
        "trained_context": session.bound.context,
        "vocabulary": session.lowered.function("head").results[0].type.shape[-1].value or 0,
        "threads": threads,
        "target": session.target.name,
        "cache_bytes": memory.cache_bytes,
        "cache_bytes_per_token": memory.cache_bytes_per_token,
        "kernels": len(session.kernels),
        "objects_compiled": session.cache.misses,
        "objects_cached": session.cache.hits,
    }
