"""`slim`: a narrow view of a network that uses the leading channels of its weights. A proxy for scoring."""

from samplewise.proxy.view import Slim, slim
from samplewise.proxy.widths import channels

__all__ = ["Slim", "channels", "slim"]
