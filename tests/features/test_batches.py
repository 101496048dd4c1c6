"""Batches on a CPU: several at once, in their order, and what becomes of errors."""

from __future__ import annotations

import threading

import pytest
import torch

from bids_encoder.features.batches import batches_of
from bids_encoder.features.cache import FeatureLayout
from bids_encoder.features.extractors import NetworkExtractor
from bids_encoder.features.reduction import Reduction
from bids_encoder.networks.registry import load_network


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3  # whatever happened
    torch.set_num_threads(before)


class Meeting:
    """Doubles numbers; no batch is done before three extractors are at work."""

    name, device, batch, context = "doubled", "cpu", None, 0
    layout = FeatureLayout({"network": "doubled"}, ("x",), (Reduction((1,), 1, (1,)),))

    def __init__(self, barrier=None, found=None):
        self.barrier = threading.Barrier(3, timeout=20) if barrier is None else barrier
        self.found = [] if found is None else found

    def prepare(self, image):
        return torch.tensor([float(image)])

    def compute(self, batch):
        self.barrier.wait()
        self.found.append((id(self), torch.get_num_threads()))
        return 2 * batch

    def replica(self):
        return Meeting(self.barrier, self.found)


def numbered(n, size=2):
    for i in range(n):
        yield i, [torch.tensor([float(size * i + k)]) for k in range(size)]


def test_several_at_once_in_their_order():
    extractor = Meeting()
    with batches_of(extractor, 2) as run:
        done = list(run.compute(numbered(12)))
    assert [mark for mark, _ in done] == list(range(12))
    assert torch.equal(torch.cat([rows for _, rows in done])[:, 0], 2 * torch.arange(24.0))
    assert len({which for which, _ in extractor.found}) == 3
    assert {threads for _, threads in extractor.found} == {1}


def test_batches_are_taken_as_they_are_needed():
    taken = []

    def source():
        for item in numbered(12):
            taken.append(item[0])
            yield item

    with batches_of(Meeting(), 2) as run:
        first, _ = next(run.compute(source()))
    assert first == 0 and len(taken) == 4  # one for each thread, and one that waits


def test_what_was_taken_before_an_error_comes_first():
    def source():
        yield from numbered(6)
        raise ValueError("the seventh")

    done = []
    with pytest.raises(ValueError, match="the seventh"), batches_of(Meeting(), 2) as run:
        for mark, _ in run.compute(source()):
            done.append(mark)
    assert done == list(range(6))


def test_an_error_in_a_batch_comes_in_its_place():
    class Failing(Meeting):
        def compute(self, batch):
            if batch[0] == 8:
                raise RuntimeError("batch 4")
            return batch

        def replica(self):
            return Failing(self.barrier, self.found)

    done, before = [], threading.active_count()
    with pytest.raises(RuntimeError, match="batch 4"), batches_of(Failing(), 2) as run:
        for mark, _ in run.compute(numbered(12)):
            done.append(mark)
    assert done == [0, 1, 2, 3]
    assert threading.active_count() == before


def test_replicas_of_a_network_give_what_it_gives_with_its_weights():
    network = load_network("efficientnet_lite0", untrained=True)
    replica = network.replica()
    pairs = zip(network.module.parameters(), replica.module.parameters(), strict=True)
    assert all(ours is theirs for ours, theirs in pairs)
    assert replica.module is not network.module

    torch.manual_seed(0)
    pictures = torch.randn(12, 3, network.input_size, network.input_size)
    batches = [(k, list(pictures[k : k + 2])) for k in range(0, 12, 2)]
    with batches_of(NetworkExtractor(network), 2) as run:
        at_once = torch.cat([rows for _, rows in run.compute(batches)])
    torch.set_num_threads(1)
    extractor = NetworkExtractor(network)
    alone = torch.cat([extractor.compute(pictures[k : k + 2]) for k in range(0, 12, 2)])
    torch.set_num_threads(3)
    assert torch.equal(at_once, alone)  # to the bit, whatever the number of threads
    assert not any(module._forward_hooks for module in network.module.modules())
