"""One engagement: its audit.toml, its settings, its sources."""
