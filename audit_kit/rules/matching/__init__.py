"""Ledger against platform: each row's outcome."""
