"""Plugins: the hook contract, the data that hooks return, and the registry that collects it."""
