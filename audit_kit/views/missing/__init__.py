"""The page on missing invoices."""
