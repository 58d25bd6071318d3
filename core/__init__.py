"""whylook's core: one module or package per stage, the store, what is read from it, and the command line."""
