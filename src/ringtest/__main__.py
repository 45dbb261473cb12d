"""``python -m ringtest``."""

from ringtest.cli import main

raise SystemExit(main())
