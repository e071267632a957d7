"""The same matching on disk and on Spark."""
