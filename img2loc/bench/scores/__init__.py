"""Predictions × truth → scores (pure)."""
