import dataclasses
import hashlib
import types

import pytest
import requests
import torch
import yaml
from skimage import data
from torchvision import transforms

from helpers.data import fetch
from helpers.data.manifest import load_manifest
from helpers.errors import DataError, ParameterError
from helpers.features.encoders import PUBLISHED_VITS
from helpers.files import read_torch
from helpers.models import initialisations
from helpers.models.encoders import EncoderSpec, build_encoder, forward_levels, save_encoder
from helpers.models.initialisations import (
    LITE0,
    PUBLISHED,
    RESNET50,
    Published,
    flattened,
    initialisation_content,
    load_initialisation,
    of_lite0,
    weights_entry,
)

WITH_CLASSIFIER = {"imagenet-v1", "imagenet-v2"}
OF_MOCO = {"moco-imagenet", "moco-imagenet-200"}
RESNETS = [name for name, published in PUBLISHED.items() if published.spec == RESNET50]
LAST_NORM = "layer4.2.bn3.weight"
SMALL = EncoderSpec("unet-4")


def random_values(shapes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other values under the same names and shapes, in a small file.

    The filters of one convolution are views of one filter, which torch saves as such; that each
    channel differs is up to the normalisation that follows it.
    """
    generator = torch.Generator().manual_seed(0)

    def uniform(shape, low, high):
        return torch.empty(shape).uniform_(low, high, generator=generator)

    state = {}
    for name, old in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1234)
        elif old.ndim > 1:
            bound = (3 / old[0].numel()) ** 0.5
            state[name] = uniform((1, *old.shape[1:]), -bound, bound).expand(old.shape)
        else:
            low = -0.5 if name.endswith(("bias", "mean")) else 0.5
            state[name] = uniform(old.shape, low, low + 1)
    return state


@pytest.fixture(scope="session")
def official():
    """State dict of torchvision's ResNet-50 and the network itself, filled with it."""
    from torchvision.models import resnet50

    network = resnet50()
    state = random_values(network.state_dict())
    network.load_state_dict(state)
    return state, network.eval()


@pytest.fixture(scope="session")
def anything():
    """An encoder for files that will be refused."""
    return build_encoder(RESNET50, 0)


def file_of(name, state):
    """What the published file of an initialisation holds."""
    if name in OF_MOCO:
        return moco_checkpoint(state)
    return {
        key: value
        for key, value in state.items()
        if name in WITH_CLASSIFIER or not key.startswith("fc.")
    }


def moco_checkpoint(state):
    """As MoCo v2 writes it: two encoders, each with a head of two layers, and the queue."""
    zero = torch.zeros(())
    head = {
        f"fc.{layer}.{part}": zero.expand(shape)
        for layer, width in ((0, 2048), (2, 128))
        for part, shape in (("weight", (width, 2048)), ("bias", (width,)))
    }
    both = {key: value for key, value in state.items() if not key.startswith("fc.")} | head
    queries = {f"module.encoder_q.{key}": value for key, value in both.items()}
    keys = {f"module.encoder_k.{key}": zero.expand(value.shape) for key, value in both.items()}
    queue = {"module.queue": zero.expand(128, 65536), "module.queue_ptr": zero.long()[None]}
    return {"epoch": 800, "arch": "resnet50", "state_dict": queries | keys | queue}


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without any weights, bundle or network."""

    def unplugged(*_, **__):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    monkeypatch.setattr(fetch, "RETRIES", 0)
    monkeypatch.setattr(requests, "get", unplugged)
    return tmp_path


@pytest.fixture
def bundle(empty, monkeypatch):
    """Call with an initialisation and what its file shall hold: an offline bundle with it."""

    def fill(name, content, keep=1.0):
        path = empty / "weights.pth"
        torch.save(content, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        describe(name)
        return path

    def describe(name):
        content = (empty / "weights.pth").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        file = {"path": "weights.pth", "bytes": len(content), "sha256": digest}
        held = {"complete": True, "coverage": "all", "licence": "none", "files": [file]}
        text = yaml.safe_dump({"format": 1, "datasets": {PUBLISHED[name].entry: held}})
        (empty / "bundle.yaml").write_text(text)
        monkeypatch.setenv("BOOK_DATA_BUNDLE", str(empty))

    return fill


def load(name, **options):
    return load_initialisation(name, seed=0, progress=False, **options)


@pytest.mark.parametrize("name", RESNETS)
def test_published_weights_make_the_network_of_their_library(name, official, bundle):
    state, network = official
    bundle(name, file_of(name, state))
    saved = load(name, spec=RESNET50)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = forward_levels(saved.encoder, images)
        expected = [network.relu(network.bn1(network.conv1(images)))]
        expected.append(network.layer1(network.maxpool(expected[0])))
        for layer in (network.layer2, network.layer3, network.layer4):
            expected.append(layer(expected[-1]))
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert maps[-1].isfinite().all()
    assert maps[-1].std(dim=1).min() > 0
    assert not saved.encoder.training
    assert saved.spec == RESNET50
    assert (saved.mean, saved.std) == (PUBLISHED[name].mean, PUBLISHED[name].std)
    assert saved.extra["provenance"]["name"] == PUBLISHED[name].entry
    assert saved.extra["provenance"]["fingerprint"] == initialisation_content(name)


def test_the_encoder_has_exactly_the_names_and_shapes_of_torchvision(official, anything):
    state, _ = official
    theirs = {name: v.shape for name, v in state.items() if not name.startswith("fc.")}
    assert {name: v.shape for name, v in anything.state_dict().items()} == theirs


def test_files_from_before_batches_were_counted_load_too(official, bundle):
    state = {k: v for k, v in official[0].items() if not k.endswith("num_batches_tracked")}
    bundle("imagenet-v1", state)
    loaded = load("imagenet-v1").encoder.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items() if not k.startswith("fc."))


def lacking(state):
    return {name: value for name, value in state.items() if name != LAST_NORM}


def excessive(state):
    return {**state, "projector.0.weight": torch.zeros(1)}


def narrow(state):
    return {**state, LAST_NORM: torch.ones(1024)}


def renamed(state):
    return {f"module.{name}": value for name, value in state.items()}


def nested(state):
    return {"state_dict": dict(state)}


FAULTS = {
    lacking: rf"Missing.*{LAST_NORM}",
    excessive: r"Unexpected.*projector\.0\.weight",
    narrow: rf"size mismatch for {LAST_NORM}.*1024.*2048",
    renamed: r"Missing.*conv1\.weight",
    nested: r"Missing.*conv1\.weight",
    list: "holds a list, not a state dict",
}


def faulty_file_of(name, fault, state):
    if name not in OF_MOCO:
        return fault(file_of(name, state))
    if fault not in (nested, list):
        return moco_checkpoint(fault(state))
    checkpoint = moco_checkpoint(state)
    return {**checkpoint, "state_dict": fault(checkpoint["state_dict"])}


def test_a_checkpoint_without_its_state_dict_is_refused(bundle):
    bundle("moco-imagenet", {"epoch": 800})
    with pytest.raises(DataError, match="state_dict: holds a NoneType, not a state dict"):
        load("moco-imagenet")


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_files_of_another_layout_are_refused(name, fault, official, anything, bundle, monkeypatch):
    monkeypatch.setattr(initialisations, "build_encoder", lambda spec, seed: anything)
    bundle(name, faulty_file_of(name, fault, official[0]))
    with pytest.raises(DataError, match=rf"(?s)weights\.pth.*{FAULTS[fault]}"):
        load(name)


@pytest.mark.parametrize("name", sorted(set(RESNETS) - WITH_CLASSIFIER - OF_MOCO))
def test_a_classifier_is_left_out_only_where_the_file_is_known_to_have_one(
    name, official, anything, bundle, monkeypatch
):
    monkeypatch.setattr(initialisations, "build_encoder", lambda spec, seed: anything)
    bundle(name, official[0])
    with pytest.raises(DataError, match=r"Unexpected.*fc\.weight"):
        load(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_truncated_files_are_refused(name, official, bundle):
    path = bundle(name, file_of(name, official[0]), keep=0.7)
    with pytest.raises(DataError, match=r"weights\.pth: not readable"):
        load(name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"weights\.pth.*cut short"):
        load(name)


def test_a_file_with_code_in_it_is_not_run(bundle):
    bundle("barlow-imagenet", types.SimpleNamespace(weights=1))
    with pytest.raises(DataError, match=r"weights\.pth: holds objects besides"):
        load("barlow-imagenet")


@pytest.mark.parametrize("name", RESNETS)
def test_weights_that_are_not_here(name, empty):
    entry = load_manifest().entry(weights_entry(name))
    restricted = entry.access == "accept-licence"
    with pytest.raises(
        DataError, match=f"accept-licence {entry.name}" if restricted else "download fail"
    ):
        load(name)
    with pytest.raises(DataError, match=f"(?s)not on this machine.*data fetch {entry.name}"):
        initialisation_content(name)


@pytest.fixture(scope="module")
def lite0():
    """timm's own network, filled with the file in the package, and the file."""
    import timm

    file = read_torch(fetch.locate("efficientnet-lite0-imagenet").files[0])
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict({of_lite0(k).removeprefix("model."): v for k, v in file.items()})
    return network, file


@pytest.mark.parametrize(
    ("picture", "classes"), [("chelsea", (281, 282, 285)), ("coffee", (967,)), ("camera", (872,))]
)
def test_the_weights_from_the_package_name_a_cat_an_espresso_and_a_tripod(lite0, picture, classes):
    network, _ = lite0
    pixels = torch.from_numpy(getattr(data, picture)() / 255).float()
    pixels = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    side = min(pixels.shape[1:])
    square = transforms.functional.center_crop(pixels, side)
    small = transforms.functional.resize(square, [224, 224], antialias=True)
    with torch.inference_mode():
        scores = network((small[None] - 0.5) / 0.5)
    assert int(scores.argmax()) in classes


def test_the_encoder_of_the_package_is_the_network_of_timm(lite0):
    network, file = lite0
    saved = load("imagenet-lite0", spec=LITE0)
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        deepest = network.blocks(network.bn1(network.conv_stem(images)))
        assert torch.equal(forward_levels(saved.encoder, images)[-1], deepest)
    assert [value.shape for value in file.values()] == [
        value.shape for value in network.state_dict().values()
    ]
    assert saved.extra["provenance"]["source"] == "package"


def test_a_package_that_is_not_installed_or_damaged_is_named(monkeypatch, tmp_path):
    def nowhere(name):
        raise fetch.PackageNotFoundError(name)

    entry = load_manifest().entry("efficientnet-lite0-imagenet")
    damaged = tmp_path / entry.files[0].name
    damaged.write_bytes(b"anything")
    monkeypatch.setattr(fetch, "_package_paths", lambda _: (damaged,))
    with pytest.raises(DataError, match=r"has 8 bytes, expected 18,826,032.*force-reinstall"):
        load("imagenet-lite0")
    monkeypatch.undo()
    monkeypatch.setattr(fetch, "distribution", nowhere)
    with pytest.raises(DataError, match=f"not installed here.*pip install {entry.package}"):
        load("imagenet-lite0")


def test_only_an_accepted_licence_leads_to_a_download(empty):
    with pytest.raises(DataError, match="Lunit Public License"):
        load("barlow-pathology", accept_licences=frozenset({"barlow-twins-imagenet"}))
    with pytest.raises(DataError, match="no route to host"):
        load("barlow-pathology", accept_licences=frozenset({"lunit-bt-rn50"}))


@pytest.mark.parametrize("name", sorted(WITH_CLASSIFIER))
def test_a_file_with_another_checksum_is_fetched_again_and_not_used(name, empty):
    entry = load_manifest().entry(weights_entry(name))
    path = empty / "data" / entry.name / entry.files[0].name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="no route to host"):
        load(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_table_and_manifest_agree(name):
    entry = load_manifest().entry(weights_entry(name))
    assert entry.kind == "weights"
    assert len(entry.files) == 1
    assert "2307.03275" in {role.paper for role in entry.role}
    assert ("without fc" in entry.layout) == (not PUBLISHED[name].left_out)


def test_all_weights_of_the_manifest_are_loaded_or_it_says_that_they_are_not():
    entries = [one for one in load_manifest().entries.values() if one.kind == "weights"]
    loaded = {published.entry for published in PUBLISHED.values()} | set(PUBLISHED_VITS)
    assert loaded <= {entry.name for entry in entries}
    for entry in entries:
        said = any("not loaded by this project" in quirk for quirk in entry.quirks)
        assert said == (entry.name not in loaded), entry.name


def test_the_statistics_of_the_pathology_weights_are_those_of_the_manifest():
    published = PUBLISHED["barlow-pathology"]
    text = " ".join(load_manifest().entry(published.entry).quirks)
    for value in published.mean + published.std:
        assert f"{value:.8f}".lstrip("0") in text


@pytest.mark.parametrize(
    ("name", "theirs"), [("imagenet-v1", "IMAGENET1K_V1"), ("imagenet-v2", "IMAGENET1K_V2")]
)
def test_supervised_weights_are_those_that_torchvision_names(name, theirs):
    from torchvision.models import ResNet50_Weights

    weights = ResNet50_Weights[theirs]
    (file,) = load_manifest().entry(weights_entry(name)).files
    assert file.url == weights.url
    assert file.name == f"resnet50-{file.sha256}.pth"
    transforms = weights.transforms()
    assert PUBLISHED[name].mean == tuple(transforms.mean)
    assert PUBLISHED[name].std == tuple(transforms.std)


def test_random_weights_follow_their_seed():
    first, again, other = (load_initialisation("random", seed, SMALL) for seed in (0, 0, 1))
    weights = [saved.encoder.state_dict() for saved in (first, again, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    assert first.spec == SMALL
    assert (first.mean, first.std) == (PUBLISHED["imagenet-v1"].mean, PUBLISHED["imagenet-v1"].std)
    assert initialisation_content("random") == ""


def test_random_weights_are_a_resnet50_unless_asked_otherwise():
    saved = load("random")
    assert saved.spec == RESNET50
    expected = build_encoder(RESNET50, 0).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in saved.encoder.state_dict().items())


def test_random_weights_for_grey_images_have_no_statistics():
    with pytest.raises(ParameterError, match="channels=1"):
        load("random", spec=EncoderSpec("unet-4", 1))


def test_an_encoder_of_this_project_comes_with_its_own_statistics(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path))
    encoder = build_encoder(SMALL, 3)
    path = tmp_path / "mine.pt"
    save_encoder(path, encoder, SMALL, ((0.1, 0.2, 0.3), (1, 2, 3)), {"epoch": 7})
    saved = load(f"file:{path}")
    assert (saved.spec, saved.mean, saved.std) == (SMALL, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert saved.extra == {"epoch": 7}
    loaded = saved.encoder.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in encoder.state_dict().items())
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert initialisation_content(f"file:{path}") == expected
    with pytest.raises(ParameterError, match="'unet-4' with 3 channel"):
        load(f"file:{path}", spec=RESNET50)


def test_a_local_file_that_is_not_there_is_named(tmp_path):
    for call in (load, initialisation_content):
        with pytest.raises(DataError, match=r"none\.pt: no such file"):
            call(f"file:{tmp_path / 'none.pt'}")


def test_weights_of_another_encoder_are_refused_before_they_are_fetched(empty):
    with pytest.raises(ParameterError, match=r"'resnet50'.*'resnet18'"):
        load("imagenet-v1", spec=EncoderSpec("resnet18"))


@pytest.mark.parametrize("name", ["", "imagenet", "file:", "Random", "resnet50-imagenet-v1"])
def test_unknown_names_list_the_known_ones(name):
    with pytest.raises(ParameterError, match=r"random, imagenet-v1.*swav-pathology, or file:"):
        load(name)


def test_a_model_of_timm_joins_by_one_entry(bundle, monkeypatch):
    import timm

    theirs = timm.create_model("test_convnext").eval()
    row = Published(
        "mae-vit-base",
        spec=EncoderSpec("tu-test_convnext"),
        left_out=("head.", "norm_pre."),
        name_in_encoder=flattened,
    )
    monkeypatch.setitem(PUBLISHED, "mine", row)
    bundle("mine", theirs.state_dict())
    saved = load("mine")
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.stages(theirs.stem(images))
        assert torch.equal(forward_levels(saved.encoder, images)[-1], expected)
    monkeypatch.setitem(PUBLISHED, "mine", dataclasses.replace(row, left_out=()))
    with pytest.raises(DataError, match=r"Unexpected.*head"):
        load("mine")
