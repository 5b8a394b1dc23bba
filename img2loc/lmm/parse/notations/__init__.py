"""One module a notation of coordinates: text → a Candidate for each place that stands there."""
