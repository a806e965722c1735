"""Accelerate on two processes: one plan, the gradient of one process, and a resumed run that is the same."""

import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.integrations.accelerate_runs import BATCH, Numbered, built, on_two, trained

EPOCH_LEVEL = ["full", "infobatch", "ucb", "kakurenbo"]
BATCH_LEVEL = ["loss_sampling", "eswp"]


def refusals():
    """What is said of settings under which processes would get other batches than the selector counts."""
    said = []
    for setting in ({"split_batches": True}, {"even_batches": False}):
        accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**setting))
        try:
            built("full", accelerator)
        except ValueError as error:
            said.append(str(error))
    return said


def two(folder):
    """All that one process of two does."""
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    told = {name: trained(accelerator, *built(name, accelerator, name=name)) for name in EPOCH_LEVEL}
    for name in BATCH_LEVEL:
        told[name] = trained(accelerator, *built(name, accelerator, name=name))
    told["dropped"] = trained(accelerator, *built("infobatch", accelerator, name="dropped", drop_last=True))
    for name in ("infobatch", "eswp"):
        saving = Accelerator(cpu=True)
        begun = trained(saving, *built(name, saving), stop=(1, 0))
        saving.save_state(f"{folder}/{name}")
        loading = Accelerator(cpu=True)
        run = built(name, loading)
        loading.load_state(f"{folder}/{name}")
        told[f"resumed {name}"] = begun[0], trained(loading, *run)
    told["refused"] = refusals()
    told["unlike"] = unlike(accelerator)
    return told


def unlike(accelerator):
    """What is said where each process has a seed of its own."""
    selector = sw.Selector(
        "infobatch",
        Numbered(),
        lambda data: data[0].sum(1),
        epochs=2,
        batch_size=BATCH,
        seed=accelerator.process_index,
    )
    with pytest.raises(ValueError, match="the 2 processes must train with the same Selector") as refused:
        next(iter(prepare(selector, accelerator, name="unlike")))
    return str(refused.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the processes save."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def both(folder):
    """What both processes tell."""
    return on_two(two, folder)


@pytest.mark.parametrize("name", EPOCH_LEVEL)
def test_two_processes_plan_and_step_as_one_with_the_double_batch(both, name):
    accelerator = Accelerator(cpu=True)
    alone, weights = trained(accelerator, *built(name, accelerator))
    for epoch, (plan, steps) in enumerate(alone):
        shares = [rank[name][0][epoch] for rank in both]
        assert shares[0][0] == shares[1][0] == plan
        assert len(shares[0][1]) == len(shares[1][1]) == len(steps)
        for (ids, rows), first, second in zip(steps, shares[0][1], shares[1][1], strict=True):
            assert (first[0] + second[0])[: len(ids)] == ids  # padding comes after
            assert first[1] + second[1] == rows
    assert both[0][name][1] == both[1][name][1]
    torch.testing.assert_close(
        [torch.tensor(value) for value in both[0][name][1]],
        [torch.tensor(value) for value in weights],
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", BATCH_LEVEL)
def test_each_process_narrows_its_own_batch_and_the_weights_stay_one(both, name):
    first, second = both[0][name], both[1][name]
    assert first[1] == second[1]
    for (plan, mine), (same, others) in zip(first[0], second[0], strict=True):
        assert plan == same
        for (ids, rows), (other_ids, other_rows) in zip(mine[:-1], others[:-1], strict=True):
            assert not set(ids) & set(other_ids)
            assert rows == other_rows <= len(ids) == BATCH
    assert any(rows < len(ids) for _, steps in first[0] for ids, rows in steps)


def test_drop_last_drops_what_is_no_whole_round(both):
    for rank in both:
        for plan, steps in rank["dropped"][0]:
            assert [len(ids) for ids, _ in steps] == [BATCH] * (len(plan) // (2 * BATCH))


def without_padding(rank, epochs):
    """Per epoch and step the ids that are this process's own; on resume the padding is other ids."""
    own = []
    for plan, steps in epochs:
        left = [len(plan) - 2 * BATCH * step - BATCH * rank for step in range(len(steps))]
        own.append([(ids[: max(0, most)], rows) for most, (ids, rows) in zip(left, steps, strict=True)])
    return own


@pytest.mark.parametrize("name", ["infobatch", "eswp"])
def test_a_resumed_run_of_two_is_the_uninterrupted_one(both, name):
    for rank, told in enumerate(both):
        whole, weights = told[name]
        begun, (rest, resumed) = told[f"resumed {name}"]
        joined = [*begun[:-1], (rest[0][0], begun[-1][1] + rest[0][1]), *rest[1:]]
        assert [plan for plan, _ in joined] == [plan for plan, _ in whole]
        assert without_padding(rank, joined) == without_padding(rank, whole)
        assert resumed == weights


def test_a_run_of_two_goes_on_with_one(both, folder):
    accelerator = Accelerator(cpu=True)
    run = built("infobatch", accelerator)
    accelerator.load_state(folder / "infobatch")
    rest, _ = trained(accelerator, *run)
    begun = [told["resumed infobatch"][0][1][1] for told in both]
    shown = [ids for steps in (*begun, rest[0][1]) for ids, _ in steps]
    assert sorted(i for ids in shown for i in ids) == rest[0][0] == both[0]["infobatch"][0][1][0]


def test_settings_that_deal_otherwise_are_refused_by_name(both):
    split, uneven = both[0]["refused"]
    assert "split_batches=True" in split
    assert "even_batches=False" in uneven


def test_processes_with_other_seeds_are_told_so_before_the_first_batch(both):
    assert "these differ: seed (0 on rank 0, 1 on rank 1)" in both[0]["unlike"]
    assert both[0]["unlike"] == both[1]["unlike"]
