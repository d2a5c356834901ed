"""The rows of ``benchmarks/remove.py``, one a file; scenes are those of the tests."""

import os
import sys
from pathlib import Path

# Before numpy comes: CPU times are those of one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
