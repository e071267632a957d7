"""A report with everything it rests on in one archive, which proves that nothing was changed since."""
