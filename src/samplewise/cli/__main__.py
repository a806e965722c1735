"""`python -m samplewise.cli` is the `samplewise` command."""

import sys

from samplewise.cli import main

sys.exit(main())
