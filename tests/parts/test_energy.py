"""The energy of a run in the ledger, by a meter that counts what the test says."""

import copy
import importlib.util
import pickle
import sys
import types

import pytest

from samplewise.cost.energy import EnergyMeter
from samplewise.cost.ledger import Ledger
from samplewise.integrations.energy import ZeusMeter
from samplewise.integrations.loggers import epoch_values
from tests.seams.toys import make, train


class Meter:
    """Uses `each` joules between two looks; None: the machine tells nothing."""

    def __init__(self, each):
        self.each, self.used = each, 0.0

    def joules(self):
        if self.each is None:
            return None
        self.used += self.each
        return self.used


def fixed(joules):
    meter = Meter(0.0)
    meter.used = joules
    return meter


def test_without_a_meter_nothing_is_told():
    ledger = Ledger()
    assert ledger.energy_joules is None
    assert "energy_joules" not in ledger.as_dict()
    assert "energy" not in str(ledger)
    assert ledger.state_dict()["energy_joules"] is None


def test_energy_is_what_the_meter_counts_from_then_on():
    ledger, meter = Ledger(), fixed(1000.0)
    assert isinstance(meter, EnergyMeter)
    ledger.measure_energy(meter)
    assert ledger.energy_joules == 0
    meter.used = 1250.0
    assert ledger.energy_joules == 250
    assert ledger.as_dict()["energy_joules"] == 250
    assert "energy in joules, estimated             250" in str(ledger)


def test_a_machine_that_tells_nothing_is_left_out():
    ledger = Ledger()
    ledger.measure_energy(Meter(None))
    assert ledger.energy_joules is None
    assert "energy" not in str(ledger)


def test_a_resumed_run_adds_up():
    first, meter = Ledger(), fixed(10.0)
    first.measure_energy(meter)
    meter.used = 110.0
    state = first.state_dict()
    assert state["energy_joules"] == 100
    again, later = Ledger(), fixed(5000.0)
    again.load_state_dict(state)
    assert again.energy_joules == 100
    again.measure_energy(later)
    later.used = 5030.0
    assert again.energy_joules == 130
    before, late = Ledger(), fixed(7.0)  # the meter before the state: it counts from the load on
    before.measure_energy(late)
    late.used = 57.0
    before.load_state_dict(state)
    late.used = 60.0
    assert before.energy_joules == 103
    before.load_state_dict({name: value for name, value in state.items() if name != "energy_joules"})
    assert before.energy_joules == 0


def test_a_copy_keeps_what_was_measured_and_has_no_meter():
    ledger, meter = Ledger(), fixed(0.0)
    ledger.measure_energy(meter)
    meter.used = 40.0
    twins = copy.deepcopy(ledger), pickle.loads(pickle.dumps(ledger))
    meter.used = 90.0
    assert [twin.energy_joules for twin in twins] == [40, 40]
    assert ledger.energy_joules == 90


def test_a_training_that_is_resumed_counts_both_parts():
    """1 joule a look: more are counted after the resume than before it, and choices are those without."""
    selector, model = make("infobatch")
    selector.ledger.measure_energy(Meter(1.0))
    seen = train(selector, model, until=2)
    state, weights = selector.state_dict(), copy.deepcopy(model.state_dict())
    told = state["ledger"]["energy_joules"]
    assert told > 0
    other, other_model = make("infobatch")
    other.load_state_dict(state)
    other_model.load_state_dict(weights)
    assert epoch_values(other)["energy_joules"] == told
    other.ledger.measure_energy(Meter(1.0))
    seen += train(other, other_model)
    assert other.ledger.energy_joules > told
    plain, plain_model = make("infobatch")
    reference = train(plain, plain_model, until=2)
    state, weights = plain.state_dict(), copy.deepcopy(plain_model.state_dict())
    rest, rest_model = make("infobatch")
    rest.load_state_dict(state)
    rest_model.load_state_dict(weights)
    assert seen == reference + train(rest, rest_model)


@pytest.fixture
def zeus(monkeypatch):
    """A stand-in for the package zeus: 2 accelerators, and a processor whose memory is counted too."""

    class Monitor:
        gpu_indices, cpu_indices = [0, 1], [0]
        open = False

        def begin_window(self, key, sync_execution=True):
            assert (self.open, sync_execution) == (False, False)
            self.open = True

        def end_window(self, key, sync_execution=True):
            assert (self.open, sync_execution) == (True, False)
            self.open = False
            return types.SimpleNamespace(
                gpu_energy={0: 3.0, 1: 4.0}, cpu_energy={0: 2.0}, dram_energy={0: 1.0}
            )

    monitor = types.ModuleType("zeus.monitor")
    monitor.ZeusMonitor = Monitor
    monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", monitor)
    return Monitor


def test_zeus_windows_add_up(zeus):
    meter = ZeusMeter()
    assert meter.measures
    assert [meter.joules() for _ in range(3)] == [10, 20, 30]


def test_zeus_without_counters_tells_nothing(zeus, monkeypatch):
    monkeypatch.setattr(zeus, "gpu_indices", [])
    monkeypatch.setattr(zeus, "cpu_indices", [])
    meter = ZeusMeter()
    assert not meter.measures
    assert meter.joules() is None


@pytest.mark.skipif(importlib.util.find_spec("zeus") is not None, reason="zeus is installed")
def test_a_missing_zeus_names_the_extra():
    with pytest.raises(ImportError, match=r"pip install 'samplewise\[energy\]'"):
        ZeusMeter()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("zeus") is None, reason="zeus is not installed")
def test_zeus_itself_is_read():
    meter = ZeusMeter()
    first, second = meter.joules(), meter.joules()
    assert (first is None and second is None) or second >= first >= 0
