"""`python -m core`: the same as `whylook`."""

import sys

from core.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
