"""Networks of papers that samplewise does not have: torchvision's, for images of 224 pixels.

Name them as `paper_models:resnet34`, with `PYTHONPATH=studies/seeds`. They need `pip install torchvision`.
`vit_large` downloads weights that were trained on larger images: the paper does not name its own.
"""

from torch import nn


def resnet18(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """ResNet-18 with the stem for large images."""
    return _torchvision("resnet18", in_channels, num_classes=classes)


def resnet34(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """ResNet-34 with the stem for large images."""
    return _torchvision("resnet34", in_channels, num_classes=classes)


def resnet50(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """ResNet-50 with the stem for large images."""
    return _torchvision("resnet50", in_channels, num_classes=classes)


def swin_t(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Swin-T, from random weights."""
    return _torchvision("swin_t", in_channels, num_classes=classes)


def vit_large(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """ViT-L/16 to be fine-tuned, with a new last layer."""
    model = _torchvision("vit_l_16", in_channels, weights="IMAGENET1K_SWAG_LINEAR_V1")
    model.heads = nn.Linear(1024, classes)
    return model


def _torchvision(name: str, in_channels: int, **options: object) -> nn.Module:
    from torchvision import models

    if in_channels != 3:
        raise ValueError(f"{name} takes images of 3 channels, got {in_channels}.")
    return getattr(models, name)(**options)
