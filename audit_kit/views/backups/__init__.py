"""The page on backup completeness."""
