#!/usr/bin/env python3
from bids_encoder.__main__ import main

if __name__ == "__main__":  # the processes of --nprocs import this file again
    raise SystemExit(main())
