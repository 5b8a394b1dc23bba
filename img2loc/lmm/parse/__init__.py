"""A reply in prose, JSON or any notation of coordinates → a Location."""
