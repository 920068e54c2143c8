import numpy as np
import pytest
import torch

from helpers.errors import ParameterError
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
from tests.models.tiny_encoder import TinyEncoder

CHANNELS = (16, 16, 16)


def tiny(n_classes=3, seed=0, encoder_seed=0, decoder="unet", **more):
    return build_segmenter(TinyEncoder(encoder_seed, **more), n_classes, seed, decoder, CHANNELS)


def images(n=2, height=32, width=32, seed=0):
    return torch.randn((n, 3, height, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decoder", ["unet", "attention"])
@pytest.mark.parametrize("shape", [(32, 32), (40, 24), (33, 47), (9, 70)])
def test_the_output_has_the_size_of_the_input(decoder, shape):
    assert tiny(decoder=decoder)(images(2, *shape)).shape == (2, 3, *shape)


def test_an_odd_size_is_the_same_as_padding_by_hand():
    model = tiny().eval()
    small = images(1, 30, 29)
    padded = torch.nn.functional.pad(small, (1, 2, 1, 1), mode="replicate")
    with torch.no_grad():
        expected = model(padded)[..., 1:31, 1:30]
        torch.testing.assert_close(model(small), expected, rtol=0, atol=0)


def test_the_decoder_depends_on_its_seed_and_not_on_the_encoder():
    first, second = tiny(encoder_seed=0), tiny(encoder_seed=1)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True)
    )
    for part in ("decoder", "head"):
        one, two, other = (
            getattr(model, part).state_dict() for model in (first, second, tiny(seed=1))
        )
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_global_generator_as_it_was():
    encoder = TinyEncoder()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_segmenter(encoder, 3, 0, "attention", CHANNELS)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_frozen_encoder_stays_in_evaluation_mode_and_without_gradient():
    model = tiny(dropout=0.5)
    freeze_encoder(model)
    assert model.train() is model
    assert model.decoder.training
    assert not any(module.training for module in model.encoder.modules())
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    decoder = {name: value.clone() for name, value in model.decoder.state_dict().items()}
    model(images() * 3 + 1).sum().backward()
    assert all(torch.equal(before[name], v) for name, v in model.encoder.state_dict().items())
    assert not all(torch.equal(decoder[name], v) for name, v in model.decoder.state_dict().items())
    assert all(p.grad is None for p in model.encoder.parameters())
    assert any(p.grad is not None for p in model.decoder.parameters())
    model.eval()
    assert not model.decoder.training


def test_freezing_does_not_put_the_rest_in_training_mode():
    model = tiny().eval()
    freeze_encoder(model)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_predictions_are_the_most_likely_classes_whatever_the_batch(batch):
    model = tiny()
    pixels = images(5).numpy()
    found = predict_classes(model, pixels, batch)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(pixels)).argmax(dim=1)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32
    assert len(np.unique(found)) > 1


def test_prediction_works_in_bfloat16():
    model = tiny()
    pixels = images(2).numpy()
    exact, rough = (
        predict_classes(model, pixels, precision=name) for name in ("float32", "bfloat16")
    )
    assert np.mean(exact == rough) > 0.95


def test_it_fits_the_librarys_encoders():
    from segmentation_models_pytorch.encoders import get_encoder

    encoder = get_encoder("resnet18", weights=None)
    model = build_segmenter(encoder, 4, 0)
    with torch.no_grad():
        assert model(images(2, 40, 64)).shape == (2, 4, 40, 64)
    assert model.stride == 32


def test_a_swin_encoder_gets_the_same_decoder():
    from segmentation_models_pytorch.encoders import get_encoder

    small = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
    encoder = get_encoder("tu-swin_tiny_patch4_window7_224", weights=None, img_size=64, **small)
    model = build_segmenter(encoder, 2, 0, decoder_channels=(32, 16, 16, 16, 16))
    freeze_encoder(model)
    model.train()(images(2, 64, 64)).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())


def test_attention_needs_channels():
    with pytest.raises(ParameterError, match="attention needs 16"):
        build_segmenter(TinyEncoder(), 3, 0, "attention", (16, 16, 8))
