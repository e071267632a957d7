"""`python -m audit_kit`: the command line where its own command is not on the path."""

import sys

from audit_kit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
