"""Torch modules for ``ModuleClassifier`` and ``ModuleRegressor``, of flat rows and small images.

Importing this module imports torch. ``import sklearn_kd`` does not import it.
"""

import math
from numbers import Integral, Real

import torch
from sklearn.utils import check_scalar
from torch import nn

__all__ = ["MLP", "VGG", "FastCNN", "ResNet", "SmallCNN"]


def _count(value, name, minimum=1):
    """Check an integer parameter."""
    return int(check_scalar(value, name, Integral, min_val=minimum))


def _dropout(value, name="dropout"):
    """Return a dropout layer, also at rate 0, so that names of layers do not depend on the rate."""
    check_scalar(value, name, Real, min_val=0, max_val=1, include_boundaries="left")
    return nn.Dropout(float(value))


def _check_shape(input_shape):
    """Return the input shape as a tuple of int."""
    return tuple(_count(size, "each size in input_shape") for size in input_shape)


def _check_image_shape(input_shape, name):
    """Return channels, height and width, and raise ValueError for flat rows."""
    shape = _check_shape(input_shape)
    if len(shape) != 3:
        raise ValueError(
            f"{name} takes images, (channels, height, width), but the inputs have shape {shape}. "
            "Set image_shape=(channels, height, width) in ModuleClassifier, which reshapes flat "
            "rows, or use MLP."
        )
    return shape


def _convolution(n_in, n_out, *, batch_norm=True, stride=1):
    """Return a 3 x 3 convolution with zero padding, without bias before batch normalization."""
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=not batch_norm)


class _Network(nn.Module):
    """Sequence of layers for inputs of one shape, initialized as in He et al. (2015)."""

    def __init__(self, input_shape, layers):
        super().__init__()
        self.input_shape = input_shape
        self.layers = nn.Sequential(*layers)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # no ReLU follows the last layer, so that its weights are not scaled for one
                last = layer is self.layers[-1]
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if last else "relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x):
        """Compute logits.

        Parameters
        ----------
        x : Tensor of shape (n, `*input_shape`)

        Returns
        -------
        logits : Tensor of shape (n, n_outputs)
        """
        if tuple(x.shape[1:]) != self.input_shape:
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"{type(self).__name__} was built for inputs of shape (n, {wanted}), got "
                f"{tuple(x.shape)}."
            )
        return self._logits(x)

    def _logits(self, x):
        return self.layers(x)


class MLP(_Network):
    """Multilayer perceptron: fully connected layers with ReLU between them.

    Parameters
    ----------
    n_outputs : int
        Number of logits: 1 for two classes, otherwise the number of classes. Of numbers, 1 for each
        target or quantile. ``ModuleClassifier`` and ``ModuleRegressor`` set it.
    input_shape : tuple of int
        Shape of one input. Images are flattened. ``ModuleClassifier`` sets it.
    width : int, default=256
        Number of units of each hidden layer.
    depth : int, default=2
        Number of hidden layers. 0 is a linear model.
    dropout : float in [0, 1), default=0.0
        Share of the hidden units that are dropped in training.
    input_dropout : float in [0, 1), default=0.0
        Share of the inputs that are dropped in training.
    batch_norm : bool, default=False
        Whether to use batch normalization before each ReLU, which helps deep networks.

    Notes
    -----
    The teacher of [1]_, 784-1200-1200-10 with dropout, is ``width=1200, dropout=0.5,
    input_dropout=0.2``, and its student is ``width=800``. They also bound the norm of the weights
    of each unit, which belongs to the optimizer and not to the module.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
       arXiv:1503.02531, section 3.

    Examples
    --------
    >>> import torch
    >>> from sklearn_kd.modules import MLP
    >>> network = MLP(n_outputs=3, input_shape=(4,), width=8, depth=1)
    >>> network(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, *, n_outputs, input_shape, width=256, depth=2, dropout=0.0, input_dropout=0.0,
        batch_norm=False,
    ):  # fmt: skip
        shape = _check_shape(input_shape)
        width, n_in = _count(width, "width"), 1
        for size in shape:
            n_in *= size
        layers = [nn.Flatten(), _dropout(input_dropout, "input_dropout")]
        for _ in range(_count(depth, "depth", minimum=0)):
            layers += [
                nn.Linear(n_in, width, bias=not batch_norm),
                nn.BatchNorm1d(width) if batch_norm else nn.Identity(),
                nn.ReLU(),
                _dropout(dropout),
            ]
            n_in = width
        super().__init__(shape, [*layers, nn.Linear(n_in, _count(n_outputs, "n_outputs"))])


class SmallCNN(_Network):
    """Small convolutional network, by default the five-layer student of Dong et al. (Table 2).

    It has ``depth`` stages of 3 x 3 convolution, batch normalization, ReLU and 2 x 2 max-pooling,
    whose channels double from stage to stage, and then a hidden dense layer, dropout and the output
    layer. The default has 32, 64 and 128 channels and 512 hidden units.

    Parameters
    ----------
    n_outputs : int
        Number of logits: 1 for two classes, otherwise the number of classes. Of numbers, 1 for each
        target or quantile. ``ModuleClassifier`` and ``ModuleRegressor`` set it.
    input_shape : tuple of int
        (channels, height, width) of an image. ``ModuleClassifier`` sets it from ``image_shape``.
    width : int, default=32
        Channels of the first convolution. The hidden dense layer has 16 times as many units.
    depth : int, default=3
        Number of convolutions. Each stage halves the image, so that there are at most 3 for 8 x 8
        pixels, 4 for 28 x 28 and 5 for 32 x 32.
    dropout : float in [0, 1), default=0.5
        Share of the hidden dense units that are dropped in training. [1]_ does not state a rate.
    batch_norm : bool, default=True
        Whether to use batch normalization before each ReLU. In training it needs two rows in each
        batch.

    Raises
    ------
    ValueError
        If the inputs are not images, or an image cannot be halved ``depth`` times.

    References
    ----------
    .. [1] Dong, Hou, Lu and Zhang, "Distillation ≈ Early Stopping? Harvesting Dark Knowledge
       Utilizing Anisotropic Information Retrieval For Overparameterized Neural Network",
       arXiv:1910.01255, Table 2.

    Examples
    --------
    >>> import torch
    >>> from sklearn_kd.modules import SmallCNN
    >>> network = SmallCNN(n_outputs=10, input_shape=(1, 8, 8), width=4)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(self, *, n_outputs, input_shape, width=32, depth=3, dropout=0.5, batch_norm=True):
        shape = _check_image_shape(input_shape, "SmallCNN")
        n_in, rows, columns = shape
        width, depth = _count(width, "width"), _count(depth, "depth")
        fits = min(rows, columns).bit_length() - 1
        if depth > fits:
            raise ValueError(
                f"an image of {rows} x {columns} pixels can be halved {fits} times, not "
                f"depth={depth}; "
                + (f"set depth to at most {fits}." if fits else "use MLP for so small an image.")
            )
        layers = []
        for stage in range(depth):
            n_out = width * 2**stage
            layers += [
                _convolution(n_in, n_out, batch_norm=batch_norm),
                nn.BatchNorm2d(n_out) if batch_norm else nn.Identity(),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            n_in, rows, columns = n_out, rows // 2, columns // 2
        layers += [
            nn.Flatten(),
            nn.Linear(n_in * rows * columns, 16 * width, bias=not batch_norm),
            nn.BatchNorm1d(16 * width) if batch_norm else nn.Identity(),
            nn.ReLU(),
            _dropout(dropout),
            nn.Linear(16 * width, _count(n_outputs, "n_outputs")),
        ]
        super().__init__(shape, layers)


#: Convolutions before each pooling: configurations A, B, D and E of Simonyan and Zisserman.
_VGG_STAGES = {8: (1, 1, 2, 2, 2), 10: (2, 2, 2, 2, 2), 13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}


def _vgg_stages(n_conv):
    """Return the published stages, or the first ones of configuration A below 8 convolutions."""
    if n_conv > 8 and n_conv not in _VGG_STAGES:
        raise ValueError(f"n_conv must be 1 to 8 or one of 10, 13 and 16, got {n_conv}.")
    stages = []
    for n_layers in _VGG_STAGES.get(n_conv, _VGG_STAGES[8]):
        if sum(stages) < n_conv:
            stages.append(min(n_layers, n_conv - sum(stages)))
    return stages


class VGG(_Network):
    """VGG network: stages of 3 x 3 convolutions, each followed by pooling, and dense layers.

    ``n_conv=8, n_dense=3`` is VGG-11, configuration A of [1]_, and ``n_conv=2, n_dense=3`` its
    first two convolutions with the same three dense layers: the teacher (8+3) and the student
    (2+3) of [2]_, which does not say where the student pools.

    Parameters
    ----------
    n_outputs : int
        Number of logits: 1 for two classes, otherwise the number of classes. Of numbers, 1 for each
        target or quantile. ``ModuleClassifier`` and ``ModuleRegressor`` set it.
    input_shape : tuple of int
        (channels, height, width) of an image. ``ModuleClassifier`` sets it from ``image_shape``.
    width : int, default=64
        Channels of the first stage. They double from stage to stage up to 8 times as many. The
        hidden dense layers also have 8 times as many units.
    n_conv : int, default=None
        Number of convolutions: 1 to 8 (the first ones of configuration A), 10 (B), 13 (D) or
        16 (E). None is ``depth - n_dense``, or 8 without ``depth``.
    n_dense : int, default=3
        Number of dense layers, including the output layer.
    depth : int, default=None
        Number of layers with weights, as in the names VGG-11, VGG-13, VGG-16 and VGG-19. It is an
        alternative to ``n_conv``.
    dropout : float in [0, 1), default=0.5
        Share of the hidden dense units that are dropped in training.
    batch_norm : bool, default=True
        Whether to use batch normalization after each convolution. False gives the networks of
        [1]_, which predate it.

    Raises
    ------
    ValueError
        If the inputs are not images, or the configuration does not exist.

    Notes
    -----
    The hidden dense layers have 512 units by default. Those of [1]_ have 4096, for images of
    224 x 224 pixels and 1000 classes. Images of one pixel in height or width are not pooled
    further. Of the five poolings, four fit into 28 x 28 pixels and three into 8 x 8. There the
    convolutions from the fifth on see a single pixel and use only the center of their weights.

    References
    ----------
    .. [1] Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
       Recognition", arXiv:1409.1556, Table 1.
    .. [2] Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training
       in Neural Networks", arXiv:2412.09579, section 4.

    Examples
    --------
    >>> import torch
    >>> from sklearn_kd.modules import VGG
    >>> network = VGG(n_outputs=1, input_shape=(3, 32, 32), width=4, n_conv=2, n_dense=3)
    >>> network(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self, *, n_outputs, input_shape, width=64, n_conv=None, n_dense=3, depth=None, dropout=0.5,
        batch_norm=True,
    ):  # fmt: skip
        shape = _check_image_shape(input_shape, "VGG")
        n_in, rows, columns = shape
        width, n_dense = _count(width, "width"), _count(n_dense, "n_dense")
        if depth is not None:
            given, n_conv = n_conv, _count(depth, "depth", minimum=n_dense + 1) - n_dense
            if given not in (None, n_conv):
                raise ValueError(
                    f"depth={depth} and n_dense={n_dense} leave {n_conv} convolutions, but "
                    f"n_conv={given}; leave out one of depth and n_conv."
                )
        stages = _vgg_stages(8 if n_conv is None else _count(n_conv, "n_conv"))
        layers = []
        for stage, n_layers in enumerate(stages):
            n_out = width * 2 ** min(stage, 3)
            for _ in range(n_layers):
                layers += [
                    _convolution(n_in, n_out, batch_norm=batch_norm),
                    nn.BatchNorm2d(n_out) if batch_norm else nn.Identity(),
                    nn.ReLU(),
                ]
                n_in = n_out
            if min(rows, columns) > 1:
                layers.append(nn.MaxPool2d(2))
                rows, columns = rows // 2, columns // 2
        layers.append(nn.Flatten())
        n_in *= rows * columns
        for _ in range(n_dense - 1):
            layers += [nn.Linear(n_in, 8 * width), nn.ReLU(), _dropout(dropout)]
            n_in = 8 * width
        super().__init__(shape, [*layers, nn.Linear(n_in, _count(n_outputs, "n_outputs"))])


class _Block(nn.Module):
    """Residual block x + conv(dropout(relu(bn(conv(a))))) with a = relu(bn(x)).

    If the shape changes, a projection of a replaces x.
    """

    def __init__(self, n_in, n_out, stride, dropout):
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(n_in), nn.ReLU())
        self.residual = nn.Sequential(
            _convolution(n_in, n_out, stride=stride),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            _dropout(dropout),
            _convolution(n_out, n_out),
        )
        self.projection = None
        if stride != 1 or n_in != n_out:
            self.projection = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)

    def forward(self, x):
        activated = self.activation(x)
        shortcut = x if self.projection is None else self.projection(activated)
        return shortcut + self.residual(activated)


class ResNet(_Network):
    """Residual network for small images: three stages of pre-activation basic blocks.

    It has a 3 x 3 convolution, ``depth`` blocks of two convolutions in each stage, batch
    normalization, ReLU, the average over the image, and the output layer. The second and the third
    stage halve the image and double the channels.

    Parameters
    ----------
    n_outputs : int
        Number of logits: 1 for two classes, otherwise the number of classes. Of numbers, 1 for each
        target or quantile. ``ModuleClassifier`` and ``ModuleRegressor`` set it.
    input_shape : tuple of int
        (channels, height, width) of an image, at least 4 pixels high and wide.
        ``ModuleClassifier`` sets it from ``image_shape``.
    width : int, default=16
        Channels of the first stage, which are 16 times the widening factor of [2]_.
    depth : int, default=3
        Number of blocks in each stage. The network has 6 ``depth`` + 2 layers with weights, without
        projections.
    dropout : float in [0, 1), default=0.0
        Share of the activations between the two convolutions of a block that are dropped in
        training.

    Raises
    ------
    ValueError
        If the inputs are not images or are too small.

    Notes
    -----
    The sizes of ResNet-20 are the default, those of ResNet-56 ``depth=9``. The wide networks of
    [2]_ are WRN-16-4 (``depth=2, width=64``) and WRN-28-10 (``depth=4, width=160``). Activation
    comes before convolution as in [1]_ and [2]_. In the first ResNets (arXiv:1512.03385) it comes
    after.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks",
       arXiv:1603.05027.
    .. [2] Zagoruyko and Komodakis, "Wide Residual Networks", arXiv:1605.07146, Table 1.

    Examples
    --------
    >>> import torch
    >>> from sklearn_kd.modules import ResNet
    >>> network = ResNet(n_outputs=10, input_shape=(3, 32, 32), width=4, depth=1)
    >>> network(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 10])
    """

    def __init__(self, *, n_outputs, input_shape, width=16, depth=3, dropout=0.0):
        shape = _check_image_shape(input_shape, "ResNet")
        if min(shape[1:]) < 4:
            raise ValueError(
                f"ResNet halves images twice, which {shape[1]} x {shape[2]} pixels do not allow; "
                "use MLP, or SmallCNN with a small depth."
            )
        width, depth = _count(width, "width"), _count(depth, "depth")
        # the first convolution of wide networks also has 16 channels (Table 1 of Zagoruyko)
        n_in = min(16, width)
        layers = [_convolution(shape[0], n_in)]
        for stage in range(3):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_Block(n_in, width * 2**stage, stride, dropout))
                n_in = width * 2**stage
        layers += [
            nn.BatchNorm2d(n_in),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(n_in, _count(n_outputs, "n_outputs")),
        ]
        super().__init__(shape, layers)


class _Whitening(nn.Module):
    """2 x 2 convolution whose outputs have variance one and no correlation, without training.

    The filters are the eigenvectors of the covariance of the patches of the first batch that it
    gets in training, divided by the roots of the eigenvalues, and their negatives, since the
    function that follows loses most of the negative numbers. Only the bias is trained.
    """

    #: Added to the eigenvalues, so that directions without variance are not magnified.
    MIN_VARIANCE = 5e-4

    def __init__(self, n_channels):
        super().__init__()
        n_filters = 4 * n_channels
        self.bias = nn.Parameter(torch.zeros(2 * n_filters))
        self.register_buffer("filters", torch.eye(n_filters).view(n_filters, n_channels, 2, 2))
        self.register_buffer("is_fitted", torch.tensor(False))

    @torch.no_grad()
    def _fit(self, images):
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1)  # (n, channels, rows, columns, 2, 2)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2).double()
        covariance = torch.cov(patches.T, correction=0)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        filters = (eigenvectors / (eigenvalues.clamp(min=0) + self.MIN_VARIANCE).sqrt()).T
        filters = filters.flip(0)  # the largest first, since narrow networks begin with these
        self.filters.copy_(filters.reshape(self.filters.shape))
        self.is_fitted.fill_(True)

    def forward(self, x):
        if self.training and not self.is_fitted:
            self._fit(x)
        return nn.functional.conv2d(x, torch.cat([self.filters, -self.filters]), self.bias)


class _ShiftNorm(nn.BatchNorm2d):
    """Batch normalization with a trained bias and no scale.

    The bias is a multiple of its parameter. SGD then changes it as if its learning rate were larger
    by the square of this multiple: 64 times as large, as in the recipe of `FastCNN`. The running
    statistics change faster than by default, as the weights do at large learning rates.
    """

    BIAS_UNIT = 8.0

    def __init__(self, n_channels):
        super().__init__(n_channels, momentum=0.4)
        self.register_parameter("weight", None)

    def forward(self, x):
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, None, self.BIAS_UNIT * self.bias,
            self.training, self.momentum, self.eps,
        )  # fmt: skip


class FastCNN(_Network):
    """Convolutional network that learns small images in few epochs, after Jordan (2024).

    A 2 x 2 convolution whitens the image [1]_. Then come ``depth`` stages of convolution, 2 x 2
    max-pooling, batch normalization, GELU, convolution, batch normalization and GELU, the maximum
    over the remaining pixels, and the output layer, divided by half the square root of the number
    of its inputs. The default has 64, 256 and 256 channels and two million weights. It is meant for
    5 to 20 epochs of SGD with Nesterov momentum and a one-cycle schedule, see Notes and Examples.

    Parameters
    ----------
    n_outputs : int
        Number of logits: 1 for two classes, otherwise the number of classes. Of numbers, 1 for each
        target or quantile. ``ModuleClassifier`` and ``ModuleRegressor`` set it.
    input_shape : tuple of int
        (channels, height, width) of an image. ``ModuleClassifier`` sets it from ``image_shape``.
    width : int, default=64
        Channels of the first stage. The others have four times as many.
    depth : int, default=3
        Number of stages. Images of one pixel in height or width are not pooled further.
    mirror : bool, default=False
        Whether predictions are the mean of the logits of an image and of its mirror image. It
        takes twice the time and suits images of things, but not of digits or letters.

    Raises
    ------
    ValueError
        If the inputs are not images of at least 2 x 2 pixels.

    Notes
    -----
    The whitening filters are computed from the first batch that the network gets in training. They
    are part of its state, and are not trained. The other convolutions begin with the identity in
    as many channels as there are inputs. Where the stages reduce the image to one pixel, training
    needs two rows in each batch.

    The learning rate of [1]_ is 0.75 for batches of 512 rows, and proportional to their size, with
    momentum 0.85, a weight decay of 0.0013 and label smoothing of 0.2. There the biases of the
    batch normalizations learn 64 times as fast as the other weights. Here they are a multiple of
    their parameters, so that one learning rate has the same effect.

    References
    ----------
    .. [1] Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_kd import ModuleClassifier
    >>> from sklearn_kd.modules import FastCNN
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X.astype("float32")
    >>> model = ModuleClassifier(
    ...     FastCNN,
    ...     module_params={"width": 8, "depth": 2},
    ...     image_shape=(1, 8, 8),
    ...     optimizer="sgd",
    ...     learning_rate=0.1,
    ...     optimizer_params={"momentum": 0.85, "nesterov": True},
    ...     weight_decay=1e-3,
    ...     scheduler="one-cycle",
    ...     max_epochs=8,
    ...     batch_size=64,
    ...     early_stopping=False,
    ...     random_state=0,
    ... )
    >>> model.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    def __init__(self, *, n_outputs, input_shape, width=64, depth=3, mirror=False):
        shape = _check_image_shape(input_shape, "FastCNN")
        n_in, side = 8 * shape[0], min(shape[1:]) - 1
        if side < 1:
            raise ValueError(
                f"FastCNN takes images of at least 2 x 2 pixels, got {shape[1]} x {shape[2]}: use "
                "MLP."
            )
        width = _count(width, "width")
        layers = [_Whitening(shape[0]), nn.GELU()]
        for stage in range(_count(depth, "depth")):
            n_out = width if stage == 0 else 4 * width
            layers.append(_convolution(n_in, n_out))
            if side > 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            layers += [_ShiftNorm(n_out), nn.GELU()]
            layers += [_convolution(n_out, n_out), _ShiftNorm(n_out), nn.GELU()]
            n_in = n_out
        layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
        super().__init__(shape, [*layers, nn.Linear(n_in, _count(n_outputs, "n_outputs"))])
        self.mirror = mirror
        # the recipe divides by 9, for 256 inputs
        self.output_divisor = math.sqrt(n_in) / 2
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):  # the first outputs are the inputs
                layer.reset_parameters()
                nn.init.dirac_(layer.weight.data[: layer.in_channels])

    def _logits(self, x):
        outputs = self.layers(x)
        if self.mirror and not self.training:
            outputs = (outputs + self.layers(x.flip(-1))) / 2
        return outputs / self.output_divisor
