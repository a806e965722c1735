"""Networks for the tests of the proxy, built from numbers of channels: a narrow one is another of them."""

import torch
import torch.nn.functional as F
from torch import nn


class Convolutions(nn.Module):
    """Convolutions with bias, reflecting padding and pooling, flattened into a linear head."""

    def __init__(self, c=8, classes=3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, c, 3, padding=1, padding_mode="reflect"),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(c, 2 * c, 3, stride=2, dilation=2, padding=2),
            nn.BatchNorm2d(2 * c),
            nn.Sigmoid(),
            nn.Flatten(),
        )
        self.fc = nn.Linear(2 * c * 4, classes)

    def forward(self, x):
        return self.fc(self.layers(x))


class Residual(nn.Module):
    """A projected bottleneck with a grouped convolution, and an identity shortcut; the mean over pixels."""

    def __init__(self, c=8, groups=4, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(2, c, 3, padding=1, bias=False)
        self.one, self.bn1 = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)
        self.two = nn.Conv2d(c, c, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(c, momentum=None)
        self.three, self.bn3 = nn.Conv2d(c, 2 * c, 1, bias=False), nn.BatchNorm2d(2 * c, affine=False)
        self.short = nn.Sequential(nn.Conv2d(c, 2 * c, 1), nn.BatchNorm2d(2 * c))
        self.alone = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.norm = nn.GroupNorm(groups, 2 * c)
        self.fc = nn.Linear(2 * c, classes, bias=False)

    def forward(self, x):
        x = self.stem(x)
        y = self.bn3(self.three(F.relu(self.bn2(self.two(F.relu(self.bn1(self.one(x))))))))
        x = F.relu(y + self.short(x))
        x = x + self.norm(self.alone(x))
        return self.fc(x.mean((2, 3)))


class Sequences(nn.Module):
    """Convolutions of sequences, and batch norm of vectors."""

    def __init__(self, c=8, classes=3):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(2, c, 3, padding="same"), nn.BatchNorm1d(c)
        self.deep, self.bn2 = nn.Linear(c, 2 * c), nn.BatchNorm1d(2 * c)
        self.fc = nn.Linear(2 * c, classes)

    def forward(self, x):
        x = F.relu(self.bn(self.conv(x))).mean(2)
        return self.fc(F.relu(self.bn2(self.deep(x))))


class Perceptron(nn.Module):
    """Linear layers with layer norm and a residual branch."""

    def __init__(self, c=8, classes=3):
        super().__init__()
        self.first, self.norm = nn.Linear(5, c), nn.LayerNorm(c)
        self.branch = nn.Sequential(
            nn.LayerNorm(c, bias=False), nn.Linear(c, 2 * c), nn.GELU(), nn.Linear(2 * c, c)
        )
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.norm(self.first(x))
        return self.fc(torch.tanh(x + self.branch(x)))


class Attention(nn.Module):
    """Self-attention with queries, keys and values from one layer, the way image transformers have it."""

    def __init__(self, d, heads, size):
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(d, 3 * heads * size)
        self.proj = nn.Linear(heads * size, d)

    def forward(self, x):
        b, t, _ = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((scores @ v).transpose(1, 2).reshape(b, t, -1))


class Block(nn.Module):
    def __init__(self, d, heads, size, inner):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(d), Attention(d, heads, size)
        self.norm2 = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, inner), nn.GELU(), nn.Dropout(0.0), nn.Linear(inner, d))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Patches, a class token, positions, pre-norm blocks."""

    def __init__(self, d=8, heads=4, size=2, inner=12, classes=3):
        super().__init__()
        self.patch = nn.Conv2d(2, d, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 5, d))
        self.blocks = nn.Sequential(Block(d, heads, size, inner), Block(d, heads, size, inner))
        self.norm, self.fc = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.fc(self.norm(self.blocks(x))[:, 0])


class Encoder(nn.Module):
    """Torch's own transformer layers over tokens, with a padding mask."""

    def __init__(self, d=8, heads=4, inner=12, classes=3, batch_first=True, norm_first=False):
        super().__init__()
        self.words = nn.Embedding(20, d, padding_idx=0)
        layer = nn.TransformerEncoderLayer(
            d, heads, inner, dropout=0.0, batch_first=batch_first, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.batch_first = batch_first
        self.fc = nn.Linear(d, classes)

    def forward(self, ids):
        x = self.words(ids)
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.encoder(x, src_key_padding_mask=ids == 0)
        return self.fc(x[:, 0] if self.batch_first else x[0])


def inputs(net, rng, b=4):
    """An example for one of the above."""
    if isinstance(net, Encoder):
        ids = torch.randint(1, 20, (b, 6), generator=rng)
        ids[0, 4:] = 0
        return ids
    if isinstance(net, Grouped):
        return torch.randn(b, 6, 8, generator=rng)
    if isinstance(net, Perceptron):
        return torch.randn(b, 5, generator=rng)
    if isinstance(net, Sequences):
        return torch.randn(b, 2, 7, generator=rng)
    return torch.randn(b, 2, 8, 8, generator=rng)


ALL = [Convolutions, Residual, Sequences, Perceptron, Vit, Encoder]


def made(kind, seed=0, **settings):
    """A network and an example; norms and their statistics are away from where they begin."""
    torch.manual_seed(seed)
    net = kind(**settings)
    for module in net.modules():
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if value.ndim == 1 and "running_var" not in name:
                value.data.add_(0.3 * torch.randn_like(value))
            elif "running_var" in name:
                value.data.add_(torch.rand_like(value))
    return net, inputs(net, torch.Generator().manual_seed(seed))


class Grouped(nn.Module):
    """Attention whose keys serve several queries, and a gated feed-forward block with a norm inside."""

    def __init__(self, d=8, heads=4, keys=2, size=2, inner=12, classes=3):
        super().__init__()
        self.head_dim = size
        self.q_proj = nn.Linear(d, heads * size)
        self.k_proj, self.v_proj = nn.Linear(d, keys * size), nn.Linear(d, keys * size)
        self.o_proj = nn.Linear(heads * size, d)
        self.gate, self.up, self.down = nn.Linear(d, inner), nn.Linear(d, inner), nn.Linear(inner, d)
        self.within, self.fc = nn.LayerNorm(inner), nn.Linear(d, classes)

    def forward(self, x):
        parts = (
            layer(x).unflatten(-1, (-1, self.head_dim)) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k, v = (part.transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        x = x + self.o_proj(y.transpose(1, 2).flatten(2))
        x = x + self.down(self.within(F.silu(self.gate(x)) * self.up(x)))
        return self.fc(x.mean(1))
