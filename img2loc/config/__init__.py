"""Names in TOML → objects."""
