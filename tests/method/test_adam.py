"""The optimiser takes torch's own steps."""

import torch

from pouta_lib.method.adam import PlainAdam


def test_the_optimiser_is_torchs_adam():
    def steps(kind):
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(3, 4, generator=generator, requires_grad=True) for _ in range(2)]
        optimizer = kind(weights, lr=0.1, fused=True)
        for k in range(5):
            optimizer.zero_grad()
            weights[k % 2].square().sum().backward()  # the other one has no gradient
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        return weights

    assert all(map(torch.equal, steps(PlainAdam), steps(torch.optim.Adam)))
