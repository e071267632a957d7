"""What the cells mean: header, body, types, checks."""
