"""Benchmarks: photographs whose place is known → predictions (costly, resumes) → scores (pure)."""
