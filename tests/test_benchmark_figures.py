"""What benchmarks keep is the same wherever they ran."""

import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside the tests")
def test_messages_name_files_without_the_folder_of_that_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # Set for good where the rows are imported; put back here.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", os.environ.get("OPENBLAS_NUM_THREADS", "1"))
    from remove_rows.figures import names_only

    files = (tmp_path / "made" / "empty.wav", tmp_path / "songs" / "a.flac", tmp_path / "b.flac")
    told = "unsum: {} cannot be read; {} and {} can".format(*files)
    shown = names_only(told, tmp_path, tmp_path / "made", tmp_path / "songs")
    assert shown == "unsum: empty.wav cannot be read; a.flac and b.flac can"
