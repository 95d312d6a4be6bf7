"""The way to the modules of ``bench`` for the test modules."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
