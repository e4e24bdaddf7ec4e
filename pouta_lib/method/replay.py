"""How a training step is run: as it is written, or recorded once and replayed on a CUDA card."""

import warnings
from collections.abc import Callable

import torch
from torch import Generator, Tensor

Update = Callable[[Tensor, Generator], Tensor]  # the images' indices, draws; the losses


class Plain:
    """A training step, run as it is written."""

    def __init__(self, update: Update, device: torch.device) -> None:
        self.update, self.device = update, device
        self.generator = Generator(device)

    def __call__(self, chosen: Tensor, seed: int) -> Tensor:
        return self.update(chosen, self.generator.manual_seed(seed))


class Recorded(Plain):
    """A training step on a CUDA card, recorded once and then replayed as one graph.

    A step launches two thousand small kernels, and the card waits for them; a replay launches them
    together, and draws what the step itself would. The first steps run as they are, so that every
    library has chosen its kernels. Where recording fails, all do.
    """

    warm_ups = 3
    graph: torch.cuda.CUDAGraph | None = None
    chosen: Tensor  # what the graph reads
    losses: Tensor  # what it writes

    def __call__(self, chosen: Tensor, seed: int) -> Tensor:
        if self.warm_ups > 0:
            return self._aside(chosen, seed)
        if self.warm_ups == 0:
            self._record(chosen)
        self.warm_ups -= 1
        if self.graph is None:
            return super().__call__(chosen, seed)
        self.generator.manual_seed(seed)
        self.chosen.copy_(chosen)
        self.graph.replay()
        return self.losses

    def _aside(self, chosen: Tensor, seed: int) -> Tensor:
        """The step on a stream of its own, as warming up for a graph asks for."""
        self.warm_ups -= 1
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = super().__call__(chosen, seed)
        torch.cuda.current_stream().wait_stream(stream)
        return losses

    def _record(self, chosen: Tensor) -> None:
        self.chosen = chosen.clone()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        try:
            with torch.cuda.graph(graph):
                self.losses = self.update(self.chosen, self.generator)
        except RuntimeError as error:
            torch.cuda.synchronize()
            self.generator = Generator(self.device)
            warnings.warn(f"the steps run one kernel at a time: {error}", stacklevel=2)
        else:
            self.graph = graph
