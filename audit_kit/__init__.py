"""audit_kit: why issued invoices are not on the tax platform, with evidence and next steps."""
