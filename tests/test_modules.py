"""The networks: shapes, counts by hand, initialization, gradients, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_kd.modules import MLP, VGG, FastCNN, ResNet, SmallCNN

IMAGES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]
#: Small ones of each kind, with every option on.
SMALL = {
    "mlp": (MLP, {"width": 6, "dropout": 0.5, "input_dropout": 0.2, "batch_norm": True}),
    "cnn": (SmallCNN, {"width": 2}),
    "cnn without batch norm": (SmallCNN, {"width": 2, "batch_norm": False}),
    "vgg 2+3": (VGG, {"width": 2, "n_conv": 2}),
    "vgg 8+3": (VGG, {"width": 2, "n_conv": 8, "n_dense": 3}),
    "vgg without batch norm": (VGG, {"width": 2, "n_conv": 8, "batch_norm": False}),
    "resnet": (ResNet, {"width": 2, "depth": 1, "dropout": 0.3}),
    "fast": (FastCNN, {"width": 2, "mirror": True}),
}


@pytest.fixture(params=list(SMALL))
def small(request):
    """Return a function (input_shape, n_outputs) -> network, seeded."""
    kind, params = SMALL[request.param]

    def make(input_shape=(3, 32, 32), n_outputs=10, seed=0, **more):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return kind(n_outputs=n_outputs, input_shape=input_shape, **(params | more))

    return make


def images(n, shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def count(kind, **params):
    """Return the number of parameters, without making them."""
    with torch.device("meta"):
        return sum(p.numel() for p in kind(**params).parameters())


@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("n_outputs", [1, 10])
def test_logits_for_every_size(small, shape, n_outputs):
    network = small(shape, n_outputs)
    x = images(3, shape)
    for training in (True, False):
        logits = network.train(training)(x)
        assert logits.shape == (3, n_outputs)
        assert torch.isfinite(logits).all()
    # in use a row does not depend on the others
    torch.testing.assert_close(network(x[1:2]), logits[1:2])
    # another image has other logits
    assert not torch.equal(logits[0], logits[1])


def test_mlp_flattens_any_shape():
    for shape in [(12,), (3, 4), (3, 2, 2)]:
        network = MLP(n_outputs=2, input_shape=shape, width=5)
        assert network(images(4, shape)).shape == (4, 2)
        assert sum(p.numel() for p in network.parameters()) == 12 * 5 + 5 + 5 * 5 + 5 + 5 * 2 + 2


@pytest.mark.parametrize(
    ("kind", "shape", "params", "expected"),
    [
        # Hinton's pair and a linear model: weights and biases of each layer
        (
            *(MLP, (784,), {"width": 1200, "dropout": 0.5, "input_dropout": 0.2}),
            784 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 10 + 10,
        ),
        (MLP, (784,), {"width": 800}, 784 * 800 + 800 + 800 * 800 + 800 + 8010),
        (MLP, (784,), {"depth": 0}, 7850),
        (MLP, (9,), {"width": 4, "depth": 1, "batch_norm": True}, 9 * 4 + 2 * 4 + 4 * 10 + 10),
        # Table 2 of Dong et al.; a normalized layer has a scale and a shift and no bias
        (
            *(SmallCNN, (3, 32, 32), {}),
            27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + 9 * 64 * 128 + 2 * 128
            + 128 * 4 * 4 * 512 + 2 * 512 + 512 * 10 + 10,
        ),
        (
            *(SmallCNN, (1, 8, 8), {"width": 4, "depth": 2, "batch_norm": False}),
            9 * 4 + 4 + 9 * 4 * 8 + 8 + 8 * 2 * 2 * 64 + 64 + 64 * 10 + 10,
        ),
        # 2+3: 64 channels, pooling, 128 channels, pooling, 512, 512, 10
        (
            *(VGG, (3, 32, 32), {"n_conv": 2, "n_dense": 3}),
            27 * 64 + 2 * 64 + 9 * 64 * 128 + 2 * 128
            + 128 * 8 * 8 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10,
        ),
        # 8+3: configuration A
        (
            *(VGG, (3, 32, 32), {"batch_norm": False}),
            9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)
            + 64 + 128 + 2 * 256 + 4 * 512
            + 512 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10,
        ),
        # stem, block of 2 and 2 channels, of 2 and 4 with projection, of 4 and 8, end
        (
            *(ResNet, (1, 8, 8), {"width": 2, "depth": 1}),
            9 * 2
            + (2 * 2 + 9 * 2 * 2 + 2 * 2 + 9 * 2 * 2)
            + (2 * 2 + 9 * 2 * 4 + 2 * 4 + 9 * 4 * 4 + 2 * 4)
            + (2 * 4 + 9 * 4 * 8 + 2 * 8 + 9 * 8 * 8 + 4 * 8)
            + 2 * 8 + 8 * 10 + 10,
        ),
    ],
)  # fmt: skip
def test_parameter_counts_by_hand(kind, shape, params, expected):
    assert count(kind, n_outputs=10, input_shape=shape, **params) == expected


@pytest.mark.parametrize(
    ("kind", "params", "millions"),
    [
        # Table 5 of Zagoruyko and Komodakis
        (ResNet, {"depth": 6, "width": 64}, 8.9),  # WRN-40-4
        (ResNet, {"depth": 2, "width": 128}, 11.0),  # WRN-16-8
        (ResNet, {"depth": 4, "width": 160}, 36.5),  # WRN-28-10
    ],
)
def test_published_parameter_counts(kind, params, millions):
    counted = count(kind, n_outputs=10, input_shape=(3, 32, 32), **params)
    assert round(counted / 1e6, 1) == millions


@pytest.mark.parametrize(("n_conv", "name"), [(8, 11), (10, 13), (13, 16), (16, 19)])
def test_vgg_has_the_published_configurations(n_conv, name):
    # Table 1 of Simonyan and Zisserman: convolutions by channels
    published = {
        11: [64, 128, 256, 256, 512, 512, 512, 512],
        13: [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
        16: [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
        19: [64, 64, 128, 128, 256, 256, 256, 256] + [512] * 8,
    }[name]
    with torch.device("meta"):
        network = VGG(n_outputs=10, input_shape=(3, 32, 32), depth=name)
        same = VGG(n_outputs=10, input_shape=(3, 32, 32), n_conv=n_conv)
    channels = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert channels == published
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == name
    assert str(network) == str(same)


def test_vgg_pools_as_long_as_there_is_something_to_pool():
    for side, pools in [(32, 5), (28, 4), (8, 3)]:
        network = VGG(n_outputs=2, input_shape=(1, side, side), width=1)
        assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == pools
        dense = [m for m in network.modules() if isinstance(m, nn.Linear)]
        assert [m.in_features for m in dense] == [8, 8, 8]
    # a convolution more each time up to the published ones
    for n_conv in range(1, 9):
        network = VGG(n_outputs=2, input_shape=(1, 32, 32), width=1, n_conv=n_conv, n_dense=1)
        kinds = [type(m) for m in network.modules()]
        assert kinds.count(nn.Conv2d) == n_conv
        assert kinds.count(nn.Linear) == 1


@pytest.mark.parametrize("kind", [MLP, SmallCNN, VGG, ResNet, FastCNN])
def test_width_multiplies_the_channels(kind):
    def widths(width):
        with torch.device("meta"):
            network = kind(n_outputs=7, input_shape=(3, 32, 32), width=width)
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        # a projection, of 1 x 1, comes where a block does not keep the width
        return [len(m.weight) for m in layers if m.weight.shape[2:] in ((), (3, 3))]

    narrow, wide = widths(16), widths(np.int64(48))
    assert wide[-1] == narrow[-1] == 7
    start = 1 if kind is ResNet else 0  # its first convolution has at most 16 channels
    assert [3 * size for size in narrow[start:-1]] == wide[start:-1]
    assert wide[:start] == narrow[:start]


@pytest.mark.parametrize(
    ("kind", "params", "per_depth"),
    [(MLP, {}, 1), (SmallCNN, {}, 1), (VGG, {}, 1), (ResNet, {}, 6), (FastCNN, {}, 2)],
)
def test_depth_adds_layers(kind, params, per_depth):
    def n_layers(depth):
        with torch.device("meta"):
            network = kind(n_outputs=7, input_shape=(3, 32, 32), width=2, depth=depth, **params)
        return sum(
            isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
            for m in network.modules()
        )

    assert n_layers(5) == n_layers(4) + per_depth
    assert n_layers(np.int64(4)) == n_layers(4)


def test_gradients_reach_every_parameter(small):
    network = small()
    network.train()
    logits = network(images(16, (3, 32, 32)))
    nn.functional.cross_entropy(logits, torch.arange(16) % 10).backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_seed_decides_the_weights(small):
    state, same, other = (small(seed=seed).state_dict() for seed in (0, 0, 1))
    for name, value in state.items():
        assert torch.equal(value, same[name]), name
    drawn = small()
    weights = [name for name, value in drawn.named_parameters() if value.ndim > 1]
    if isinstance(drawn, FastCNN):  # convolutions that do not widen begin with the identity
        weights = [name for name in weights if state[name].shape[0] > state[name].shape[1]]
    assert weights
    assert not any(torch.equal(state[name], other[name]) for name in weights)


def test_nothing_is_drawn_in_use_and_dropout_is_in_training(small):
    network = small()
    x = images(8, (3, 32, 32))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        network.eval()(x)
        assert torch.equal(before, torch.get_rng_state())
        network.train()
        for layer in network.modules():  # the statistics of a batch apart
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.eval()
        rates = {m.p for m in network.modules() if isinstance(m, nn.Dropout)}
        if isinstance(network, FastCNN):  # which has no dropout
            assert not rates
            assert torch.equal(network(x), network(x))
            return
        assert not torch.equal(network(x), network(x))
        assert rates
        assert 0 not in rates


def test_no_dropout_draws_nothing_in_training():
    for kind in (MLP, SmallCNN, VGG, ResNet):
        network = kind(n_outputs=2, input_shape=(1, 8, 8), width=2, dropout=0)
        before = torch.get_rng_state()
        network.train()(images(4, (1, 8, 8)))
        assert torch.equal(before, torch.get_rng_state())


def test_the_share_dropped_is_the_share_asked_for():
    network = MLP(n_outputs=1, input_shape=(400,), dropout=0.5, input_dropout=0.2, depth=1)
    first, hidden = (m for m in network.modules() if isinstance(m, nn.Dropout))
    assert (first.p, hidden.p) == (0.2, 0.5)
    layers = list(network.layers)
    # on the inputs, and after the ReLU
    assert layers.index(first) < next(i for i, m in enumerate(layers) if isinstance(m, nn.Linear))
    assert isinstance(layers[layers.index(hidden) - 1], nn.ReLU)


def test_weights_are_initialized_after_he():
    networks = [
        MLP(n_outputs=100, input_shape=(300,), width=300),
        SmallCNN(n_outputs=100, input_shape=(3, 32, 32)),
        VGG(n_outputs=100, input_shape=(3, 32, 32), width=16, batch_norm=False),
        ResNet(n_outputs=100, input_shape=(3, 32, 32), width=32, depth=1),
    ]
    for network in networks:
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for layer in layers:
            fan_in = layer.weight[0].numel()
            expected = np.sqrt((1 if layer is layers[-1] else 2) / fan_in)
            # five standard errors of a standard deviation
            tolerance = 5 / np.sqrt(2 * layer.weight.numel())
            assert abs(layer.weight.std().item() / expected - 1) < tolerance, layer
            assert layer.bias is None or not layer.bias.any()


def test_signal_neither_dies_nor_explodes():
    # eight layers at torch's default weights let it fade to the biases
    network = VGG(n_outputs=64, input_shape=(3, 32, 32), width=16, batch_norm=False).eval()
    logits = network(images(32, (3, 32, 32)))
    assert 0.1 < (logits - logits.mean(0)).std() < 10


def test_state_is_numbers_and_loads_again(small):
    network = small()
    network.train()(images(8, (3, 32, 32)))
    state = network.state_dict()
    for name, value in state.items():
        # torch counts the batches of batch normalization in integers
        assert value.is_floating_point() or name.endswith(("num_batches_tracked", "is_fitted"))
    copy = small(seed=1)
    copy.load_state_dict({name: torch.from_numpy(v.numpy().copy()) for name, v in state.items()})
    x = images(4, (3, 32, 32), seed=1)
    assert torch.equal(network.eval()(x), copy.eval()(x))


def test_names_do_not_depend_on_dropout():
    for kind in (MLP, SmallCNN, VGG, ResNet):
        with_it, without = (
            kind(n_outputs=2, input_shape=(1, 8, 8), width=2, dropout=rate) for rate in (0.5, 0)
        )
        assert list(with_it.state_dict()) == list(without.state_dict())


def test_double_precision(small):
    network = small(n_outputs=1).double().eval()
    assert network(images(2, (3, 32, 32)).double()).dtype == torch.float64


def block_by_hand(block, x):
    """y = P a + W2 * relu(bn(W1 * a)), a = relu(bn(x)); P is the identity where shapes agree."""

    def normalize(bn, x):
        return nn.functional.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    bns = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    stride = convs[0].stride
    a = normalize(bns[0], x).relu()
    inner = nn.functional.conv2d(a, convs[0].weight, stride=stride, padding=1)
    inner = normalize(bns[1], inner).relu()
    shortcut = nn.functional.conv2d(a, convs[2].weight, stride=stride) if len(convs) == 3 else x
    return shortcut + nn.functional.conv2d(inner, convs[1].weight, padding=1)


def test_resnet_by_hand():
    network = ResNet(n_outputs=3, input_shape=(2, 8, 8), width=4, depth=2)
    x = images(5, (2, 8, 8))
    network.train()(x)  # statistics other than 0 and 1
    network.eval()
    layers = list(network.layers)
    assert [layer.stride for layer in layers[:1]] == [(1, 1)]
    h = nn.functional.conv2d(x, layers[0].weight, padding=1)
    sides = []
    for block in layers[1:7]:
        h = block_by_hand(block, h)
        sides.append((h.shape[1], h.shape[2]))
    assert sides == [(4, 8), (4, 8), (8, 4), (8, 4), (16, 2), (16, 2)]
    h = nn.functional.batch_norm(
        h, layers[7].running_mean, layers[7].running_var, layers[7].weight, layers[7].bias
    )
    expected = network.layers[-1](h.relu().mean((2, 3)))
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("kind", [SmallCNN, VGG, ResNet, FastCNN])
@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_flat_rows_are_an_error_that_says_what_to_set(kind, shape):
    match = rf"{kind.__name__} takes images.*image_shape=\(channels, height, width\).*MLP"
    with pytest.raises(ValueError, match=match):
        kind(n_outputs=2, input_shape=shape)


def test_inputs_of_another_shape_are_an_error(small):
    network = small((1, 8, 8))
    for shape in [(1, 9, 8), (3, 8, 8), (64,)]:
        with pytest.raises(ValueError, match=r"built for inputs of shape \(n, 1, 8, 8\), got \(2,"):
            network(torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("kind", "shape", "params", "match"),
    [
        (SmallCNN, (1, 8, 8), {"depth": 4}, r"8 x 8 pixels .* 3 times.*depth to at most 3"),
        (SmallCNN, (1, 32, 7), {}, r"32 x 7 pixels .* 2 times, not depth=3; set depth to at most"),
        (SmallCNN, (1, 1, 8), {}, "use MLP"),
        (ResNet, (1, 3, 8), {}, "3 x 8 pixels do not allow; use MLP"),
        (FastCNN, (1, 1, 8), {}, "at least 2 x 2 pixels, got 1 x 8: use MLP"),
        (VGG, (1, 8, 8), {"n_conv": 9}, "1 to 8 or one of 10, 13 and 16, got 9"),
        (VGG, (1, 8, 8), {"depth": 11, "n_conv": 2}, "leave 8 convolutions, but n_conv=2"),
        (VGG, (1, 8, 8), {"depth": 3}, "depth == 3, must be >= 4"),
        (VGG, (1, 8, 8), {"n_dense": 0}, "n_dense == 0"),
        (MLP, (8,), {"width": 0}, "width == 0"),
        (MLP, (8,), {"depth": -1}, "depth == -1"),
        (MLP, (8,), {"dropout": 1.0}, "dropout == 1.0"),
        (MLP, (8,), {"input_dropout": -0.1}, "input_dropout == -0.1"),
        (MLP, (0,), {}, "each size in input_shape == 0"),
        (MLP, (8,), {"n_outputs": 0}, "n_outputs == 0"),
    ],
)
def test_values_out_of_range(kind, shape, params, match):
    with pytest.raises(ValueError, match=match):
        kind(**{"n_outputs": 2, "input_shape": shape, **params})


def test_a_width_that_is_no_integer_is_an_error():
    with pytest.raises(TypeError, match="width must be an instance of"):
        SmallCNN(n_outputs=2, input_shape=(1, 8, 8), width=4.0)


@pytest.mark.parametrize("kind", [SmallCNN, VGG, ResNet, FastCNN])
def test_learns_where_the_object_is(kind):
    """A bright square left or right of the middle: no column of pixels is enough."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = 0.3 * torch.randn(64, 1, 8, 8, generator=generator)
    for row in range(64):
        top = int(torch.randint(0, 6, (), generator=generator))
        left = int(torch.randint(0, 2, (), generator=generator)) + 5 * int(y[row])
        x[row, 0, top : top + 2, left : left + 2] += 1.5
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        options = {} if kind is FastCNN else {"dropout": 0.0}
        network = kind(n_outputs=1, input_shape=(1, 8, 8), width=4, **options)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_the_first_layer_of_fast_cnn_whitens_the_first_training_batch():
    network = FastCNN(n_outputs=2, input_shape=(3, 12, 10), width=2).double()
    first = network.layers[0]
    x = images(40, (3, 12, 10)).double()
    x = x + x.roll(1, dims=2) + 2 * x[:, [1, 2, 0]] + 5
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()(x)  # a prediction does not fit it
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()(x)
    outputs = first(x)
    assert outputs.shape == (40, 24, 11, 9)
    torch.testing.assert_close(outputs[:, :12], -outputs[:, 12:])
    flat = outputs[:, :12].transpose(0, 1).flatten(1)
    covariance = np.cov(flat.detach().numpy(), ddof=0)
    # an eigenvalue v leaves a variance v / (v + eps)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert 0.9 < np.diag(covariance).min() < np.diag(covariance).max() < 1
    fitted = first.filters.clone()
    network(3 * x)
    assert torch.equal(first.filters, fitted)
    assert "layers.0.bias" in dict(network.named_parameters())
    assert "layers.0.filters" not in dict(network.named_parameters())


def test_fast_cnn_averages_the_logits_of_mirror_images():
    plain, mirrored = (
        FastCNN(n_outputs=3, input_shape=(1, 8, 8), width=2, mirror=each) for each in (False, True)
    )
    x = images(6, (1, 8, 8))
    plain.train()(x)
    mirrored.load_state_dict(plain.state_dict())
    both = plain.eval(), mirrored.eval()
    expected = (both[0](x) + both[0](x.flip(-1))) / 2
    torch.testing.assert_close(both[1](x), expected)
    assert not torch.equal(both[1](x), both[0](x))
    mirrored.train(), plain.train()
    torch.testing.assert_close(mirrored(x), plain(x))


def test_fast_cnn_begins_with_the_identity():
    network = FastCNN(n_outputs=3, input_shape=(1, 8, 8), width=4, depth=1)
    second = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][1]
    x = images(2, (4, 6, 6))
    torch.testing.assert_close(second(x), x)


def test_fast_cnn_has_two_million_weights():
    n_weights = count(FastCNN, n_outputs=10, input_shape=(3, 32, 32))
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert n_weights == convolutions + 24 + (2 * 64 + 4 * 256) + 256 * 10 + 10


def test_sgd_changes_the_biases_of_fast_cnn_64_times_as_fast():
    network = FastCNN(n_outputs=3, input_shape=(1, 8, 8), width=2, depth=1)
    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    x = images(8, (2, 5, 5))
    assert {name for name, _ in norm.named_parameters()} == {"bias"}

    def bias():  # that is added to the normalized channels, whose mean is zero
        return norm.train()(x).mean(dim=(0, 2, 3))

    before = bias().detach()
    bias().sum().backward()  # its gradient in each bias that is added is one
    torch.optim.SGD(norm.parameters(), lr=0.01).step()
    torch.testing.assert_close(bias(), before - 64 * 0.01)


def test_the_statistics_of_fast_cnn_follow_the_last_batches():
    network = FastCNN(n_outputs=3, input_shape=(1, 8, 8), width=2, depth=1)
    norm = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    batches = [images(8, (2, 5, 5), seed) + seed for seed in range(3)]
    expected = torch.zeros(2)
    for batch in batches:
        norm.train()(batch)
        expected = 0.6 * expected + 0.4 * batch.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


def test_the_outputs_of_fast_cnn_are_divided_by_half_the_root_of_their_inputs():
    network = FastCNN(n_outputs=3, input_shape=(1, 8, 8), width=4, depth=2)
    x = images(6, (1, 8, 8))
    network.train()(x)
    network.eval()
    torch.testing.assert_close(network(x), network.layers(x) / 2)  # of 16 inputs
