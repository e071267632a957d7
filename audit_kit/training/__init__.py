"""Engagements with known truth: sample data, tests and drills."""
