"""`python -m samplewise` is the `samplewise` command."""

import sys

from samplewise.cli import main

sys.exit(main())
