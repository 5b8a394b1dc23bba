"""Scores → tables and one page."""
