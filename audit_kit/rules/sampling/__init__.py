"""Audit sampling: how many rows, which ones, and what their errors say of all: see docs/sampling.md for the sources."""
