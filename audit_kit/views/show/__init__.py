"""What every page shares: theme, tables, masking, panel."""
