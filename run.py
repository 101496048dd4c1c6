#!/usr/bin/env python
from bids_encoder.cli import main

raise SystemExit(main())
