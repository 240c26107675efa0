"""Test code that tests and benchmarks share."""
