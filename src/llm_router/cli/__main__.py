"""``python -m llm_router.cli``: the command line where the script is not on the path."""

import sys

from llm_router.cli import main

sys.exit(main())
