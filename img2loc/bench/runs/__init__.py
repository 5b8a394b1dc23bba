"""A locator over a benchmark → a run folder of predictions (costly, resumes)."""
