"""The drill in JupyterLab."""
