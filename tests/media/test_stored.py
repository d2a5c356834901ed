"""Samples on the scale of the stream they are written to."""

import numpy as np
import pytest

from unsum.media.encode import OutputAudio
from unsum.media.stored import DoesNotFit, as_stored


def audio(bits: int | None) -> OutputAudio:
    return OutputAudio(
        title="", channels=("FC",), sample_rate=8000, bits=bits, stored_bits=32 if bits is None else bits
    )


def test_integers_keep_their_value_on_a_finer_scale():
    stored, beyond = as_stored(np.array([[1, -32768]]), 16, audio(24))
    assert stored.tolist() == [[256, -(1 << 23)]]
    assert beyond == 0


def test_floats_are_rounded_to_the_nearest_step():
    stored, _ = as_stored(np.array([[0.5, -0.5, 1.4 / 32768, -1.6 / 32768]]), None, audio(16))
    assert stored.tolist() == [[16384, -16384, 1, -2]]


def test_what_is_beyond_the_scale_is_refused_or_clipped_and_counted():
    loud = np.array([[40_000, 0, -40_000]])
    with pytest.raises(DoesNotFit):
        as_stored(loud, 16, audio(16))
    stored, beyond = as_stored(loud, 16, audio(16), clip=True)
    assert stored.tolist() == [[32767, 0, -32768]]
    assert beyond == 2


def test_floating_point_holds_everything():
    stored, beyond = as_stored(np.array([[40_000]]), 16, audio(None))
    assert stored.tolist() == [[40_000 / 32768]]
    assert beyond == 0
