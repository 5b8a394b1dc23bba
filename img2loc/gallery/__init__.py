"""Unit vectors with coordinates: build, open, nearest and farthest."""
