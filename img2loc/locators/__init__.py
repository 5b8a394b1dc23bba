"""Photographs → guesses: one module a way to decide."""
