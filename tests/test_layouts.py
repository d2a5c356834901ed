import pytest

from unsum.errors import UsageError
from unsum.layouts import LAYOUTS, layout_channels, layout_name


def test_seven_one_is_in_matroska_and_flac_order():
    assert layout_channels("7.1") == ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")


def test_every_layout_is_named_by_its_channels():
    for name, channels in LAYOUTS.items():
        assert layout_name(channels) == name


def test_a_list_of_channels_is_a_layout():
    assert layout_channels("FL+LFE") == ("FL", "LFE")
    assert layout_name(("FL", "LFE")) == "FL+LFE"


@pytest.mark.parametrize("wrong", ["7.2", "FL+FL", "FL+x", "FL + FR", ""])
def test_an_unknown_layout_is_refused_with_a_hint(wrong):
    with pytest.raises(UsageError, match="unknown layout"):
        layout_channels(wrong)
