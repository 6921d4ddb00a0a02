"""`python -m runner` is the `recipe` command."""

import sys

from runner.cli import main

sys.exit(main())
