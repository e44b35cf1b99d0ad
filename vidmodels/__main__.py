"""`python -m vidmodels` is `vidmodels`."""

import sys

from vidmodels.cli import main

sys.exit(main())
