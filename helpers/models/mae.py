"""A masked autoencoder (He et al., CVPR 2022, arXiv 2111.06377) of any size, from timm's parts.

A vision transformer encodes the visible quarter of an image's patches; a light transformer paints
the hidden ones. Only the encoder is kept for features. "Patch" here is a token of the transformer,
a few pixels wide; the images are what the rest of the book calls patches.

Named deviations from the paper: grey images (one channel), and sizes down to a few hundred
thousand weights. Two changes let small networks learn within minutes what otherwise takes them
much longer, namely to look at neighbouring patches: the sines and cosines of the positions have
temperature 20 instead of 10,000 (on a grid of 8 x 8 most of the slow waves would be constant), and
the weights of queries and keys start twice as large. What is as in the paper: the mask is drawn per
image, uniformly; position embeddings are fixed sines and cosines; the class token goes through
encoder and decoder and gets no loss; the target is the patch with its own mean and standard
deviation taken out.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.randomness import global_seed

FORMAT = "masked-autoencoder-1"
# Of the variance in the target, as in the released code.
TARGET_EPSILON = 1e-6
# Of the sines and cosines, so that all of them vary over a grid of some ten patches.
TEMPERATURE = 20.0
# Factor on the starting weights of queries and keys.
ATTENTION_GAIN = 2.0


@dataclass(frozen=True)
class MaeArchitecture:
    """Shape of a masked autoencoder.

    Attributes:
        size: side of the square input in pixels, a multiple of ``patch``.
        patch: side of a token in pixels.
        channels: of the input; 1 for grey.
        width, depth, heads: of the encoder; the width must be divisible by the heads and by 4.
        decoder_width, decoder_depth: of the decoder; its heads are as wide as the encoder's.
    """

    size: int = 64
    patch: int = 8
    channels: int = 1
    width: int = 128
    depth: int = 4
    heads: int = 4
    decoder_width: int = 64
    decoder_depth: int = 2

    def __post_init__(self) -> None:
        if self.size % self.patch or self.size < 2 * self.patch:
            raise ParameterError(
                f"size={self.size}, patch={self.patch}: the size must be a multiple of the patch, "
                "and at least two patches"
            )

    @property
    def tokens(self) -> int:
        """Number of patches of one image."""
        return (self.size // self.patch) ** 2

    @property
    def encoder_arguments(self) -> dict:
        """Arguments that make the encoder as a ``timm.models.VisionTransformer``."""
        return {
            "img_size": self.size,
            "patch_size": self.patch,
            "in_chans": self.channels,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.heads,
            "num_classes": 0,
        }


class Mae(nn.Module):
    """Encoder (a timm ``VisionTransformer``), decoder, and the prediction of hidden patches."""

    def __init__(self, architecture: MaeArchitecture) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block, VisionTransformer

        a = architecture
        self.architecture = a
        self.encoder = VisionTransformer(**a.encoder_arguments)
        self.decoder_embed = nn.Linear(a.width, a.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, a.decoder_width))
        self.decoder_position = nn.Parameter(_positions(a, a.decoder_width), requires_grad=False)
        heads = a.decoder_width * a.heads // a.width
        self.decoder_blocks = nn.Sequential(
            *(Block(a.decoder_width, heads, qkv_bias=True) for _ in range(a.decoder_depth))
        )
        self.decoder_norm = nn.LayerNorm(a.decoder_width, eps=1e-6)
        self.decoder_predict = nn.Linear(a.decoder_width, a.patch**2 * a.channels)
        self._initialise()

    def _initialise(self) -> None:
        """Weights as in the released code; the encoder's positions are fixed, not learnt."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith("attn.qkv.weight"):
                weight.data[: 2 * weight.shape[1]] *= ATTENTION_GAIN
        projection = self.encoder.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.data.flatten(1))
        nn.init.normal_(self.encoder.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        self.encoder.pos_embed.data.copy_(_positions(self.architecture, self.architecture.width))
        self.encoder.pos_embed.requires_grad_(False)

    def encode(self, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Tokens of the visible patches alone.

        Args:
            images: (n, channels, size, size), normalised.
            visible: int64 (n, k), which patches the encoder sees.

        Returns:
            (n, 1 + k, width): class token, then patches in the order of ``visible``.
        """
        vit = self.encoder
        tokens = vit._pos_embed(vit.patch_embed(images))
        where = visible[:, :, None].expand(-1, -1, tokens.shape[2])
        kept = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, where)], dim=1)
        return vit.norm(vit.blocks(kept))

    def decode(self, encoded: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Prediction for every patch, (n, tokens, patch * patch * channels), in image order."""
        tokens = self.decoder_embed(encoded)
        full = self.mask_token.to(tokens.dtype).repeat(len(tokens), self.architecture.tokens, 1)
        where = visible[:, :, None].expand(-1, -1, tokens.shape[2])
        full = full.scatter(1, where, tokens[:, 1:])
        x = torch.cat([tokens[:, :1], full], dim=1) + self.decoder_position
        return self.decoder_predict(self.decoder_norm(self.decoder_blocks(x)))[:, 1:]

    def forward(self, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """As :meth:`decode` of :meth:`encode`."""
        return self.decode(self.encode(images, visible), visible)


def build_mae(architecture: MaeArchitecture, seed: int) -> Mae:
    """A masked autoencoder with random weights; the global generator is left as it was."""
    with global_seed(seed):
        return Mae(architecture)


def draw_visible(
    n: int, tokens: int, mask_ratio: float, generator: torch.Generator
) -> torch.Tensor:
    """Which patches stay visible: int64 (n, int(tokens * (1 - mask_ratio))), ascending.

    The places of the smallest of ``tokens`` uniform numbers per image, as in the released code.
    """
    noise = torch.rand((n, tokens), generator=generator)
    kept = noise.argsort(dim=1)[:, : int(tokens * (1 - mask_ratio))]
    return kept.sort(dim=1).values


def hidden_mask(visible: torch.Tensor, tokens: int) -> torch.Tensor:
    """Bool (n, tokens): true where a patch is not among the visible ones."""
    mask = torch.ones((len(visible), tokens), dtype=torch.bool, device=visible.device)
    return mask.scatter(1, visible, False)


def to_patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """(n, c, size, size) to (n, tokens, patch * patch * c): rows of patches, pixels, channels."""
    n, channels, height, width = images.shape
    x = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch**2 * channels)


def from_patches(patches: torch.Tensor, patch: int, channels: int) -> torch.Tensor:
    """Inverse of :func:`to_patches` for square images."""
    n, tokens, _ = patches.shape
    side = round(tokens**0.5)
    x = patches.reshape(n, side, side, patch, patch, channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(n, channels, side * patch, side * patch)


def patch_statistics(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (unbiased, plus epsilon) of each patch, (n, tokens, 1)."""
    mean = patches.mean(dim=2, keepdim=True)
    return mean, (patches.var(dim=2, keepdim=True) + TARGET_EPSILON).sqrt()


def masked_loss(
    prediction: torch.Tensor, images: torch.Tensor, visible: torch.Tensor, patch: int
) -> torch.Tensor:
    """Mean squared error on the hidden patches alone, each normalised by itself (section 3).

    Args:
        prediction: (n, tokens, patch * patch * channels).
        images: (n, channels, size, size), as the encoder was given them.
        visible: int64 (n, k).
    """
    patches = to_patches(images, patch)
    mean, deviation = patch_statistics(patches)
    error = (prediction - (patches - mean) / deviation).square().mean(dim=2)
    return error[hidden_mask(visible, patches.shape[1])].mean()


def save_mae(
    path: Path, mae: Mae, statistics: tuple[float, float], steps: int, extra: dict | None = None
) -> None:
    """Write weights and all that is needed to use them.

    Args:
        statistics: mean and std by which inputs (0..1) are normalised: (x - mean) / std.
        steps: for how many it was trained.
        extra: further plain values to keep.
    """
    mean, std = statistics
    state = {
        "format": FORMAT,
        "architecture": asdict(mae.architecture),
        "encoder_arguments": mae.architecture.encoder_arguments,
        "mean": mean,
        "std": std,
        "steps": steps,
        "weights": mae.state_dict(),
    }
    write_torch(path, {**(extra or {}), **state})


def load_mae(path: Path) -> tuple[Mae, dict]:
    """The autoencoder in ``path``, and the rest of the file.

    Raises:
        DataError: no file of :func:`save_mae`.
    """
    state = read_torch(path)
    try:
        if state["format"] != FORMAT:
            raise KeyError("format")
        mae = build_mae(MaeArchitecture(**state["architecture"]), seed=0)
        mae.load_state_dict(state.pop("weights"))
    except (KeyError, TypeError, RuntimeError, ParameterError) as error:
        raise DataError(
            f"{path}: not a masked autoencoder of this project ({error}). Name the file that the "
            "pretraining wrote, or delete it to train anew."
        ) from error
    return mae.eval(), state


def _positions(architecture: MaeArchitecture, width: int) -> torch.Tensor:
    """(1, 1 + tokens, width): sines and cosines of row and column; zero for the class token."""
    from timm.layers import build_sincos2d_pos_embed

    side = architecture.size // architecture.patch
    grid = build_sincos2d_pos_embed([side, side], dim=width, temperature=TEMPERATURE)
    return torch.cat([torch.zeros(1, width), grid])[None]
