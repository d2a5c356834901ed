"""Sources made of other sources: what they have in common with them, and what they say otherwise."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from unsum.alike import OneChannel
from unsum.engine import ResidualSource
from unsum.estimators.listening import Listening
from unsum.estimators.mono import TappedSource
from unsum.model import MixModel
from unsum.problem import ArraySource, PassedOn, Problem, ResampledSource

FACTS = ("name", "sample_rate", "channels", "bits", "lossless", "samples")
SOURCE = ArraySource("mix", np.arange(200, dtype=np.int32).reshape(2, 100), 8000, ("FL", "FR"), 16, lossless=False)
OTHER = ArraySource("song", np.zeros((1, 50), np.int32), 8000, ("FC",), 16)


def facts(source) -> dict[str, object]:
    return {name: getattr(source, name) for name in FACTS}


def test_one_that_says_nothing_has_all_of_its_source():
    nothing = MixModel(8000, ("FL", "FR"), {})
    made = [
        Listening(SOURCE),
        TappedSource(SOURCE, lambda block: None),
        ResidualSource(Problem(SOURCE, (OTHER,)), nothing),
    ]
    for one in made:
        assert facts(one) == facts(SOURCE)
        assert np.array_equal(np.concatenate(list(one.blocks()), axis=1), SOURCE.array)


def test_one_that_says_otherwise_has_the_rest_of_its_source():
    assert facts(OneChannel(SOURCE)) == facts(SOURCE) | {"channels": ("FL",)}
    resampled = ResampledSource(SOURCE, 16000)
    assert facts(resampled) == facts(SOURCE) | {"sample_rate": 16000, "bits": None, "samples": 200}


def test_what_a_source_says_for_itself_has_to_be_given():
    with pytest.raises(TypeError, match="sample_rate"):
        ResampledSource(SOURCE)  # pyright: ignore[reportCallIssue]
    assert not hasattr(ResampledSource(SOURCE, 16000), "__dict__")
    with pytest.raises(FrozenInstanceError):
        ResampledSource(SOURCE, 16000).sample_rate = 8000  # pyright: ignore[reportAttributeAccessIssue]


def test_nothing_is_passed_on_that_the_protocol_does_not_ask_for():
    assert {name for name, value in vars(PassedOn).items() if isinstance(value, property)} == set(FACTS)
