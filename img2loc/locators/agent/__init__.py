"""An LMM that looks closer, searches the gallery itself, and looks places up, within a budget."""
