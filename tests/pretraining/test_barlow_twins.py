import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.models.encoders import EncoderSpec, build_encoder, load_encoder, normalise
from helpers.pretraining import twin
from helpers.pretraining.barlow_twins import (
    BarlowTwinsPlan,
    TwinNetwork,
    barlow_twins_terms,
    effective_rank,
    encoder_path,
    pretrain_barlow_twins,
    relative_spread,
)
from helpers.pretraining.supervised import channel_statistics
from helpers.pretraining.twin import TwinViews

UNET = EncoderSpec("unet-2")
PLAN = BarlowTwinsPlan(
    steps=6,
    batch_size=8,
    learning_rate=3e-3,
    projector=(8, 8, 8),
    checkpoint_every=2,
    look_every=3,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def embeddings(n=7, d=5, seed=0):
    return torch.randn((2, n, d), generator=generator(seed), dtype=torch.float64)


def textures(n, seed):
    """Coloured gratings, each with an angle, a wavelength and two colours of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    images = np.empty((n, 32, 32, 3))
    for image in images:
        angle, wavelength, phase = rng.uniform((0, 3, 0), (np.pi, 16, 2 * np.pi))
        way = x * np.cos(angle) + y * np.sin(angle)
        wave = (1 + np.sin(2 * np.pi * way / wavelength + phase))[..., None] / 2
        dark, light = rng.uniform(0, 255, (2, 3))
        image[:] = dark + (light - dark) * wave + rng.normal(0, 8, (32, 32, 3))
    return images.clip(0, 255).astype(np.uint8)


IMAGES = textures(20, 0)


def run(folder, plan=PLAN, on_step=None, seed=0, images=IMAGES, spec=UNET):
    return pretrain_barlow_twins(images, spec, plan, seed, folder, on_step)


def weights(folder, step):
    return load_encoder(encoder_path(folder, step)).encoder.state_dict()


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def files(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def without_time(log):
    return dataclasses.replace(log, seconds=0.0)


class Killed(Exception):
    pass


def kill_at(step):
    def callback(done, loss):
        if done == step:
            raise Killed

    return callback


def never(done, loss):
    raise AssertionError


def looped_terms(z_a, z_b):
    """Equations 1 and 2, entry by entry."""
    n, d = z_a.shape
    a, b = (np.array(z) - np.array(z).mean(axis=0) for z in (z_a, z_b))
    invariance = redundancy = 0.0
    for i in range(d):
        for j in range(d):
            above = sum(a[k, i] * b[k, j] for k in range(n)) / n
            below = math.sqrt((a[:, i] ** 2).mean() + 1e-5) * math.sqrt(
                (b[:, j] ** 2).mean() + 1e-5
            )
            entry = above / below
            if i == j:
                invariance += (1 - entry) ** 2
            else:
                redundancy += entry**2
    return invariance, redundancy


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 5), (7, 5), (9, 1), (5, 12)])
def test_the_loss_is_the_formula(n, d):
    z_a, z_b = embeddings(n, d)
    invariance, redundancy = looped_terms(z_a, z_b)
    found = barlow_twins_terms(z_a, z_b)
    assert [float(one) for one in found] == pytest.approx([invariance, redundancy], abs=1e-12)


def test_the_loss_of_known_correlations():
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    one, twice = signs, signs[:, :1].repeat(1, 2)
    cases = {
        (0, 0): (one, one),  # independent dimensions, equal views
        (0, 2): (twice, twice),  # two dimensions that say the same
        (2, 2): (one, one.flip(1)),  # the views' dimensions exchanged
        (8, 0): (one, -one),
    }
    for expected, (z_a, z_b) in cases.items():
        found = [float(term) for term in barlow_twins_terms(z_a, z_b)]
        assert found == pytest.approx(expected, abs=2e-4)


def test_constant_dimensions_count_one_each_and_have_a_finite_gradient():
    z_a, z_b = embeddings(6, 4)
    z_a[:, 1] = 3.0
    z_b[:, 1] = 3.0
    z_a[:, 2] = 0.0
    kept = [0, 3]
    reduced = [float(term) for term in barlow_twins_terms(z_a[:, kept], z_b[:, kept])]
    z_a.requires_grad_()
    invariance, redundancy = barlow_twins_terms(z_a, z_b)
    assert float(invariance.detach()) == pytest.approx(reduced[0] + 2)
    assert float(redundancy.detach()) > reduced[1]  # z_b[:, 2] still varies
    (invariance + redundancy).backward()
    assert torch.isfinite(z_a.grad).all()
    collapsed = torch.ones(6, 4)
    assert [float(term) for term in barlow_twins_terms(collapsed, collapsed)] == [4, 0]


def test_effective_rank_of_known_spectra():
    q, _ = torch.linalg.qr(torch.randn((40, 5), generator=generator(), dtype=torch.float64))
    q = torch.linalg.qr(q - q.mean(dim=0))[0]  # orthonormal and centred
    for values in ([1.0] * 5, [1.0] * 3 + [0.0] * 2, [1.0, 0, 0, 0, 0], [4.0, 2, 1, 0.5, 0.25]):
        p = np.array([v for v in values if v]) / sum(values)
        vectors = q @ torch.diag(torch.tensor(values).double()) + 3
        assert effective_rank(vectors) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert effective_rank(torch.full((9, 4), 0.7)) == 0
    assert effective_rank(torch.zeros(9, 4)) == 0


def test_spread_is_none_when_all_are_equal_and_one_when_they_are_random():
    assert relative_spread(torch.full((9, 4), 0.7)) == pytest.approx(0, abs=1e-6)
    assert relative_spread(torch.randn((2000, 64), generator=generator())) == pytest.approx(1, 0.02)
    near = 1 + 0.01 * torch.randn((200, 64), generator=generator())
    assert relative_spread(near) < 0.02


def test_the_network_is_encoder_mean_and_three_layers():
    network = TwinNetwork(build_encoder(UNET, 0), (6, 7, 4), 0).eval()
    kinds = [type(layer) for layer in network.projector]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [*block, *block, nn.Linear]
    linear = [layer for layer in network.projector if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(6, 32), (7, 6), (4, 7)]
    assert all(layer.bias is None for layer in linear)
    images = torch.rand((3, 3, 32, 32), generator=generator())
    pooled = network.encoder(images)[-1].mean(dim=(2, 3))
    assert torch.equal(network(images), network.projector(pooled))


def pairs(saved, images):
    """Pooled features of two views of each image, centred and of length 1: (2, n, c)."""
    views = TwinViews(32).apply(images, generator(9))
    with torch.inference_mode():
        maps = [saved.encoder(normalise(view, saved.mean, saved.std))[-1] for view in views]
    features = torch.stack([one.mean(dim=(2, 3)) for one in maps])
    centred = features - features.mean(dim=(0, 1))
    return nn.functional.normalize(centred, dim=2)


def margin(saved, images):
    """How much more alike two views of one image are than views of two (cosines)."""
    first, second = pairs(saved, images)
    cosines = first @ second.T
    n = len(cosines)
    own = cosines.diagonal().mean()
    return float(own - (cosines.sum() - cosines.trace()) / (n * (n - 1)))


def test_views_of_one_image_come_nearer_than_views_of_two(tmp_path, monkeypatch):
    monkeypatch.setattr(twin, "SMALLEST_CROP", 0.3)
    plan = dataclasses.replace(
        PLAN,
        steps=40,
        batch_size=32,
        learning_rate=0.03,
        projector=(16, 16, 16),
        trade_off=0.02,
        look_every=20,
    )
    log = run(tmp_path, plan, images=textures(128, 1))
    for values in (log.losses, log.invariance):
        assert np.mean(values[-10:]) < 0.75 * np.mean(values[:5])
    unseen = torch.from_numpy(textures(64, 2)).permute(0, 3, 1, 2) / 255
    start, end = (
        margin(load_encoder(encoder_path(tmp_path, step)), unseen) for step in (0, plan.steps)
    )
    assert end > start + 0.1
    assert [look.step for look in log.looks] == [0, 20, 40]
    assert log.looks[-1].representation_rank > 2
    assert log.looks[-1].embedding_spread > 0.3


def test_losses_are_the_sum_of_the_logged_terms(tmp_path):
    plan = dataclasses.replace(PLAN, trade_off=0.02)
    log = run(tmp_path, plan)
    assert len(log.losses) == len(log.invariance) == len(log.redundancy) == plan.steps
    expected = np.array(log.invariance) + 0.02 * np.array(log.redundancy)
    np.testing.assert_allclose(log.losses, expected, rtol=1e-5)
    assert log.seconds > 0


def test_a_look_measures_the_images_as_they_are(tmp_path):
    log = run(tmp_path)
    saved = load_encoder(encoder_path(tmp_path, PLAN.steps))
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        maps = saved.encoder(normalise(pixels, saved.mean, saved.std))
    pooled = maps[-1].mean(dim=(2, 3))
    look = log.looks[-1]
    assert look.representation_spread == pytest.approx(relative_spread(pooled), rel=1e-4)
    assert look.representation_rank == pytest.approx(effective_rank(pooled), rel=1e-3)


def test_a_collapse_is_seen(tmp_path):
    """Identical images: no image can be told from another, whatever is learnt."""
    flat = np.repeat(IMAGES[:1], 16, axis=0)
    log = run(tmp_path, images=flat)
    for look in log.looks:
        assert look.representation_rank == look.embedding_rank == 0
        assert look.embedding_spread == pytest.approx(0, abs=1e-3)


def test_encoders_of_the_planned_steps_are_kept_and_the_first_is_random(tmp_path):
    log = run(tmp_path)
    names = [f"encoder-00000{step}.pt" for step in (0, 6)]
    assert log.kept == [0, 6]
    assert files(tmp_path) == [*names, "log.json"]
    assert same(weights(tmp_path, 0), build_encoder(UNET, 0).state_dict())
    assert not same(weights(tmp_path, 0), weights(tmp_path, 6))
    saved = load_encoder(tmp_path / names[1])
    assert saved.extra == {"step": 6}
    assert (saved.mean, saved.std) == channel_statistics(IMAGES)
    recorded = json.loads((tmp_path / "log.json").read_text())
    assert recorded["finished"]
    assert recorded["log"]["losses"] == log.losses


CASES = {
    "natural": PLAN,
    "pathology": dataclasses.replace(PLAN, setting="pathology"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CASES}
    for name, plan in CASES.items():
        run(folders[name], plan)
    return folders


@pytest.mark.parametrize(
    ("step", "every", "name"),
    [
        *((step, 2, "natural") for step in (1, 2, 3, 6)),
        (5, 0, "natural"),
        (5, 3, "natural"),
        (4, 1, "pathology"),
    ],
)
def test_a_run_killed_after_any_step_ends_with_the_same_weights(tmp_path, whole, step, every, name):
    plan = dataclasses.replace(CASES[name], checkpoint_every=every)
    with pytest.raises(Killed):
        run(tmp_path, plan, kill_at(step))
    torch.manual_seed(123)  # draws of others do not matter
    seen = []
    log = run(tmp_path, plan, lambda done, loss: seen.append((done, loss)))
    resumed = 0 if every == 0 else (step - 1) // every * every
    assert [done for done, _ in seen] == list(range(resumed + 1, 7))
    assert [loss for _, loss in seen] == log.losses[resumed:]
    for kept in (0, 6):
        assert same(weights(whole[name], kept), weights(tmp_path, kept))
    assert without_time(log) == without_time(run(whole[name], CASES[name], never))


def test_memory_mapped_images_are_the_same_images(tmp_path, whole):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    run(tmp_path / "run", images=mapped)
    assert same(weights(whole["natural"], 6), weights(tmp_path / "run", 6))


def test_every_epoch_sees_each_image_once_at_most(tmp_path, monkeypatch):
    seen = []

    class Watched(np.ndarray):
        def __getitem__(self, rows):
            if isinstance(rows, np.ndarray) and rows.shape == (PLAN.batch_size,):
                seen.append(rows.tolist())
            return np.asarray(self).__getitem__(rows)

    run(tmp_path, dataclasses.replace(PLAN, look_every=0), images=IMAGES.view(Watched))
    # 20 images: two batches of 8 an epoch. Looks read 8, 8 and 4 in order.
    drawn = [rows for rows in seen if rows != sorted(rows)]
    assert len(drawn) == PLAN.steps
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert len({*first, *second}) == 16
    assert drawn[0] != drawn[2]


def test_a_finished_run_is_not_repeated_and_its_files_are_missed(tmp_path):
    log = run(tmp_path)
    assert run(tmp_path, on_step=never) == log
    encoder_path(tmp_path, 6).unlink()
    with pytest.raises(DataError, match=r"encoder-000006\.pt: is missing"):
        run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"plan": dataclasses.replace(PLAN, steps=7)},
        {"images": textures(20, 7)},
        {"spec": EncoderSpec("unet-3")},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("begun", [True, False])
def test_the_folder_of_another_pretraining_is_refused(tmp_path, whole, change, begun):
    folder = whole["natural"]
    if begun:
        folder = tmp_path
        with pytest.raises(Killed):
            run(folder, on_step=kill_at(3))
        (folder / "log.json").unlink()
    before = files(folder)
    with pytest.raises(DataError, match="belongs to another pretraining"):
        run(folder, **change)
    assert files(folder) == before


@pytest.mark.parametrize("name", ["checkpoint.pt", "log.json"])
def test_damaged_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=name):
        run(tmp_path)


def test_all_is_kept_that_a_checkpoint_needs_and_nothing_else(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, on_step=kill_at(5))
    kept = ["checkpoint.pt", "encoder-000000.pt", "log.json"]
    assert files(tmp_path) == kept
    assert not json.loads((tmp_path / "log.json").read_text())["finished"]
    assert set(read_torch(tmp_path / "checkpoint.pt")) == {
        "identity", "network", "optimiser", "log",
    }  # fmt: skip


def test_grey_encoders_and_bfloat16_learn_too(tmp_path):
    plan = dataclasses.replace(PLAN, precision="bfloat16")
    log = run(tmp_path / "b", plan, spec=EncoderSpec("unet-2", 1))
    exact = run(tmp_path / "f", spec=EncoderSpec("unet-2", 1))
    # Later steps differ more: batches of 8 are normalised, which makes small differences large.
    assert log.losses[0] == pytest.approx(exact.losses[0], rel=0.1)
    assert log.losses != exact.losses
    assert len(load_encoder(encoder_path(tmp_path / "b", 6)).mean) == 1


def test_divergence_names_the_learning_rate(tmp_path):
    wild = dataclasses.replace(PLAN, learning_rate=1e30, steps=20, warmup_share=0)
    with pytest.raises(ParameterError, match=r"diverged in step \d+: .*learning_rate"):
        run(tmp_path, wild)


def test_fewer_images_than_a_batch_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="batch_size=8: more than the 7"):
        run(tmp_path, images=IMAGES[:7])
