"""The page on the response."""
