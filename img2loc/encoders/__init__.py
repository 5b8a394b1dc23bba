"""Photographs → unit vectors: one module a library. Each encoder brings its own preprocessing."""
