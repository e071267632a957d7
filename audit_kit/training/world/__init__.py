"""A whole engagement whose truth is known."""
