"""The reconstructive network: encoder, mapping layer, decoder (paper, III-A)."""

import functools

from torch import Tensor, nn

from pouta_lib.method.models.blocks import Light, conv_block, down
from pouta_lib.method.models.upsampled import of_upsampled

LEVELS = (1, 2, 3, 4)


def level_channels(width: int) -> dict[int, int]:
    """Channels of each level: ``{1: w, 2: 2w, 3: 4w, 4: 8w}``."""
    return {i: width * 2 ** (i - 1) for i in LEVELS}


class ReconstructiveNetwork(nn.Module):
    """Rebuilds a normal-looking image; its features are what POUTA uses a second time.

    There are no skip connections: whatever reaches the decoder has passed the mapping layer.

    *Shape*: image ``(B, 3, H, W)`` with H and W multiples of 16 gives ``F_Ei`` and ``F_Di``:
    ``(B, w 2^(i-1), H / 2^(i-1), W / 2^(i-1))``; ``F_M``: ``(B, 8w, H/16, W/16)``;
    ``I_r``: ``(B, 3, H, W)``.

    Other `channels` of the levels, or fewer levels, are asked about in D43. With `standardise` it
    sees each image in no light of its own (D48); ``I_r`` has that light again.

    *Source*: paper, III-A and figure 4; layer by layer our reading (D01).
    """

    def __init__(
        self,
        width: int = 64,
        normalisation: str = "batch",
        channels: dict[int, int] | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.standardise = standardise
        block = functools.partial(conv_block, normalisation=normalisation)
        c = channels or level_channels(width)
        self.level_numbers = tuple(c)
        upwards = self.level_numbers[::-1]
        incoming = {i: c.get(i - 1, 3) for i in c}
        source = {i: c.get(i + 1, c[i]) for i in c}
        self.encoder = nn.ModuleDict(
            {str(i): nn.Sequential(block(incoming[i], c[i]), block(c[i], c[i])) for i in c}
        )
        self.mapping = block(c[upwards[0]], c[upwards[0]], kernel=1)
        self.decoder_in = nn.ModuleDict({str(i): block(source[i], c[i]) for i in upwards})
        self.decoder_out = nn.ModuleDict({str(i): block(c[i], c[i]) for i in upwards})
        self.to_image = nn.Conv2d(c[1], 3, 1)
        assert self.to_image.bias is not None
        nn.init.constant_(self.to_image.bias, 0.5)  # the first I_r is mid-gray, not black (D26)

    def forward(self, image: Tensor, reconstruct: bool = True) -> dict[str, Tensor]:
        """``F_E1..F_E4``, ``F_M``, ``F_D4..F_D1`` by name, and ``I_r`` when it is asked for."""
        named: dict[str, Tensor] = {}
        light = Light(image, self.standardise)
        x = light.taken(image)
        for i in self.level_numbers:
            x = named[f"F_E{i}"] = self.encoder[str(i)](x if i == 1 else down(x))
        x = named["F_M"] = self.mapping(down(x))
        for i in self.level_numbers[::-1]:
            x = of_upsampled(self.decoder_out[str(i)], self.decoder_in[str(i)](x))
            named[f"F_D{i}"] = x
        if reconstruct:
            named["I_r"] = light.given_back(self.to_image(x))
        return named
