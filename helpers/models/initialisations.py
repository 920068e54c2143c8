"""Where an encoder's weights start: random, published, or pretrained by this project.

The five initialisations of arXiv 2307.03275 (section 2), all of a ResNet-50, by name:

====================  ==============  =================================================
name                  in the paper    weights
====================  ==============  =================================================
``random``            random          none
``imagenet-v1``       ImageNetV1      supervised, torchvision ``IMAGENET1K_V1``
``imagenet-v2``       ImageNetV2      supervised, torchvision ``IMAGENET1K_V2``
``barlow-imagenet``   SSLImage        Barlow Twins on ImageNet (arXiv 2103.03230)
``barlow-pathology``  SSLPathology    Barlow Twins on histology (arXiv 2212.04690)
====================  ==============  =================================================

One more that needs no download, because a package that is installed with this project carries it:
``imagenet-lite0``, supervised on ImageNet, of an EfficientNet-Lite0 (Tan & Le 2019, arXiv
1905.11946; ``tu-tf_efficientnet_lite0``). Four more of a ResNet-50 that the paper does not try:
``moco-imagenet`` and ``moco-imagenet-200`` (MoCo v2 on ImageNet, 800 and 200 epochs, arXiv
2003.04297), ``moco-pathology`` and ``swav-pathology`` (on histology, arXiv 2212.04690).

``file:PATH`` names a file of :func:`helpers.models.encoders.save_encoder`. Another published file
joins by an entry in :data:`PUBLISHED` and one in the data manifest.

The paper does not say how inputs are normalised. Here each network gets its inputs as its
pretraining gave them; ``random`` gets those of ImageNet.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from helpers.data.preprocess import HISTOLOGY_MEAN, HISTOLOGY_STD
from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.models.encoders import (
    EncoderSpec,
    SavedEncoder,
    build_encoder,
    fill_encoder,
    load_encoder,
)

RANDOM = "random"
FILE = "file:"
RESNET50 = EncoderSpec("resnet50")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def unchanged(name: str) -> str:
    """For files whose names are those of the encoder."""
    return name


def flattened(name: str) -> str:
    """For files of timm's models that :class:`EncoderSpec` calls ``tu-...``.

    Feature maps are taken from between the parts of a sequence, so that timm joins the sequence's
    name and the part's number: ``stages.0.blocks...`` is ``model.stages_0.blocks...`` in ConvNeXt
    and Swin. Not for timm's plain residual networks: their files, without the classifier, fit
    ``resnet50`` and so on.
    """
    return "model." + re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", name)


def of_lite0(name: str) -> str:
    """For the file of EfficientNet-Lite0: the names of timm's model as an encoder.

    The file counts its blocks through, timm by stage; the first block has no expansion, so that its
    convolutions and normalisations count from one place later in the file.
    """
    found = re.fullmatch(r"_blocks\.(\d+)\._([a-z]+)(?:_conv|(\d))\.(.+)", name)
    if found is None:
        whole, _, rest = name.removeprefix("_").partition(".")
        return f"model.{LITE0_NAMES.get(whole, whole)}.{rest}"
    number, layer, place, rest = found.groups()
    stage, block = [
        (stage, block) for stage, count in enumerate(LITE0_BLOCKS) for block in range(count)
    ][int(number)]
    first = number == "0"
    if layer == "bn":
        own = f"bn{int(place) + (0 if first else 1)}"
    else:
        own = {"expand": "conv_pw", "depthwise": "conv_dw"}.get(
            layer, "conv_pw" if first else "conv_pwl"
        )
    return f"model.blocks.{stage}.{block}.{own}.{rest}"


def of_queries(name: str) -> str:
    """For checkpoints of MoCo: the encoder of queries, on several devices, is the encoder."""
    return name.removeprefix("module.encoder_q.")


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Attributes:
        entry: name in the data manifest; the entry has one file, a state dict.
        spec: encoder that the weights are of.
        mean, std: per channel, by which inputs in 0..1 were normalised in its pretraining.
        left_out: what the file holds besides the encoder: names, or with a dot at the end all names
            that begin so. Anything else that the encoder does not have is refused.
        name_in_encoder: turns the file's names into the encoder's.
        inside: key under which a checkpoint holds the state dict; empty where it is the file.
    """

    entry: str
    spec: EncoderSpec = RESNET50
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    left_out: tuple[str, ...] = ()
    name_in_encoder: Callable[[str], str] = unchanged
    inside: str = ""


LITE0 = EncoderSpec("tu-tf_efficientnet_lite0")
LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
LITE0_NAMES = {"bn0": "bn1", "bn1": "bn2", "fc": "classifier"}
CLASSIFIER = ("fc.weight", "fc.bias")
# What a checkpoint of MoCo v2 holds besides the encoder of queries: its head, the encoder of keys,
# and the queue.
OF_MOCO = ("module.encoder_q.fc.", "module.encoder_k.", "module.queue", "module.queue_ptr")
PUBLISHED = {
    "imagenet-v1": Published("resnet50-imagenet-v1", left_out=CLASSIFIER),
    "imagenet-v2": Published("resnet50-imagenet-v2", left_out=CLASSIFIER),
    "imagenet-lite0": Published(
        "efficientnet-lite0-imagenet",
        LITE0,
        *((0.5, 0.5, 0.5),) * 2,
        left_out=("_conv_head.", "_bn1.", "_fc."),
        name_in_encoder=of_lite0,
    ),
    "barlow-imagenet": Published("barlow-twins-imagenet"),
    "barlow-pathology": Published("lunit-bt-rn50", mean=HISTOLOGY_MEAN, std=HISTOLOGY_STD),
    "moco-imagenet": Published(
        "moco-v2-800", left_out=OF_MOCO, name_in_encoder=of_queries, inside="state_dict"
    ),
    "moco-imagenet-200": Published(
        "moco-v2-200", left_out=OF_MOCO, name_in_encoder=of_queries, inside="state_dict"
    ),
    "moco-pathology": Published("lunit-mocov2-rn50", mean=HISTOLOGY_MEAN, std=HISTOLOGY_STD),
    "swav-pathology": Published("lunit-swav-rn50", mean=HISTOLOGY_MEAN, std=HISTOLOGY_STD),
}


def load_initialisation(
    name: str,
    seed: int,
    spec: EncoderSpec | None = None,
    accept_licences: frozenset[str] = frozenset(),
    progress: bool = True,
) -> SavedEncoder:
    """An encoder with the weights that a name stands for.

    Published weights are looked for as :func:`helpers.data.fetch.locate` does: in the offline
    bundle, in the data folder, then at their official address.

    Args:
        name: ``"random"``, a name in :data:`PUBLISHED`, or ``"file:PATH"``.
        seed: of random weights; what comes from a file does not depend on it.
        spec: the encoder that is wanted. ``None``: what the file holds, and a ResNet-50 at random.
        accept_licences: names of manifest entries whose licence the user has read and accepted;
            ``"lunit-bt-rn50"`` is needed to download ``barlow-pathology``.
        progress: show bars while fetching.

    Returns:
        The encoder, in evaluation mode, on the CPU, and mean and std of its inputs, as
        :func:`helpers.models.encoders.load_encoder` gives them. For published weights
        ``extra["provenance"]`` says where they came from, as run records keep it.

    Raises:
        ParameterError: unknown name, or the weights are of another encoder than ``spec``.
        DataError: licence not accepted, no network, no such file, a file that is damaged, or keys
            or shapes that are not those of the encoder.
    """
    entry = weights_entry(name)
    if name == RANDOM:
        return _random(spec or RESNET50, seed)
    if entry is None:
        saved = load_encoder(_local_file(name))
        _require(spec, saved.spec, name)
        return saved
    published = PUBLISHED[name]
    _require(spec, published.spec, name)
    return _load_published(published, accept_licences, progress)


def classifying_lite0() -> nn.Module:
    """timm's EfficientNet-Lite0 before its classifier, with the weights that a package carries.

    ``forward_features`` gives 1,280 maps of the last stage, ``forward_head`` their means.

    Raises:
        DataError: the package is not installed, or its file is damaged.
    """
    import timm

    from helpers.data.fetch import locate

    whole = replace(PUBLISHED["imagenet-lite0"], left_out=("_fc.",))
    (path,) = locate(whole.entry).files
    network = timm.create_model(LITE0.name.removeprefix("tu-"), num_classes=0)
    weights = _encoder_weights(whole, path)
    weights = {name.removeprefix("model."): value for name, value in weights.items()}
    fill_encoder(network, weights, path, "network")
    return network.eval()


def weights_entry(name: str) -> str | None:
    """Name in the data manifest of the weights behind an initialisation.

    Returns:
        ``None`` for ``"random"`` and ``"file:PATH"``.

    Raises:
        ParameterError: no such initialisation.
    """
    if name in PUBLISHED:
        return PUBLISHED[name].entry
    if name == RANDOM or (name.startswith(FILE) and name != FILE):
        return None
    raise ParameterError(
        f"initialisation {name!r}: expected {', '.join([RANDOM, *PUBLISHED])}, or {FILE}PATH with "
        "the file of an encoder that this project has pretrained"
    )


def initialisation_content(name: str) -> str:
    """Fingerprint of an initialisation's weights as they lie here, without loading or fetching.

    Returns:
        64 hexadecimal digits; empty for ``"random"``, whose weights encoder and seed fix.

    Raises:
        ParameterError: no such initialisation.
        DataError: the weights are not on this machine.
    """
    from helpers.data.checksums import cached_digest
    from helpers.data.fetch import fingerprint_of

    entry = weights_entry(name)
    if name == RANDOM:
        return ""
    if entry is None:
        return cached_digest(_local_file(name)).sha256
    if (found := fingerprint_of(entry)) is None:
        raise DataError(
            f"initialisation {name!r}: its weights are not on this machine. "
            f"python -m helpers data fetch {entry} gets them, or says what is needed."
        )
    return found


def _random(spec: EncoderSpec, seed: int) -> SavedEncoder:
    if spec.channels != len(IMAGENET_MEAN):
        raise ParameterError(
            f"initialisation {RANDOM!r} with channels={spec.channels}: expected "
            f"{len(IMAGENET_MEAN)}, because inputs are normalised by mean and std of ImageNet"
        )
    return SavedEncoder(spec, build_encoder(spec, seed).eval(), IMAGENET_MEAN, IMAGENET_STD)


def _local_file(name: str) -> Path:
    path = Path(name.removeprefix(FILE)).expanduser()
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. After {FILE} goes the path of an encoder that this project has "
            "pretrained."
        )
    return path


def _require(wanted: EncoderSpec | None, found: EncoderSpec, name: str) -> None:
    if wanted is not None and wanted != found:
        raise ParameterError(
            f"initialisation {name!r}: its weights are of {_words(found)}, not of "
            f"{_words(wanted)}. Choose that encoder or another initialisation."
        )


def _words(spec: EncoderSpec) -> str:
    return f"{spec.name!r} with {spec.channels} channel(s)"


def _load_published(
    published: Published, accept_licences: frozenset[str], progress: bool
) -> SavedEncoder:
    from helpers.data.fetch import locate

    found = locate(published.entry, accept_licences=accept_licences, progress=progress)
    (path,) = found.files
    weights = _encoder_weights(published, path)
    encoder = build_encoder(published.spec, seed=0)
    fill_encoder(encoder, weights, path)
    extra = {"provenance": found.provenance}
    return SavedEncoder(published.spec, encoder.eval(), published.mean, published.std, extra)


def _encoder_weights(published: Published, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file, under the names of the encoder.

    A plain dict: the version marks of torch that a file may carry are not kept, so that files from
    before batch normalisation counted its batches load too. Nothing here reads that count.
    """
    state = read_torch(path)
    if published.inside:
        state = state.get(published.inside) if isinstance(state, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        where = f"{path}, {published.inside}" if published.inside else f"{path}"
        raise DataError(
            f"{where}: holds a {type(state).__name__}, not a state dict (names and tensors). "
            "Delete the file and fetch it again."
        )
    return {
        published.name_in_encoder(name): value
        for name, value in state.items()
        if not _is_left_out(name, published.left_out)
    }


def _is_left_out(name: str, left_out: tuple[str, ...]) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in left_out)
