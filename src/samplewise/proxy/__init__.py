"""A narrow view of a network that shares the leading channels of its parameters: a proxy for selection."""

from samplewise.proxy.view import Slim, slim
from samplewise.proxy.widths import channels

__all__ = ["Slim", "channels", "slim"]
