"""How torch's threads wait, which has to be said before torch is imported."""

from collections.abc import MutableMapping


def wait_passively(environment: MutableMapping[str, str]) -> None:
    """Lets the threads of torch sleep while they wait, where `environment` does not say otherwise.

    They spin else; with two runs side by side that costs ten times the run's own work (benchmarks
    in docs/SCALING.md). Processes and notebook kernels started with `environment` inherit it.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
