import numpy as np
import pytest
import torch

from helpers.data import fetch
from helpers.errors import DataError, ParameterError
from helpers.features.embed import EmbedSettings, embed
from helpers.features.encoders import (
    local_mae,
    published_vit,
    random_like,
    read_weights,
    timm_encoder,
)
from helpers.models.mae import MaeArchitecture, build_mae, save_mae

TINY = MaeArchitecture(size=32, patch=8, width=16, depth=2, heads=2, decoder_width=8)


def transformer_state(width, patch, tokens):
    """Random numbers under the names and shapes of a published ViT of 12 blocks."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    rows = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 4, "mlp.fc2": 1}
    for n in range(12):
        for part, times in rows.items():
            columns = 4 * width if part == "mlp.fc2" else width
            shapes[f"blocks.{n}.{part}.weight"] = (times * width, columns)
            shapes[f"blocks.{n}.{part}.bias"] = (times * width,)
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{n}.{norm}.weight": (width,), f"blocks.{n}.{norm}.bias": (width,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.empty(shape).uniform_(-0.03, 0.03, generator=generator)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    state = transformer_state(768, 16, 197)
    folder = tmp_path_factory.mktemp("official")
    torch.save({"model": state}, folder / "mae_pretrain_vit_base.pth")
    return folder, state


@pytest.fixture
def local(tmp_path):
    path = tmp_path / "mae.pt"
    save_mae(path, build_mae(TINY, 0), (0.3, 0.2), steps=5)
    return path


def arrives_from(path, monkeypatch):
    """Calls of ``locate``, which finds this file whatever is asked for."""
    asked = []

    def locate(name, *, accept_licences, progress):
        asked.append((name, accept_licences))
        return fetch.Located(name, path.parent, "download", True, "", "", (path,))

    monkeypatch.setattr(fetch, "locate", locate)
    return asked


def test_official_weights_arrive_where_they_belong(official, monkeypatch):
    folder, state = official
    asked = arrives_from(folder / "mae_pretrain_vit_base.pth", monkeypatch)
    encoder = published_vit("mae-vit-base", frozenset({"mae-vit-base"}))
    assert asked == [("mae-vit-base", {"mae-vit-base"})]
    assert (encoder.size, encoder.channels, encoder.dimension) == (224, 3, 768)
    assert encoder.mean == (0.485, 0.456, 0.406)
    assert encoder.std == (0.229, 0.224, 0.225)
    loaded = encoder.module.state_dict()
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert not any(p.requires_grad for p in encoder.module.parameters())


@pytest.mark.parametrize(("patch", "tokens"), [(16, 197), (8, 785)])
def test_transformers_for_histology_have_their_own_inputs(patch, tokens, tmp_path, monkeypatch):
    state = transformer_state(384, patch, tokens)
    path = tmp_path / f"dino_vit_small_patch{patch}_ep200.torch"
    torch.save(state, path)
    arrives_from(path, monkeypatch)
    encoder = published_vit(f"lunit-dino-vits{patch}")
    assert (encoder.size, encoder.channels, encoder.dimension) == (224, 3, 384)
    assert encoder.mean == (0.70322989, 0.53606487, 0.66096631)
    assert encoder.module.blocks[0].attn.num_heads == 6
    loaded = encoder.module.state_dict()
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    torch.save({name: value for name, value in state.items() if name != "norm.bias"}, path)
    with pytest.raises(DataError, match=r"norm\.bias"):
        published_vit(f"lunit-dino-vits{patch}")


def test_the_licence_must_be_accepted_first(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    with pytest.raises(DataError, match="CC BY-NC"):
        published_vit("mae-vit-base")


def test_an_encoder_of_timm_from_a_file_with_a_classifier(tmp_path):
    import timm

    model = timm.create_model("test_vit", num_classes=7).eval()
    path = tmp_path / "w.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    encoder = timm_encoder("test_vit", path)
    assert encoder.name == "test_vit (w.pt)"
    image = torch.rand(2, 3, encoder.size, encoder.size)
    with torch.inference_mode():
        tokens = encoder.module.forward_features(image)
        torch.testing.assert_close(tokens, model.forward_features(image))


def test_safetensors_and_torch_files_hold_the_same(tmp_path):
    from safetensors.torch import save_file

    state = timm_encoder("test_vit").module.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.safetensors.pt")
    first = timm_encoder("test_vit", tmp_path / "w.safetensors")
    second = timm_encoder("test_vit", tmp_path / "w.safetensors.pt")
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True)
    )
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(DataError, match=r"broken\.safetensors"):
        read_weights(tmp_path / "broken.safetensors")


def test_keys_that_do_not_fit_are_named(tmp_path):
    state = timm_encoder("test_vit").module.state_dict()
    path = tmp_path / "w.pt"
    del state["norm.bias"]
    state["mask_token"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(DataError) as caught:
        timm_encoder("test_vit", path)
    message = str(caught.value)
    assert "w.pt" in message
    assert "missing: norm.bias" in message
    assert "unexpected: mask_token" in message
    assert "norm.weight (3,) instead of (64,)" in message
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="holds list"):
        timm_encoder("test_vit", path)


def test_random_encoders_say_so_and_follow_their_seed():
    state = torch.random.get_rng_state()
    first, second, other = (timm_encoder("test_vit", seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.name == "test_vit (random, seed 0)"
    assert first.fingerprint == second.fingerprint
    assert len({first.fingerprint, other.fingerprint}) == 2


def test_an_unknown_model_is_named():
    with pytest.raises(ParameterError, match="vit_of_nobody"):
        timm_encoder("vit_of_nobody")


def test_a_local_encoder_gives_the_tokens_of_the_autoencoder(local):
    encoder = local_mae(local)
    assert encoder.name == "in_house_mae_16x2_patch8_32 (5 steps)"
    assert (encoder.mean, encoder.std, encoder.dimension) == ((0.3,), (0.2,), 16)
    images = torch.rand(2, 1, 32, 32)
    everything = torch.arange(16).expand(2, -1)
    with torch.inference_mode():
        torch.testing.assert_close(
            encoder.module.forward_features(images), build_mae(TINY, 0).encode(images, everything)
        )


def test_the_untrained_counterpart_is_drawn_as_the_pretraining_draws(local):
    encoder = local_mae(local)
    fresh = random_like(encoder, seed=1)
    assert fresh.name == "in_house_mae_16x2_patch8_32 (random, seed 1)"
    assert fresh.fingerprint == random_like(encoder, seed=1).fingerprint
    start = build_mae(TINY, 5).encoder.state_dict()
    for name, value in fresh.module.state_dict().items():
        if value.numel() > 200 and name != "pos_embed":
            assert not torch.equal(value, encoder.module.state_dict()[name])
            assert value.std().item() == pytest.approx(start[name].std().item(), rel=0.2)
    assert torch.equal(fresh.module.pos_embed, encoder.module.pos_embed)
    with pytest.raises(ParameterError, match="local_mae"):
        random_like(timm_encoder("test_vit"))


def test_files_that_are_no_autoencoder_are_refused(tmp_path, local):
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"other\.pt"):
        local_mae(tmp_path / "other.pt")
    state = torch.load(local, weights_only=True)
    del state["weights"]["encoder.norm.bias"]
    torch.save(state, local)
    with pytest.raises(DataError, match=r"missing: norm\.bias"):
        local_mae(local)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_any_network_of_timm_embeds(name):
    encoder = timm_encoder(name)
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
    features = embed([image], encoder, EmbedSettings())
    assert features.shape == (1, encoder.dimension)
