"""The command line: one module per kind of command. `main` is where it starts."""
