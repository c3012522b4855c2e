"""From the typed tree to the tensor IR."""

from lumen_core.lower.function import lower_function
from lumen_core.lower.model import lower_model, lower_step

__all__ = ["lower_function", "lower_model", "lower_step"]
