"""An example of a plugin for Lumen; read `plugin.py`."""
