"""The optimiser: torch's Adam, quick to import."""

import inspect

import torch


class PlainAdam(torch.optim.Adam):
    """torch's Adam without what its methods are wrapped in for torch.compile.

    The steps are the same; an import of a second, nearly as long as torch's own, is not made.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
