"""`python -m pyfpm` is the `pyfpm` command."""

import sys

from pyfpm.cli import main

sys.exit(main())
