"""Training the baselines: one module a model, and what every training shares."""
