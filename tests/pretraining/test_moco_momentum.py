"""The loss against a loop, gradients against formulas, normalisation against separate passes."""

import copy
import dataclasses
import math
from collections import deque

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from helpers.errors import ParameterError
from helpers.models.encoders import EncoderSpec, build_encoder
from helpers.pretraining.moco import MocoPlan
from helpers.pretraining.momentum import (
    EMPTY,
    MomentumContrast,
    contrastive_logits,
    contrastive_loss,
    grouped_statistics,
    key_order,
    normalises_over_batch,
)

PLAN = MocoPlan(1, 8, dim=6, key_momentum=0.9, groups=2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def units(n, d, seed=0):
    drawn = torch.randn((n, d), generator=generator(seed), dtype=torch.float64)
    return nn.functional.normalize(drawn, dim=1)


def images(n=8, seed=0, side=16):
    return torch.rand((n, 3, side, side), generator=generator(seed))


class Maps(nn.Module):
    """A backbone as small as can be: two maps."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, 2)
        self.norm = norm(4)
        self.out_channels = (3, 4)

    def forward(self, images):
        return [images, self.norm(self.convolution(images))]


def contrast(plan=PLAN, norm=nn.BatchNorm2d, seed=0, queue=16):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = Maps(norm)
    return MomentumContrast(backbone, plan, queue, seed)


def ids(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def numbers(start, n=8):
    return torch.arange(start, start + n)


def looped_loss(queries, keys, queue, temperature, excluded):
    """Equation 1, query by query and number by number."""
    total = 0.0
    for i, query in enumerate(queries.tolist()):

        def similar(key, query=query):
            return math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / temperature)

        positive = similar(keys[i].tolist())
        negatives = [
            similar(key) for j, key in enumerate(queue.tolist()) if not bool(excluded[i, j])
        ]
        total -= math.log(positive / (positive + sum(negatives)))
    return total / len(queries)


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (5, 3, 7), (4, 8, 30)])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_loss_is_the_formula(n, d, k, temperature, share):
    queries, keys, queue = units(n, d, 1), units(n, d, 2), units(k, d, 3)
    excluded = torch.rand((n, k), generator=generator()) < share
    logits = contrastive_logits(queries, keys, queue, temperature, excluded)
    expected = looped_loss(queries, keys, queue, temperature, excluded)
    assert logits.shape == (n, 1 + k)
    assert float(contrastive_loss(logits)) == pytest.approx(expected, abs=1e-12)


def test_the_loss_of_known_similarities():
    one = torch.eye(4, dtype=torch.float64)
    same = one[:1].repeat(9, 1)
    # All alike: no better than guessing. Negatives at right angles, or opposite.
    for queue, expected in (
        (same, math.log(10)),
        (one[1:2].repeat(9, 1), math.log(1 + 9 * math.exp(-5))),
        (-same, math.log(1 + 9 * math.exp(-10))),
    ):
        loss = contrastive_loss(contrastive_logits(same[:2], same[:2], queue))
        assert float(loss) == pytest.approx(expected)


def test_the_gradient_of_queries_is_that_of_the_formula():
    """(sum_i p_i k_i - k+) / (n T), p the softmax over positive and negatives."""
    queries, keys, queue = units(5, 3, 1).requires_grad_(), units(5, 3, 2), units(9, 3, 3)
    excluded = torch.rand((5, 9), generator=generator()) < 0.3
    logits = contrastive_logits(queries, keys, queue, 0.2, excluded)
    contrastive_loss(logits).backward()
    for i in range(5):
        candidates = torch.cat([keys[i : i + 1], queue[~excluded[i]]])
        p = torch.softmax(candidates @ queries[i].detach() / 0.2, dim=0)
        expected = ((p[:, None] * candidates).sum(dim=0) - keys[i]) / (5 * 0.2)
        torch.testing.assert_close(queries.grad[i], expected)

    def loss(q):
        return contrastive_loss(contrastive_logits(q, keys, queue, 0.2, excluded))

    assert torch.autograd.gradcheck(loss, queries.detach().clone().requires_grad_())


@pytest.mark.parametrize(
    ("q", "k", "queue"),
    [((3, 4), (2, 4), (5, 4)), ((3, 4), (3, 4), (5, 3)), ((3, 4),) * 2 + ((4,),)],
)
def test_embeddings_that_do_not_fit_are_refused(q, k, queue):
    with pytest.raises(ParameterError, match="expected"):
        contrastive_logits(torch.zeros(q), torch.zeros(k), torch.zeros(queue))
    with pytest.raises(ParameterError, match="temperature=0"):
        contrastive_logits(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(4, 3), 0)


def plain_embeddings(network, views, groups):
    """Groups of images one after the other through a copy; the copy's statistics are not used."""
    return nn.functional.normalize(torch.cat([network(views[rows]) for rows in groups]), dim=1)


def filled(plan=PLAN, norm=nn.BatchNorm2d):
    """After two steps without an optimiser, the queue is full of keys of images 100 to 115."""
    model = contrast(plan, norm)
    with torch.no_grad():
        for parameter in model.query.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator())
    for step in range(2):
        model(images(seed=step), images(seed=step + 10), numbers(100 + 8 * step))
    return model


def test_loss_and_query_gradient_are_those_of_separate_passes():
    model = filled()
    plain = copy.deepcopy(model)
    first, second = images(seed=5), images(seed=6)
    loss, matches = model(first, second, numbers(0))
    loss.backward()
    with torch.no_grad():
        for key, query in zip(plain.key.parameters(), plain.query.parameters(), strict=True):
            key.copy_(0.9 * key + 0.1 * query)
        keys = torch.empty(8, 6)
        turns = [list(range(0, 8, 2)), list(range(1, 8, 2))]
        keys[turns[0] + turns[1]] = plain_embeddings(plain.key, second, turns)
    queries = plain_embeddings(plain.query, first, [list(range(4)), list(range(4, 8))])
    nothing = torch.zeros(8, 16, dtype=torch.bool)
    expected = looped_loss(queries, keys, plain.queue, 0.2, nothing)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    contrastive_loss(contrastive_logits(queries, keys, plain.queue)).backward()
    for (name, p), q in zip(model.query.named_parameters(), plain.query.parameters(), strict=True):
        assert p.grad.abs().sum() > 0 or name.endswith("convolution.bias")
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6)
    own = (queries * keys).sum(dim=1)
    best = (queries @ plain.queue.T).amax(dim=1)
    assert float(matches) == pytest.approx(float((own > best).float().mean()))


def test_no_gradient_reaches_the_key_encoder_nor_its_views():
    model = filled()
    first, second = images(seed=5).requires_grad_(), images(seed=6).requires_grad_()
    loss, _ = model(first, second, numbers(0))
    loss.backward()
    assert first.grad.abs().sum() > 0
    assert second.grad is None
    assert all(p.grad is None and not p.requires_grad for p in model.key.parameters())
    assert not model.queue.requires_grad
    optimised = {id(p) for p in model.query.parameters()}
    assert not optimised & {id(p) for p in model.key.parameters()}


def test_the_key_encoder_follows_by_one_minus_m():
    model = contrast()
    with torch.no_grad():
        for parameter in model.query.parameters():
            parameter += 1
    start = [p.clone() for p in model.key.parameters()]
    for _ in range(3):
        model(images(), images(seed=1), numbers(0))
    for before, key, query in zip(
        start, model.key.parameters(), model.query.parameters(), strict=True
    ):
        torch.testing.assert_close(key, before + (1 - 0.9**3) * (query - before))


@pytest.mark.parametrize("length", [8, 12, 16, 20])
def test_the_queue_keeps_the_newest_keys_in_turn(length, monkeypatch):
    """Against a list that drops from its end, also where its length is no multiple of a batch."""
    model = contrast(queue=length)
    expected = deque(maxlen=length)
    given = []
    monkeypatch.setattr(model, "_embed", lambda network, views: given[-1])
    for step in range(7):
        n = 8 if step % 3 else 4
        given.append(units(8, 6, step).float()[:n])
        model(images(n), images(n), numbers(8 * step, n))
        # Keys are embedded in another order and put back.
        keys = torch.empty(n, 6)
        keys[key_order(n, 2)] = given[-1]
        expected.extend((8 * step + i, keys[i].tolist()) for i in range(n))
        held = {int(i): row.tolist() for i, row in zip(model.queue_ids, model.queue, strict=True)}
        held.pop(EMPTY, None)
        assert held == dict(expected)


def test_keys_of_the_own_image_and_empty_places_are_no_negatives():
    model = contrast()
    loss, matches = model(images(), images(seed=1), numbers(0))
    assert (float(loss.detach()), float(matches)) == (0, 1)  # nothing to tell it from
    known = model.queue[:8].clone()
    plain = copy.deepcopy(model)
    queries, keys = {}, {}
    for name, one in (("fresh", numbers(50)), ("some", ids(3, 3, 1, 90, 91, 92, 93, 7))):
        model.load_state_dict(plain.state_dict())
        loss, _ = model(images(seed=2), images(seed=3), one)
        queries[name] = float(loss.detach())
        keys[name] = model.queue[8:].clone()
    assert torch.equal(keys["fresh"], keys["some"])
    plain.follow()
    embedded = plain._embed(plain.query, images(seed=2)).detach()
    excluded = torch.zeros(8, 8, dtype=torch.bool)
    for query, key in ((0, 3), (1, 3), (2, 1), (7, 7)):
        excluded[query, key] = True
    for name, mask in (("fresh", excluded & False), ("some", excluded)):
        expected = looped_loss(embedded, keys[name], known, 0.2, mask)
        assert queries[name] == pytest.approx(expected, rel=1e-5)
    assert queries["some"] < queries["fresh"]


def companies(model, which, n):
    """Which images change the embedding of each image when they are changed: its group."""
    base = images(n, seed=1, side=8)
    network = model.query if which == "query" else model.key
    order = torch.arange(n) if which == "query" else key_order(n, model.plan.groups)

    def embedded(views):
        return model._embed(network, views[order])[order.argsort()].detach()

    before = embedded(base)
    found = [set() for _ in range(n)]
    for changed in range(n):
        views = base.clone()
        views[changed] = 1 - views[changed] ** 2
        moved = (embedded(views) - before).abs().amax(dim=1) > 1e-7
        for image in moved.nonzero()[:, 0].tolist():
            found[image].add(changed)
    return found


@pytest.mark.parametrize(("n", "groups"), [(4, 2), (8, 2), (16, 4), (16, 8), (18, 3), (32, 8)])
def test_query_and_key_of_an_image_are_normalised_in_different_company(n, groups):
    model = contrast(MocoPlan(1, n, dim=6, groups=groups), queue=64)
    queries, keys = companies(model, "query", n), companies(model, "key", n)
    for image in range(n):
        assert len(queries[image]) == len(keys[image]) == n // groups
        assert image in queries[image] & keys[image]
        assert queries[image] != keys[image]
        assert len(queries[image] & keys[image]) <= math.ceil(n / groups**2)
    assert sorted(key_order(n, groups).tolist()) == list(range(n))


def test_the_step_uses_that_company(monkeypatch):
    """Which images the two networks get together, seen from inside."""
    model = contrast(MocoPlan(1, 16, dim=6, groups=4))
    marked = torch.arange(16.0).reshape(16, 1, 1, 1).expand(16, 3, 16, 16)
    seen = []
    plain = nn.BatchNorm2d.forward
    model.query.encoder.convolution = model.key.encoder.convolution = nn.Identity()

    def watch(layer, part):
        seen.append(set(part[:, 0, 0, 0].int().tolist()))
        return plain(layer, torch.randn(len(part), 4, 3, 3))

    monkeypatch.setattr(nn.BatchNorm2d, "forward", watch)
    model._average = lambda *_: None
    model(marked, marked, numbers(0, 16))
    assert seen[:4] == [set(range(4 * g, 4 * g + 4)) for g in range(4)]
    assert seen[4:] == [set(range(g, 16, 4)) for g in range(4)]


@pytest.mark.parametrize(
    "make",
    [
        nn.BatchNorm2d,
        lambda n: nn.BatchNorm2d(n, momentum=None),
        lambda n: nn.BatchNorm2d(n, affine=False),
        lambda n: nn.BatchNorm2d(n, track_running_stats=False),
        BatchNormAct2d,
    ],
    ids=["usual", "cumulative", "plain", "untracked", "timm"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_groups_are_normalised_as_in_separate_passes(make, layout):
    layer = make(4)
    alone = [copy.deepcopy(layer) for _ in range(3)]
    for step in range(2):
        inputs = torch.randn((9, 4, 5, 5), generator=generator(step)) * 3 + 1
        inputs = inputs.contiguous(memory_format=layout).requires_grad_()
        with grouped_statistics(nn.Sequential(layer), 3):
            found = layer(inputs)
        expected = torch.cat([one(inputs[3 * g : 3 * g + 3]) for g, one in enumerate(alone)])
        torch.testing.assert_close(found, expected)
        assert found.is_contiguous(memory_format=layout)
        weight = torch.randn(found.shape, generator=generator(9))
        gradients = [torch.autograd.grad((y * weight).sum(), inputs)[0] for y in (found, expected)]
        torch.testing.assert_close(*gradients)
        for name, buffer in layer.named_buffers():
            copies = torch.stack([dict(one.named_buffers())[name].double() for one in alone])
            torch.testing.assert_close(buffer.double(), copies.mean(dim=0))
            for one in alone:
                dict(one.named_buffers())[name].copy_(buffer)
    assert "forward" not in vars(layer)


def test_two_passes_before_one_backward_are_fine():
    """The second pass moves the running statistics that the first one's gradient needs."""
    model, views = Maps(), images(4)
    with grouped_statistics(model, 2):
        total = sum(model(views)[-1].square().mean() for _ in range(2))
    total.backward()
    assert torch.isfinite(model.convolution.weight.grad).all()


@pytest.mark.parametrize("norm", ["frozen", "group", "evaluated"])
def test_layers_that_do_not_look_at_the_batch_are_left_alone(norm):
    makers = {"group": lambda n: nn.GroupNorm(2, n)}
    model = contrast(norm=makers.get(norm, nn.BatchNorm2d))
    model.plan = MocoPlan(1, 5, dim=6, groups=1)
    if norm != "group":
        model.eval()
    if norm == "frozen":
        model.query.train()
        model.query.encoder.norm.eval()
    assert not normalises_over_batch(model.query)
    before = copy.deepcopy(dict(model.query.named_buffers()))
    found = model._embed(model.query, images(5))
    expected = [model._embed(model.query, one[None]) for one in images(5)]
    torch.testing.assert_close(found, torch.cat(expected))
    assert all(torch.equal(before[name], one) for name, one in model.query.named_buffers())
    loss, _ = model(images(5), images(5, seed=1), numbers(0, 5))
    assert float(loss.detach()) == 0


def test_layers_are_put_back_when_a_pass_fails():
    model = Maps()
    before = dict(model.norm.named_buffers())
    with pytest.raises(RuntimeError), grouped_statistics(model, 2):
        model.norm(torch.zeros(4, 7, 3, 3))
    assert "forward" not in vars(model.norm)
    for name, one in model.norm.named_buffers():
        assert one is before[name]


def trained(model, optimiser, steps):
    losses = []
    for step in steps:
        loss, _ = model(images(seed=step), images(seed=step + 50), numbers(8 * step % 40))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def sgd(model):
    return torch.optim.SGD(model.query.parameters(), lr=0.05, momentum=0.9)


def test_the_state_holds_all_that_goes_on():
    model = contrast()
    optimiser = sgd(model)
    trained(model, optimiser, range(3))
    state, steps = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
    expected = trained(model, optimiser, range(3, 8))
    again = contrast(seed=4)
    resumed = sgd(again)
    again.load_state_dict(state)
    resumed.load_state_dict(steps)
    assert trained(again, resumed, range(3, 8)) == expected
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_backbone_is_trained_in_place_and_can_be_taken_up_again():
    """Alternate training: the backbone belongs to somebody else and changes between slices."""
    backbone = build_encoder(EncoderSpec("unet-2"), 0)
    model = MomentumContrast(backbone, PLAN, 16, 0)
    assert model.query.encoder is backbone
    start = copy.deepcopy(backbone.state_dict())
    trained(model, sgd(model), range(3))
    assert not torch.equal(start["levels.0.0.weight"], backbone.levels[0][0].weight)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.5)
    model.restart()
    assert (model.queue_ids == EMPTY).all()
    for name, value in model.query.state_dict().items():
        assert torch.equal(value, model.key.state_dict()[name])
    losses = trained(model, sgd(model), range(3))
    assert losses[0] == 0 < losses[1]


def test_bfloat16_is_near_and_the_loss_is_float32_under_a_callers_autocast():
    exact, rounded = (
        filled(dataclasses.replace(PLAN, precision=name)) for name in ("float32", "bfloat16")
    )
    given = images(seed=5), images(seed=6), numbers(0)
    expected = exact(*given)[0].detach()
    assert float(rounded(*given)[0].detach()) == pytest.approx(float(expected), rel=0.1)
    inside = filled()
    inside.query, inside.key = inside.query.double(), inside.key.double()
    inside._embed = lambda network, views: units(8, 6, int(network is inside.key)).float()
    inside.queue.copy_(units(16, 6, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = inside(*given)[0]
    assert loss.dtype == torch.float32
    keys = units(8, 6, 1)[key_order(8, 2).argsort()]
    assert float(loss) == pytest.approx(
        looped_loss(units(8, 6, 0), keys, units(16, 6, 4), 0.2, np.zeros((8, 16))), rel=1e-5
    )


def test_equal_seeds_give_equal_heads():
    one, same, other = (contrast(seed=seed) for seed in (0, 0, 1))
    weights = [model.query.projector[0].weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    kinds = [type(layer) for layer in one.query.projector]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(one.query.projector[i].weight.shape) for i in (0, 2)] == [(4, 4), (6, 4)]


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_groups_that_would_keep_company_are_refused(groups):
    with pytest.raises(ParameterError, match=f"groups={groups}"):
        contrast(dataclasses.replace(PLAN, groups=groups))
