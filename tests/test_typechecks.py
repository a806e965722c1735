"""Tests of the checks that every test makes at each call."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import Float, Int64
from torch import Tensor

from samplewise import signals
from tests.typechecks import checked

check = checked(typechecker=beartype(conf=BeartypeConf(violation_type=TypeError)))


@check
def scaled(rows: Float[Tensor, "n d"], by: Float[Tensor, " n"], times: int = 1) -> Float[Tensor, "n d"]:
    return rows * by[:, None] * times if times > 0 else rows[:1]


@check
@dataclasses.dataclass
class Pair:
    ids: Int64[Tensor, " n"]
    weights: Float[Tensor, " n"]


class Holder:
    @check
    @classmethod
    def made(cls, n: int) -> int:
        return n

    @check
    @property
    def wrong(self) -> int:
        return "text"

    @check
    def plain(self, n: int, *, k: int | None = None) -> int:
        return n if k is None else k


@check
def numbers(n: int) -> Iterator[int]:
    yield from map(str, range(n))


@check  # `Unknown` stands for a name that only a type checker imports.
def forward(x: "Unknown", n: "int") -> "int":  # noqa: F821
    return n


def test_right_calls_pass():
    assert torch.equal(scaled(torch.ones(3, 2), torch.ones(3), times=2), torch.full((3, 2), 2.0))
    assert Pair(torch.arange(2), torch.ones(2)).ids.tolist() == [0, 1]
    assert (Holder.made(2), Holder().plain(1), Holder().plain(1, k=4)) == (2, 1, 4)
    assert list(numbers(2)) == ["0", "1"]  # what is yielded is not looked at
    assert forward("anything", 2) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: scaled(torch.ones(3, 2), torch.ones(2)),  # an axis with two sizes
        lambda: scaled(torch.ones(3, 2), torch.ones(3), 0),  # a result with another size
        lambda: scaled(torch.ones(3, 2), torch.ones(3, dtype=torch.long)),
        lambda: scaled(torch.ones(3, 2), torch.ones(3), times="2"),
        lambda: Pair(torch.arange(2), torch.ones(3)),
        lambda: Pair(torch.ones(2), torch.ones(2)),
        lambda: Holder.made("2"),
        lambda: Holder().wrong,
        lambda: Holder().plain("1"),
        lambda: Holder().plain(1, k="4"),
        lambda: numbers("2"),
        lambda: forward("anything", "2"),
    ],
)
def test_wrong_calls_are_refused(call):
    with pytest.raises(TypeError):
        call()


def test_an_axis_has_its_size_in_one_call_only():
    @check
    def outer(rows: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        scaled(torch.ones(5, 2), torch.ones(5))
        return rows

    assert outer(torch.ones(3)).shape == (3,)


def test_the_package_is_checked():
    with pytest.raises(TypeError, match=r"b c.* as this array has 1 dimensions, not the 2"):
        signals.el2n(torch.ones(3), torch.zeros(3, dtype=torch.long))
