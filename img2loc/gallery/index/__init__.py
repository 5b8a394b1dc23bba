"""Nearest and farthest search: index files, their specification, and the writers of them."""
