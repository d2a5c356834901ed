"""What ``unsum remove`` must show: depth beside its peers, exactness, refusals, no harm, the cost of an hour.

    python benchmarks/remove.py                          every row
    python benchmarks/remove.py --rows pairs no_harm     some of them
    python benchmarks/remove.py --rows hour --minutes 10 --work DIR

pairs    real recordings that share a clock with what is in them: what is left, in dB of the recording where the
         reference sounds, after plain inversion, whole-sample alignment with one gain, ffmpeg's ``anlms`` (the best
         of its settings) and unsum; where the missing sound is known, how near each comes to it (SI-SDR)
exact    random sums of lossless files: how many give back the missing file bit for bit
absent   references that are not in the recording: how many are refused, with nothing changed
no_harm  silent, too short, broken and empty files, and the recording as its own reference
hour     an hour of stereo at 48 kHz, a song through a room under speech: time, memory, and where the time goes

Truth and peers decode with the ffmpeg program. CPU times are the kernel's, of whole processes; wall times are only
worth something on quiet cores. Figures are kept in ``benchmarks/figures/remove.json`` and ``remove.txt``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from remove_rows.absent import absent
from remove_rows.exact import exact
from remove_rows.figures import ROW_NAMES, Table, keep
from remove_rows.hour import hour, watched_removal
from remove_rows.measuring import AUDIO, scenes
from remove_rows.no_harm import no_harm
from remove_rows.pairs import pairs

ROWS: dict[str, Callable[..., dict]] = {"pairs": pairs, "exact": exact, "absent": absent, "no_harm": no_harm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROW_NAMES, default=ROW_NAMES)
    parser.add_argument("--only", default="", help="pairs with this in their name, or the one exact sum of this seed")
    parser.add_argument("--minutes", type=float, default=60, help="length of the hour")
    parser.add_argument("--work", type=Path, help="folder for the files that are made, kept; else a temporary one")
    parser.add_argument("--watched", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watched:
        print(json.dumps(watched_removal(*arguments.watched)))
        return
    ffmpeg = scenes.find_ffmpeg()
    if ffmpeg is None or not AUDIO.is_dir():
        sys.exit(f"needs an ffmpeg and real audio at {AUDIO}; name a folder in UNSUM_AUDIO")
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for row in arguments.rows:
            table = Table()
            if row == "hour":
                found = hour(table, work, ffmpeg, arguments.minutes)
            else:
                found = ROWS[row](table, work, ffmpeg, arguments.only)
            if row == "pairs" or not arguments.only:
                keep(row, found | {"table": table.lines})


if __name__ == "__main__":
    main()
