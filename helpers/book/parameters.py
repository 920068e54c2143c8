"""Parameters of chapters: one schema each, profiles in YAML, refused before any work."""

import csv
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from helpers.errors import ParameterError
from helpers.files import is_utf8
from helpers.paths import PROJECT

PROFILES = ("smoke", "laptop", "real", "gpu", "paper")
PROFILE_FOLDER = PROJECT / "notebooks" / "profiles"


class ChapterParameters(pydantic.BaseModel):
    """Base of all chapter schemas: unknown names are refused, types are taken strictly."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    profile: str = pydantic.Field("laptop", description="name under which this run is recorded")

    @classmethod
    def check(cls, values: dict[str, Any]) -> "ChapterParameters":
        """Validated parameters.

        Raises:
            ParameterError: naming each faulty parameter, what was found and what is expected.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            faults = [_explain(cls, fault) for fault in error.errors()]
            raise ParameterError("\n".join(faults)) from None


def _explain(schema: type[pydantic.BaseModel], fault: dict) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else "parameters"
    if fault["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(name, schema.model_fields, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        known = ", ".join(schema.model_fields)
        return f"parameter '{name}': unknown.{hint} Known parameters: {known}"
    expected = describe_type(schema.model_fields[name].annotation) if fault["loc"] else ""
    return f"parameter '{name}': found {fault['input']!r}; {fault['msg']} (expected {expected})"


def describe_type(annotation: Any) -> str:
    """A type as a person would write it: ``int``, ``list[float]``, ``'pad' or 'drop'``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return describe_type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is list:
        return f"list of {describe_type(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def profile_path(chapter: str) -> Path:
    """The YAML file in which the profiles of a chapter stand side by side."""
    return PROFILE_FOLDER / f"{chapter}.yaml"


def load_profile(chapter: str, profile: str) -> dict[str, Any]:
    """Parameters of a profile that differ from the notebook's own cell (laptop: none).

    Raises:
        ParameterError: no such profile, or the file is not a mapping of mappings.
    """
    path = profile_path(chapter)
    profiles = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise ParameterError(f"{path}: expected a mapping from profile to parameters")
    if profile not in profiles:
        raise ParameterError(
            f"profile '{profile}': chapter '{chapter}' has {', '.join(profiles)} ({path.name})"
        )
    return {"profile": profile, **profiles[profile]}


def parse_overrides(pairs: list[str], schema: type[ChapterParameters]) -> dict[str, Any]:
    """``name=value`` pairs as given on the command line.

    What the schema calls text is taken as it stands, in ``[one, two]`` too (an element that holds a
    comma stands in quotes); other values are YAML. Paths become absolute, since a notebook runs
    elsewhere.

    Raises:
        ParameterError: a pair without ``=``, an empty name, a value that is no YAML, or bytes that
            are no UTF-8.
    """
    values = {}
    for pair in pairs:
        name, sign, text = (part.strip() for part in pair.partition("="))
        if not sign or not name or not is_utf8(pair):
            raise ParameterError(
                f"parameter {pair!a}: expected name=value in UTF-8, for instance steps=50"
            )
        held = schema.model_fields[name].annotation if name in schema.model_fields else None
        of_list = typing.get_args(held) if typing.get_origin(held) is list else ()
        if _takes_text(held):
            values[name] = _absolute(name, text)
        elif of_list and _takes_text(of_list[0]) and text[:1] + text[-1:] == "[]":
            [elements] = csv.reader([text[1:-1]], skipinitialspace=True)
            values[name] = [_absolute(name, _unquoted(one.strip())) for one in elements]
        else:
            values[name] = _read_yaml(name, text)
    return values


def _takes_text(annotation: Any) -> bool:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        return _takes_text(arguments[0])
    is_choice = typing.get_origin(annotation) is Literal
    return annotation is str or (is_choice and all(isinstance(one, str) for one in arguments))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def _absolute(name: str, text: str) -> str:
    """Text whose path, if it holds one, is absolute."""
    kind, path = re.fullmatch(r"((?:folder:|images:|file:|timm:[^=]+=)?)(.*)", text).groups()
    if not path or not (kind or (name == "source" and not path.startswith("synthetic-"))):
        return text
    return f"{kind}{Path(path).expanduser().absolute()}"


def _read_yaml(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"parameter '{name}': {text!r} is not a value ({error})") from None


# -------------------------------------------------------------------------- what chapters share

Share = Annotated[float, Field(gt=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0)]
Item = TypeVar("Item")


def _distinct(values: list) -> list:
    if not values or len(set(values)) != len(values):
        raise ValueError("the list must hold at least one value and none twice")
    return values


# A list of at least one value and none twice.
Distinct = Annotated[list[Item], AfterValidator(_distinct)]


class SegmentationParameters(ChapterParameters):
    """Parameters of data, patches, training and machine; chapters add their own and defaults."""

    dataset: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(40, ge=0, description="images generated, or drawn at most (0: all)")
    image_size: int = Field(224, ge=64, description="side of generated images in pixels")
    test_share: float = Field(0.25, gt=0, lt=1, description="share of images held out")
    max_test_images: int = Field(10, ge=0, description="held-out images tested on (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, split")
    polarity: Literal["as_is", "bright_objects"] = Field(
        "as_is", description="bright_objects inverts images with a bright background"
    )
    patch_size: int = Field(112, ge=16, description="side of the patches in pixels")
    patch_stride: int = Field(112, ge=1, description="step between patches in pixels")
    edge: Literal["pad", "drop"] = Field("drop", description="windows at the border")
    min_instances: int = Field(0, ge=0, description="patches with fewer are left out (0: none)")
    seeds: Distinct[Seed] = Field([0], description="one model each")
    width: int = Field(8, ge=1, description="CPnet's first level; 32 is the full network")
    steps: int = Field(100, ge=1, description="optimisation steps on all patches")
    batch_size: int = Field(8, ge=1, description="crops per step")
    crop: int = Field(64, ge=16, description="side of the training crops, a multiple of 8")
    optimiser: Literal["sgd", "adamw"] = Field(
        "adamw", description="sgd (momentum 0.9, as published) or adamw"
    )
    schedule: Literal["cellpose", "cosine"] = Field(
        "cosine", description="after the warm-up: cellpose (ten halvings) or cosine (to zero)"
    )
    learning_rate: float = Field(0.004, gt=0, description="of the optimiser, at its highest")
    weight_decay: float = Field(0.01, ge=0, description="of the optimiser")
    warmup_share: float = Field(0.1, ge=0, le=1, description="of the steps, at the beginning")
    scale_range: float = Field(0.5, ge=0, lt=2, description="width of the random scale interval")
    flow_threshold: float = Field(
        0.0, ge=0, description="masks whose flows differ more are dropped (Cellpose: 0.4; 0: none)"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the network")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("crop")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 8:
            raise ValueError("must be a multiple of 8")
        return value


Selection = Literal["random", "facility_location", "dq_paper_eq", "dq_official_code"]
Selections, Positives = Distinct[Selection], Distinct[Annotated[float, Field(gt=0)]]


class TransferParameters(SegmentationParameters):
    """Three domains, a first stage from random weights, later stages from others' weights."""

    dataset: str = Field("synthetic-cyto", description="the source: a name, or folder:PATH")
    target: str = Field("synthetic-histo", description="the target: a name, or folder:PATH")
    third: str = Field("synthetic-multi", description="the third domain: a name, or folder:PATH")
    rotate_target: bool = Field(
        False, description="split the target anew for each seed, so that in turn all are tested"
    )
    n_images: int = Field(40, ge=0, description="images of each domain, or drawn at most (0: all)")
    max_test_images: int = Field(6, ge=0, description="held-out images tested on (0: all)")
    seeds: Distinct[Seed] = Field([0], description="one model of each kind each")
    steps: int = Field(100, ge=1, description="optimisation steps of a first stage")
    fine_steps: int = Field(100, ge=1, description="of a stage that starts from a trained model")
    learning_rate: float = Field(0.004, gt=0, description="highest in a first stage")
    fine_learning_rate: float = Field(0.004, gt=0, description="highest in a later stage")
    looks: int = Field(2, ge=1, description="looks at all domains during a later stage")


class DetectorParameters(ChapterParameters):
    """Chapters on few-shot cells: data, detector, both sides of pretraining, fine-tuning, machine.

    The defaults are those of the ``laptop`` profile.
    """

    cells: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(40, ge=0, description="of cells: generated, or drawn at most (0: all)")
    image_size: int = Field(160, ge=64, description="side of generated images of cells in pixels")
    cell_scale: Share = Field(1.0, description="factor by which cells are shrunk")
    stretch: bool = Field(True, description="bring cells from 1st to 99th percentile to 0..255")
    test_share: float = Field(0.25, gt=0, lt=1, description="held out without an own test part")
    max_test_images: int = Field(8, ge=0, description="tested on, of each data set (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, split, patches")
    sources: Distinct[str] = Field(["synthetic-objects"], description="labelled everyday pictures")
    n_source: int = Field(60, ge=2, description="pictures of each source: generated, or at most")
    source_size: int = Field(96, ge=64, description="side of generated ones in pixels")
    source_scale: Share = Field(1.0, description="factor by which others are shrunk")
    source_classes: Literal["one", "own"] = Field(
        "one", description="every object of the source just an object, or of its class (published)"
    )
    max_source_test: int = Field(8, ge=1, description="pictures that source AP is measured on")
    encoder: str = Field(
        "tu-tf_efficientnet_lite0", description="unet-W, resnet18, vit-..., tu-... (timm)"
    )
    backbone: str = Field(
        "imagenet-lite0",
        description="weights that backbones, but for scratch, begin from: published, or random",
    )
    optimiser: Literal["sgd", "adamw"] = Field("adamw", description="of detectors (published: sgd)")
    width: int = Field(16, ge=8, description="channels of pyramid and heads (published: 256)")
    heads: Literal["small", "livecell"] = Field("small", description="layers of the heads")
    pretrainings: int = Field(1, ge=1, description="of each start; draws take them in turn")
    n_patches: int = Field(256, ge=8, description="unlabelled patches of cells")
    patch_size: int = Field(64, ge=32, description="their side in pixels")
    warm_steps: int = Field(60, ge=1, description="on the source alone, before all else")
    contrast_steps: int = Field(20, ge=1, description="of MoCo, over all rounds")
    source_steps: int = Field(40, ge=1, description="on the source in turn with MoCo, over all")
    rounds: int = Field(2, ge=1, description="of the alternation (not published)")
    anchor_weight: float = Field(0.1, ge=0, description="of L2-SP (not published; 0: decay)")
    source_batch: int = Field(2, ge=1, description="pictures per step")
    source_crop: int = Field(96, ge=32, description="side of crops of the source")
    source_rate: float = Field(0.002, gt=0, description="learning rate on the source")
    contrast_batch: int = Field(32, ge=8, multiple_of=4, description="patches per step of MoCo")
    contrast_rate: float = Field(0.03, gt=0, description="learning rate of MoCo")
    key_momentum: float = Field(0.99, ge=0, le=1, description="of MoCo (published: 0.999)")
    queue: int = Field(0, ge=0, description="keys of MoCo (0: half the patches, 4,096 at most)")
    seeds: Distinct[Seed] = Field(
        [0], description="draws of the annotated images, one training each"
    )
    steps: int = Field(100, ge=1, description="of fine-tuning, the same for every share")
    batch_size: int = Field(2, ge=1, description="images per step")
    crop: int = Field(96, ge=32, description="side of crops of cells in pixels")
    learning_rate: float = Field(0.002, gt=0, description="of fine-tuning")
    areas: Literal["coco", "livecell"] = Field("livecell", description="of cells, with the limits")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "float32", description="of the networks; bfloat16 is slow here on processors"
    )
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "DetectorParameters":
        for name in ("contrast_steps", "source_steps"):
            if getattr(self, name) % self.rounds:
                raise ValueError(f"{name} must be a multiple of rounds: each round has equal parts")
        if self.contrast_batch > self.n_patches:
            raise ValueError("contrast_batch must not be larger than n_patches")
        if self.queue and not self.contrast_batch <= self.queue <= self.n_patches:
            raise ValueError("queue must be 0, or from contrast_batch to n_patches")
        if self.pretrainings > len(self.seeds):
            raise ValueError("pretrainings must not be more than seeds: each draw takes one")
        return self


class StartingParameters(ChapterParameters):
    """Of the chapters on starting points (arXiv 2307.03275): data of both kinds, starts and their
    pretraining, training, machine."""

    glands: list[str] = Field(
        ["synthetic-glands", "synthetic-glands-b"], description="data sets of glands"
    )
    nuclei: list[str] = Field(
        ["synthetic-histo", "synthetic-histo-b"], description="data sets of nuclei"
    )
    n_images: int = Field(16, ge=0, description="of each data set, or drawn at most (0: all)")
    image_size: int = Field(192, ge=64, description="side of generated images in pixels")
    gland_scale: float = Field(0.5, gt=0, le=1, description="factor by which glands are shrunk")
    nucleus_scale: float = Field(0.5, gt=0, le=1, description="the same for nuclei")
    test_share: OpenShare = Field(0.25, description="held out, where there is no test part")
    validation_share: OpenShare = Field(0.2, description="of the rest (published: 0.2)")
    max_test_images: int = Field(2, ge=0, description="tested on, of each data set (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, splits")
    starts: Distinct[str] = Field(
        ["random", "imagenet-lite0", "barlow-tissue", "imagenet-barlow-tissue"],
        description="weights of the encoder: random; made here on tissue of the other kind, from "
        "random or ImageNet's weights: barlow-tissue, imagenet-barlow-tissue; published: "
        "imagenet-lite0, imagenet-v1, imagenet-v2, barlow-imagenet, barlow-pathology, "
        "moco-imagenet, moco-pathology, swav-pathology; file:PATH",
    )
    encoder: str = Field(
        "tu-tf_efficientnet_lite0", description="unet-W, resnet18, resnet50, tu-... (timm)"
    )
    pretrainings: int = Field(
        1, ge=1, description="of each start that is made here; runs take them in turn"
    )
    n_source: int = Field(600, ge=64, description="patches of every pretraining made here")
    source_size: int = Field(48, ge=32, description="their side in pixels")
    twin_steps: int = Field(20, ge=1, description="of Barlow Twins")
    twin_batch: int = Field(64, ge=2, description="images per step of Barlow Twins")
    twin_rate: float = Field(0.002, gt=0, description="highest learning rate of Barlow Twins")
    twin_width: int = Field(256, ge=8, description="of its projector (published: 8192)")
    shares: Distinct[Share] = Field([0.1, 1.0], description="of the training images")
    budgets: Distinct[Literal["steps", "epochs"]] = Field(
        ["steps"], description="equal steps for all shares, or epochs (fewer steps for less data)"
    )
    seeds: Distinct[Seed] = Field([0], description="one training each (published: five)")
    gland_steps: int = Field(50, ge=1, description="of a training on glands, with all images")
    nucleus_steps: int = Field(30, ge=1, description="the same on nuclei (published: half)")
    batch_size: int = Field(4, ge=1, description="crops per step (not published)")
    crop: int = Field(64, ge=16, description="side of the random crops (published: 256)")
    translate: float = Field(0.1, ge=0, lt=1, description="random shift, share of the crop")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="not published")
    learning_rate: float = Field(0.001, gt=0, description="constant (published: 0.0001)")
    loss: Literal["cross_entropy", "dice", "sum"] = Field("sum", description="not published")
    looks: int = Field(2, ge=1, description="at validation and test images during a training")
    decoder_width: int = Field(8, ge=1, description="channels of the decoder's finest block")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "float32", description="of the networks; on processors the fastest for depthwise layers"
    )
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("shares")
    @classmethod
    def _ends_with_all(cls, values: list) -> list:
        if values != sorted(values) or values[-1] != 1:
            raise ValueError("shares must ascend and end with 1")
        return values

    @field_validator("starts")
    @classmethod
    def _with_random(cls, values: list) -> list:
        if "random" not in values:
            raise ValueError("'random' must be among the starts: the others are compared with it")
        return values

    @model_validator(mode="after")
    def _some_data(self) -> "StartingParameters":
        datasets = [*self.glands, *self.nuclei]
        if not datasets or len(set(datasets)) != len(datasets):
            raise ValueError("glands and nuclei must name at least one data set, none twice")
        return self

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Names of the data sets by kind; kinds without any are left out."""
        named = {"glands": self.glands, "nuclei": self.nuclei}
        return {kind: names for kind, names in named.items() if names}


class EncodingParameters(SegmentationParameters):
    """What selections see of a patch, and the masked autoencoder that is pretrained for it."""

    features: str = Field(
        "mae",
        pattern=r"^(mae|descriptor|pixels|lite0|mae-vit-base|lunit-dino-vits(8|16)|timm:.+)$",
        description="what selections see: mae (pretrained here), descriptor, pixels, lite0 "
        "(ImageNet), mae-vit-base or lunit-dino-vits16 (official weights) or timm:NAME (random)",
    )
    contrast: str = Field(
        "", description="data set whose patches are mixed in for the check of features (or none)"
    )
    mae_size: int = Field(64, ge=16, description="side to which patches are resized for it")
    mae_patch: int = Field(8, ge=2, description="side of its tokens in pixels")
    mae_width: int = Field(128, ge=32, multiple_of=32, description="of its encoder")
    mae_depth: int = Field(4, ge=1, description="blocks of its encoder")
    mae_steps: int = Field(70, ge=1, description="optimisation steps of its pretraining")
    mae_batch: int = Field(64, ge=1, description="patches per step of its pretraining")
    mae_learning_rate: float = Field(8e-3, gt=0, description="its base rate, for a batch of 256")
    mae_threads: int = Field(1, ge=1, description="of its pretraining")
