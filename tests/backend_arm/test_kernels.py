"""Kernels of every format under an emulator: the same checks as on the machine that runs the tests."""

from __future__ import annotations

import numpy as np
import pytest
from core.schedule.matrices import multiply, packed, random_activations
from core.schedule.test_matmul import close, lengths, matrix
from kit.emulator import MISSING, TARGETS
from kit.forms import declarations, form

from lumen_core.schedule.matmul import tile_columns
from lumen_core.target import Target
