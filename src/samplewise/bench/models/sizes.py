"""The smallest image size of a network."""


def at_least(side: int, name: str, image_size: int) -> None:
    """Raise if images have fewer than `side` pixels per side."""
    if image_size < side:
        raise ValueError(
            f"{name} needs images of at least {side} pixels, got {image_size}. Use --size {side} or more."
        )
