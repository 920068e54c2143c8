"""Two views of each image for Barlow Twins: the published changes, and those for pathology.

``"natural"`` is the recipe of Zbontar et al. (ICML 2021, arXiv 2103.03230, section 2.2 and the
released code): random resized crop, mirroring, colour jitter, grey, blur, solarisation; the views
differ in how often they are blurred (always, in 10 %) and solarised (never, in 20 %).

``"pathology"`` is after Kang et al. (CVPR 2023, arXiv 2212.04690), who add vertical flips and stain
augmentation by RandStainNA (:mod:`helpers.views.stain`) and weaken the colour jitter, because
tissue has no upright and strong jitter makes colours that no stain has. Only what is done follows
them, not how much: that the jitter is half of Barlow Twins', that four images in five are stained,
and that all else is as for natural images is our choice.

Deviations of both: crops as :func:`helpers.pretraining.augment.draw_crops` makes them (bilinear;
the released code resamples bicubically); images of a view share the order of the four steps of the
jitter; the blur is as wide as published in views of 224 pixels, and in proportion in others, so
that it does next to nothing in views below 60. Stains are given to the whole image before it is
cropped, so that a crop of empty glass stays glass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.pretraining.augment import cut_crops, draw_crops
from helpers.views.jitter import JitterStrength, draw_jitter, jitter_images, to_grey
from helpers.views.stain import StainModel, draw_stains, stain_images

# Crops cover between this share of the image and all of it.
SMALLEST_CROP = 0.08
BLUR_RANGE = (0.1, 2.0)
BLUR_SIDE = 224


@dataclass(frozen=True)
class ViewRecipe:
    """What is done to an image and how often, in this order; each is drawn for every image.

    Attributes:
        stain_share: share of the images that get other stains.
        upside_down_share: of those that are exchanged top and bottom; half are mirrored anyway.
        jitter_share, jitter: of those whose colours are jittered, and how far.
        grey_share: of those that become grey.
        blur_share: of those that are blurred, by a Gaussian of 0.1 to 2 pixels in a view of 224.
        solarise_share: of those whose values from 0.5 on are inverted.
    """

    blur_share: float
    solarise_share: float
    jitter: JitterStrength
    stain_share: float = 0.0
    upside_down_share: float = 0.0
    jitter_share: float = 0.8
    grey_share: float = 0.2


def _pair(**common) -> tuple[ViewRecipe, ViewRecipe]:
    return ViewRecipe(1.0, 0.0, **common), ViewRecipe(0.1, 0.2, **common)


RECIPES = {
    "natural": _pair(jitter=JitterStrength(0.4, 0.4, 0.2, 0.1)),
    "pathology": _pair(
        jitter=JitterStrength(0.2, 0.2, 0.1, 0.05), stain_share=0.8, upside_down_share=0.5
    ),
}


@dataclass(frozen=True, eq=False)
class TwinViews:
    """Two random views of every image of a batch.

    Attributes:
        size: side of the views in pixels.
        setting: ``"natural"`` or ``"pathology"``, a key of :data:`RECIPES`.
        stains: of the training images (:func:`helpers.views.stain.fit_stains`), for ``"pathology"``
            alone.
    """

    size: int
    setting: str = "natural"
    stains: StainModel | None = None

    def apply(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two views of float images (n, 3, h, w) in 0..1: twice (n, 3, size, size) in 0..1.

        Args:
            images: on any device; grey ones with three equal channels.
            generator: on the CPU; all that is random comes from it.
        """
        first, second = RECIPES[self.setting]
        return self._view(images, first, generator), self._view(images, second, generator)

    def _view(self, images: Tensor, recipe: ViewRecipe, generator: torch.Generator) -> Tensor:
        def stained(part: Tensor) -> Tensor:
            return stain_images(part, draw_stains(self.stains, len(part), generator))

        images = _some(images, recipe.stain_share, generator, stained)
        crops = draw_crops(len(images), SMALLEST_CROP, generator)
        return change_view(cut_crops(images, crops, self.size), recipe, generator)


def change_view(view: Tensor, recipe: ViewRecipe, generator: torch.Generator) -> Tensor:
    """What a recipe does once stains are given and crops are cut.

    Args:
        view: square crops (n, 3, size, size) in 0..1.
        generator: on the CPU.
    """
    size = view.shape[-1]

    def jittered(part: Tensor) -> Tensor:
        return jitter_images(part, draw_jitter(recipe.jitter, generator, len(part)))

    def blurred(part: Tensor) -> Tensor:
        low, high = (sigma * size / BLUR_SIDE for sigma in BLUR_RANGE)
        return blur(part, low + (high - low) * torch.rand(len(part), generator=generator))

    view = _some(view, recipe.upside_down_share, generator, lambda part: part.flip(2))
    view = _some(view, recipe.jitter_share, generator, jittered)
    view = _some(view, recipe.grey_share, generator, lambda part: to_grey(part).expand_as(part))
    view = _some(view, recipe.blur_share, generator, blurred)
    return _some(view, recipe.solarise_share, generator, solarise)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of (n, c, h, w) images, each by its own width.

    Nothing is cut off: all pixels of a line take part. Beyond the border there is nothing, and the
    weights of what is there sum to 1.

    Args:
        sigma: (n,) standard deviations in pixels, above 0.
    """
    down, across = (_weights(length, sigma.to(images)) for length in images.shape[-2:])
    return down @ images @ across.transpose(2, 3)


def solarise(images: Tensor) -> Tensor:
    """Invert values from 0.5 on, of images in 0..1."""
    return torch.where(images >= 0.5, 1 - images, images)


def _weights(length: int, sigma: Tensor) -> Tensor:
    """(n, 1, length, length): row i holds the weights of a line's pixels for its pixel i."""
    places = torch.arange(length, device=sigma.device, dtype=sigma.dtype)
    distance = (places[:, None] - places) / sigma[:, None, None, None]
    weights = (-(distance**2) / 2).exp()
    return weights / weights.sum(dim=3, keepdim=True)


def _some(
    images: Tensor,
    share: float,
    generator: torch.Generator,
    change: Callable[[Tensor], Tensor],
) -> Tensor:
    """Change each image with a probability of ``share``."""
    rows = (torch.rand(len(images), generator=generator) < share).nonzero()[:, 0]
    if len(rows) == 0:
        return images
    images = images.clone()
    images[rows] = change(images[rows])
    return images
