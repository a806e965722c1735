"""The smallest image a network takes."""


def at_least(side: int, name: str, image_size: int) -> None:
    """Refuse images that a network would shrink to nothing worth learning from."""
    if image_size < side:
        raise ValueError(
            f"{name} needs images of at least {side} pixels, got {image_size}. Give --size {side} or more."
        )
