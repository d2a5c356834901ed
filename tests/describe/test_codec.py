"""What an encoder may have taken of a response."""

import numpy as np
import pytest

from unsum.describe.codec import lost_to_a_codec


def test_the_share_is_that_of_the_noise_in_the_image():
    filters = np.full((1, 1, 1), 0.5)
    # Noise 20 dB below the reference: a variance of 0.01 over the samples, and 0.04 of the image.
    variance = np.full((1, 1, 5), 0.01 / 1000)
    assert lost_to_a_codec(filters, variance, samples=1000) == pytest.approx(0.15 * 0.04)


@pytest.mark.filterwarnings("error")
def test_no_more_than_all_is_lost_and_nothing_where_there_is_no_noise():
    filters = np.zeros((2, 2, 4))
    filters[0, 0, 0] = 1e-3
    variance = np.zeros((2, 2, 5))
    variance[:, 0] = 1e3
    lost = lost_to_a_codec(filters, variance, samples=10**9)
    np.testing.assert_array_equal(lost[:, 0], 1.0)
    np.testing.assert_array_equal(lost[:, 1], 0.0)
