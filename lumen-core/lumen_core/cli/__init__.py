"""The command line: one file per command, `main.py` joins them; nothing heavy is imported before one runs."""
