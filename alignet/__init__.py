"""PyTorch companion to 'Aligning machine and human visual representations across abstraction levels'."""

import os

__version__ = "0.1.0"

# Threads that wait for others sleep instead of spinning: a busy process beside them costs half as much. Read by OpenMP
# when torch is imported, so it is set here, before; whoever has set it otherwise keeps it (bench/disturbed.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
