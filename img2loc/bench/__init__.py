"""Benchmark runs: predict once, then score, compare and report as often as is wanted."""
