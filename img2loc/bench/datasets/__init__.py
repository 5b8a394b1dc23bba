"""Truth files and their photographs."""
