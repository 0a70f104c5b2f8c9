"""`python -m tests.conformance`: the comparisons and their table; options are pytest's own."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), "-q", *sys.argv[1:]]))
