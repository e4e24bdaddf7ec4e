"""POUTA, *Produce Once, Utilize Twice for Anomaly Detection*: models, synthesis, study."""

import os

# torch's worker threads spin while they wait; with two runs side by side that costs ten times
# the run's own work (benchmarks in docs/SCALING.md). It has to be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
