"""Measurements, one file each: `python -m benchmarks.<name>` runs it and stores benchmarks/results/<name>.json."""
