"""Policies, the registry and what a policy tells about itself."""

import dataclasses
import pickle

import pytest

from samplewise import Policy, Selector, pickers, recipe, recipes, schedules, signals, trackers


def policy(**parts):
    return Policy(signal=signals.loss, tracker=trackers.Last(), source="training", **parts)


def test_the_level_follows_from_the_pickers():
    assert Policy().level == "epoch"
    assert policy(picker=pickers.TopK(0.5)).level == "epoch"
    assert policy(batch_picker=pickers.TopK(0.5)).level == "batch"
    assert policy(picker=pickers.TopK(0.5), final="end").level == "static"
    assert policy(picker=pickers.TopK(0.5), batch_picker=pickers.TopK(0.5)).level == "epoch+batch"


def test_what_a_policy_needs_and_ranks_by():
    three = Policy(
        signal=(signals.correct, signals.confidence),
        tracker=trackers.Last(),
        picker=pickers.TopK(0.5, by="confidence"),
        source="pass",
    )
    assert three.needs == ("loss", "logits", "targets")
    assert three.ranks == "confidence"
    assert policy(picker=pickers.TopK(0.5)).ranks == "loss"
    assert dataclasses.replace(policy(), tracker=trackers.Ema(0.5)).ranks == "mean"
    assert recipes.eswp().ranks == "weight"
    assert Policy().ranks is None


def test_scoring_and_sign_follow_from_the_parts():
    assert not policy(picker=pickers.TopK(0.5)).scores
    assert policy(batch_picker=pickers.TopK(0.5)).scores
    assert recipes.ucb().scores
    assert not recipes.random_batch().scores
    assert policy(batch_picker=pickers.Weighted(0.5)).nonnegative
    assert policy(picker=pickers.PerClass(pickers.Weighted(0.5))).nonnegative
    assert not policy(batch_picker=pickers.TopK(0.5)).nonnegative
    assert policy(picker=pickers.PerClass(pickers.TopK(0.5))).by_class


def test_a_policy_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"Policy\.source must be 'none' exactly when there is no signal"):
        Policy(source="training")
    with pytest.raises(ValueError, match=r"Policy\.source must be 'none' exactly when there is no signal"):
        Policy(signal=signals.loss, tracker=trackers.Last())
    with pytest.raises(ValueError, match=r"Policy\.tracker must be given when there is a signal"):
        Policy(signal=signals.loss, source="training")
    with pytest.raises(ValueError, match=r"Policy\.every must be >= 1, got 0"):
        Policy(every=0)
    with pytest.raises(
        ValueError, match=r"Policy\.source must be one of .*got 'trianing'\. Did you mean 'training'"
    ):
        Policy(signal=signals.loss, tracker=trackers.Last(), source="trianing")


def test_the_policy_of_an_epoch_has_numbers_for_schedules():
    scheduled = policy(picker=pickers.TopK(schedules.Linear(1.0, 0.5)))
    assert scheduled.at(1, 2).picker == pickers.TopK(0.75)


def test_every_epoch_is_checked_before_the_first():
    outside_in_the_middle = schedules.Between(7.0, outside=1.0, start=0.4, stop=0.6)
    with pytest.raises(ValueError, match=r"TopK\.keep must be in \(0, 1\], got 7\.0"):
        policy(picker=pickers.TopK(outside_in_the_middle)).check(10)


BUILT = [made for made in recipes.all().values() if made.toy is None and isinstance(made(), Policy)]


@pytest.mark.parametrize("made", BUILT, ids=repr)
def test_policies_pickle_compare_and_show_how_they_were_made(made):
    built = made()
    assert pickle.loads(pickle.dumps(built)) == built
    assert eval(repr(built), {"recipes": recipes}) == built
    assert pickle.loads(pickle.dumps(made)) is made
    assert (built.name, built.level, built.source) == (made.name, made.level, made.source)
    assert dict(built.params) == {word: p.default for word, p in made.signature.parameters.items()}


def test_a_bare_policy_shows_its_parts():
    built = policy(picker=pickers.TopK(0.5))
    names = {"Policy": Policy, "signals": signals, **vars(trackers), **vars(pickers)}
    assert eval(repr(built), names) == built


def test_ones_own_recipe_is_registered_and_found(registry):
    @recipe(paper="-", level="epoch", source="none")
    def mine(keep: pickers.Keep = 0.5) -> Policy:
        """A half."""
        return Policy(picker=pickers.Uniform(keep))

    assert recipes.get("mine") is mine
    assert recipes.parse("mine:keep=0.25") == mine(keep=0.25)
    assert mine.__doc__ == "A half."
    with pytest.raises(ValueError, match=r"mine\.keep must be in \(0, 1\], got 70. Did you mean 0\.7\?"):
        mine(keep=70)


def test_a_name_is_taken_once_and_a_level_is_held_to(registry):
    def ucb() -> Policy:
        return Policy()

    with pytest.raises(ValueError, match="a recipe named 'ucb' is registered already"):
        recipe(paper="-", level="epoch", source="none")(ucb)

    @recipe(paper="-", level="batch", source="none")
    def wrong_level() -> Policy:
        return Policy()

    with pytest.raises(
        ValueError,
        match="is registered with level='batch' and source='none', but its policy has level='epoch'",
    ):
        wrong_level()


def test_parameters_on_the_command_line():
    assert recipes.parse("full") == recipes.full()
    assert recipes.parse("ucb:keep=0.3, period=5") == recipes.ucb(keep=0.3, period=5)
    milestones = recipes.parse("kakurenbo:milestones=(0.1,0.2,0.3),keep=0.5")
    assert milestones.params["milestones"] == (0.1, 0.2, 0.3)
    assert recipes.parse("ordered_sgd:keep=adaptive") == recipes.ordered_sgd(keep="adaptive")
    assert recipes.parse("infobatch:exact=False").params["exact"] is False


@pytest.mark.parametrize("made", BUILT, ids=lambda made: made.name)
def test_the_command_line_form_and_the_repr_are_read_by_one_parser(made):
    built = made()
    assert recipes.parse(repr(built)) == recipes.parse(f"sw.{built!r}") == recipes.parse(made.name) == built


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("recipes.ucb(0.3)", "must be one call with named parameters, as in recipes.tdds"),
        ("recipes.ucb(keep=0.3).name", "must be one call with named parameters"),
        ("recipes.ucb(keep=0.3, keep=0.4)", "keep is given twice"),
        ("recipes.ucb(keep=open('x'))", r"parameters must be plain values, .* got keep=open\('x'\)"),
        ("recipes.ucbb(keep=0.3)", "unknown method 'ucbb'. Did you mean 'ucb'?.* import its module first"),
    ],
)
def test_a_repr_that_is_no_call_of_a_recipe_is_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        recipes.parse(spec)


def test_what_only_a_static_policy_has_is_refused_elsewhere():
    with pytest.raises(ValueError, match="is for static coresets"):
        Policy(picker=pickers.TopK(0.5), weighting="per_sample")
    with pytest.raises(ValueError, match="must have a picker and no batch_picker"):
        Policy(batch_picker=pickers.Uniform(0.5), final="end")
    with pytest.raises(ValueError, match=r"scores before epoch 5, but training has only 3 epochs"):
        Selector(recipes.grand(at=5), 8, epochs=3)
    with pytest.raises(ValueError, match=r"entropy\.at must be a number or one of 'end', got 'start'"):
        recipes.entropy(at="start")


def test_building_checks_a_schedule_at_its_extremes_and_reads_it_once_an_epoch():
    reads, checks = [], []

    @dataclasses.dataclass(frozen=True)
    class Bent(schedules.Schedule):
        worst: float

        def at(self, epoch, epochs):
            reads.append(epoch)
            return self.worst if epoch == 700 else 0.5

    class Counted(pickers.TopK):
        def __init__(self, keep, by=None):
            checks.append(keep)
            super().__init__(keep, by)

    Policy(picker=Counted(Bent(0.9))).check(1000)
    assert len(reads) < 1100
    assert len(checks) < 10
    for worst in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"TopK.keep must be in \(0, 1\], got"):
            Policy(picker=pickers.TopK(Bent(worst))).check(1000)
