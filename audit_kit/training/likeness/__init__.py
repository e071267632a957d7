"""Drills from a real past month: its shape taken, nothing else."""
