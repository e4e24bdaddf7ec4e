"""A training whose losses are no numbers any more ends, and leaves word of what led there."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from pouta_lib.ground.errors import problem
from pouta_lib.ground.validation import write_json
from pouta_lib.method.history import LOSSES

NOT_FINITE = "not_finite.json"
LED_THERE = 10  # steps that it tells of


def check_finite(losses: Tensor, checkpoint: Path | None, identity: dict[str, Any]) -> None:
    """*Raises* :class:`PoutaError` after a loss that is not finite.

    Beside the checkpoint then stands what led there: :data:`NOT_FINITE`.

    *Shape*: losses ``(steps so far, 4)``.
    """
    losses = losses.cpu()
    bad = (~losses.isfinite().all(dim=1)).nonzero()
    if not len(bad):
        return
    step = int(bad[0, 0])
    lr, precision = identity["lr"], identity["precision"]
    where: str | Path = f"training at lr={lr}, precision={precision}"
    if checkpoint is not None:
        first = max(0, step - LED_THERE)
        rows = losses[first : step + 1].tolist()  # NaN and infinity as words: JSON has none
        led = [[value if math.isfinite(value) else str(value) for value in row] for row in rows]
        told = {"step": step, "losses": list(LOSSES), "of_steps": dict(enumerate(led, first))}
        where = checkpoint.with_name(NOT_FINITE)
        write_json(where, told | {"settings": identity})
    named = dict(zip(LOSSES, losses[step].tolist(), strict=True))
    todo = f"lower lr (it is {lr}), or choose precision=fp32 (it is {precision})"
    raise problem("finite losses", f"{named} at step {step}", where, todo)
