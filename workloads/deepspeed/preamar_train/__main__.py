"""Lets `python -m preamar_train` be the command `preamar-train`."""

from preamar_train.main import main

raise SystemExit(main())
