"""Recipes: what is read, what it means for a file's channels, and what is said when it is wrong."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsum.errors import InputError, RefusedError, UsageError
from unsum.layouts import LAYOUTS, layout_channels
from unsum.streams.equations import SourceChannel, StreamChannel, mixing_equations
from unsum.streams.recipe import Recipe, Source, Term, format_recipe, load_recipe, parse_recipe, parse_sum

ARTICLE = """
[sources]
zoom    = { layout = "mono",   title = "Zoom broadcast" }
voice   = { layout = "stereo", title = "Voice" }
desktop = { layout = "7.1",    title = "Desktop 7.1" }

[streams]                       # audio stream number = what was summed into it
0 = "desktop + desktop[FL,FR] + zoom"
1 = "voice + desktop[FL,FR] + zoom"
2 = "desktop[FL,FR] + zoom"
"""
SEVEN_ONE = layout_channels("7.1")
STEREO = layout_channels("stereo")


def recipe_of(sum_text: str, sources: str = 'voice = "stereo"\nzoom = "mono"\nroom = "5.1"') -> str:
    return f'[sources]\n{sources}\n[streams]\n0 = "voice + zoom + room"\n1 = "{sum_text}"\n'


def row_of(sum_text: str, channels: tuple[str, ...], layout: str = "mono") -> dict[str, dict[str, Fraction]]:
    """What each channel of one stream holds of the one source ``a``, by their names."""
    recipe = parse_recipe(f'[sources]\na = "{layout}"\n[streams]\n0 = "{sum_text}"\n')
    rows = mixing_equations(recipe, {0: channels}).rows
    return {key.channel: {unknown.channel: gain for unknown, gain in row.items()} for key, row in rows.items()}


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text, name="obs.toml")
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what a recipe means ---


def test_the_articles_streams_are_these_sums():
    equations = mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE))
    assert [equations.label(unknown) for unknown in equations.unknowns] == [
        "zoom", "voice.FL", "voice.FR", *(f"desktop.{channel}" for channel in SEVEN_ONE)
    ]  # fmt: skip
    words = {
        str(key): {equations.label(unknown): gain for unknown, gain in row.items()}
        for key, row in equations.rows.items()
    }
    assert len(words) == 24
    assert words["s0.FL"] == {"desktop.FL": 2, "zoom": 1}
    assert words["s0.FR"] == {"desktop.FR": 2, "zoom": 1}
    assert words["s0.LFE"] == {"desktop.LFE": 1}
    assert words["s1.FL"] == {"voice.FL": 1, "desktop.FL": 1, "zoom": 1}
    assert words["s2.FR"] == {"desktop.FR": 1, "zoom": 1}
    assert words["s1.FC"] == words["s2.SR"] == {}


def test_titles_and_layouts_are_read_and_a_layout_alone_is_enough():
    recipe = parse_recipe('[sources]\nmic = "mono"\ntv = {layout = "5.1", title = "Telly"}\n[streams]\n0 = "mic+tv"')
    assert recipe.sources == (Source("mic", "mono", "mic"), Source("tv", "5.1", "Telly"))
    assert recipe.sources[0].title == "mic"
    assert recipe.sources[1].channels == ("FL", "FR", "FC", "LFE", "BL", "BR")


@pytest.mark.parametrize(
    ("text", "gain"),
    [
        ("a", Fraction(1)),
        ("-a", Fraction(-1)),
        ("+ a", Fraction(1)),
        ("2*a", Fraction(2)),
        ("-3 * a", Fraction(-3)),
        ("0.1*a", Fraction(1, 10)),
        (".5*a", Fraction(1, 2)),
        ("1/3*a", Fraction(1, 3)),
        ("1 / 2 * a", Fraction(1, 2)),
        ("0.5/2*a", Fraction(1, 4)),
    ],
)
def test_gains_are_exact_fractions(text, gain):
    assert parse_sum(text) == (Term(gain, "a"),)


def test_terms_of_one_source_add_up():
    assert row_of("a + 1/2*a - 0.25*a", ("FC",)) == {"FC": {"FC": Fraction(5, 4)}}


def test_terms_that_cancel_leave_nothing():
    assert row_of("a[FL,FR] - a[FL]", STEREO, "stereo") == {"FL": {}, "FR": {"FR": 1}}


def test_a_stream_may_hold_nothing():
    recipe = parse_recipe('[sources]\na = "stereo"\n[streams]\n0 = "a"\n1 = ""\n2 = " "')
    rows = mixing_equations(recipe, dict.fromkeys(range(3), STEREO)).rows
    assert recipe.streams[1] == recipe.streams[2] == ()
    assert rows[StreamChannel(1, "FL")] == rows[StreamChannel(2, "FR")] == {}


def test_a_mono_source_goes_to_both_front_channels_and_to_no_other():
    rows = row_of("a", SEVEN_ONE)
    assert rows["FL"] == rows["FR"] == {"FC": 1}
    assert all(not rows[channel] for channel in SEVEN_ONE[2:])


def test_a_mono_source_goes_to_the_only_channel_of_a_mono_stream():
    assert row_of("a", ("FC",)) == {"FC": {"FC": 1}}


def test_a_mono_source_goes_to_the_centre_where_there_is_no_front_pair():
    assert row_of("a", ("FC", "LFE")) == {"FC": {"FC": 1}, "LFE": {}}


def test_brackets_of_a_mono_source_name_the_streams_channels():
    assert row_of("2*a[FL] - a[SR]", SEVEN_ONE)["FL"] == {"FC": 2}
    assert row_of("2*a[FL] - a[SR]", SEVEN_ONE)["SR"] == {"FC": -1}
    assert row_of("2*a[FL] - a[SR]", SEVEN_ONE)["FR"] == {}


def test_spaces_and_line_breaks_do_not_matter():
    assert parse_sum(" a[ FL , FR ]\n\t-  2 * b ") == parse_sum("a[FL,FR]-2*b")


def test_a_number_and_a_name_are_told_apart():
    assert parse_sum("2*a2 + _3") == (Term(Fraction(2), "a2"), Term(Fraction(1), "_3"))


def test_streams_that_the_recipe_leaves_out_are_not_used():
    recipe = parse_recipe('[sources]\na = "stereo"\n[streams]\n1 = "a"')
    rows = mixing_equations(recipe, {0: SEVEN_ONE, 1: STEREO, 2: ("FC",)}).rows
    assert list(map(str, rows)) == ["s1.FL", "s1.FR"]


def test_streams_may_differ_in_layout():
    recipe = parse_recipe('[sources]\na = "5.1"\nm = "mono"\n[streams]\n0 = "a + m"\n1 = "a[FL,FR]"\n2 = "m"')
    rows = mixing_equations(recipe, {0: layout_channels("5.1"), 1: STEREO, 2: ("FC",)}).rows
    assert rows[StreamChannel(0, "FC")] == {SourceChannel("a", "FC"): 1}
    assert rows[StreamChannel(2, "FC")] == {SourceChannel("m", "FC"): 1}


# --- writing recipes ---

GAINS = st.fractions(min_value=-9, max_value=9, max_denominator=12).filter(bool)
NAMES = st.one_of(st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True), st.sampled_from(["Ü", "музыка", "声"]))
TITLES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def recipes(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    sources = [Source(name, draw(st.sampled_from(sorted(LAYOUTS))), draw(TITLES)) for name in names]
    streams = {}
    for stream in draw(st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True)):
        terms = []
        for source in draw(st.lists(st.sampled_from(sources), max_size=4)):
            some = st.lists(st.sampled_from(source.channels), min_size=1, unique=True).map(tuple)
            terms.append(Term(draw(GAINS), source.name, draw(st.none() | some)))
        streams[stream] = tuple(terms)
    streams[99] = tuple(Term(Fraction(1), name) for name in names)
    return Recipe(tuple(sources), streams)


@given(recipe=recipes(), comment=TITLES)
def test_a_written_recipe_reads_back_as_the_same(recipe, comment):
    assert parse_recipe(format_recipe(recipe, comment=comment)) == recipe


def test_a_recipe_is_written_as_one_would_write_it():
    written = format_recipe(parse_recipe(ARTICLE), comment="found in lecture.mkv\nby its silences")
    assert written == (
        "# found in lecture.mkv\n"
        "# by its silences\n"
        "\n"
        "[sources]\n"
        'zoom    = { layout = "mono", title = "Zoom broadcast" }\n'
        'voice   = { layout = "stereo", title = "Voice" }\n'
        'desktop = { layout = "7.1", title = "Desktop 7.1" }\n'
        "\n"
        "[streams]\n"
        '0 = "desktop + desktop[FL,FR] + zoom"\n'
        '1 = "voice + desktop[FL,FR] + zoom"\n'
        '2 = "desktop[FL,FR] + zoom"\n'
    )


def test_gains_are_written_as_fractions_and_signs():
    recipe = parse_recipe('[sources]\na = "mono"\n[streams]\n0 = "-0.5*a + 2*a[FL] - a[FR]"')
    assert '0 = "-1/2*a + 2*a[FL] - a[FR]"' in format_recipe(recipe)


# --- reading files ---


def test_a_recipe_file_with_a_byte_order_mark_and_dos_line_ends_is_read(tmp_path):
    path = tmp_path / "obs.toml"
    path.write_bytes(b"\xef\xbb\xbf" + ARTICLE.replace("\n", "\r\n").encode())
    assert load_recipe(path) == parse_recipe(ARTICLE)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot read recipe .*none\.toml: No such file or directory; check"):
        load_recipe(tmp_path / "none.toml")


def test_a_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot read recipe"):
        load_recipe(tmp_path)


def test_a_file_that_is_not_utf8_is_an_input_error(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes('[sources]\n# für\na = "mono"'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.toml is not UTF-8 text \(byte 13\); save it as UTF-8"):
        load_recipe(path)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "lecture.toml"
    path.write_text(recipe_of("voise"), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert str(caught.value) == "lecture.toml: stream 1: unknown source 'voise'; did you mean 'voice'?"


# --- what is said about a malformed recipe ---


@pytest.mark.parametrize(
    ("sum_text", "message"),
    [
        ("voise", "unknown source 'voise'; did you mean 'voice'?"),
        ("Voice", "unknown source 'Voice'; did you mean 'voice'?"),
        ("xyzzy", "unknown source 'xyzzy'; [sources] has voice, zoom, room"),
        ("voice[FC]", "voice[FC]: unknown channel 'FC'; voice has FL, FR"),
        ("room[fl]", "room[fl]: unknown channel 'fl'; did you mean 'FL'?"),
        ("room[XYZ]", "room[XYZ]: unknown channel 'XYZ'; room has FL, FR, FC, LFE, BL, BR"),
        ("2*room[SL]", "2*room[SL]: unknown channel 'SL'; room has FL, FR, FC, LFE, BL, BR"),
        ("voice[]", "voice[] lacks a channel name; leave the brackets out to mean all"),
        ("voice[FL,]", "voice[FL,] lacks a channel name; leave the brackets out to mean all"),
        ("voice[FL,FL]", "voice[FL,FL] names FL 2 times; write a gain instead"),
        ("0*voice", "0*voice adds nothing; leave it out"),
        ("1/0*voice", "'1/0' divides by zero"),
        ("voice zoom", "expected + or - at character 7 of 'voice zoom', not 'zoom'"),
        ("voice + ", "expected a source or a number at the end of 'voice + '"),
        ("voice +* zoom", "expected a source or a number at character 8 of 'voice +* zoom', not '*'"),
        ("voice - -zoom", "expected a source or a number at character 9 of 'voice - -zoom', not '-'"),
        ("2 voice", "expected * after a number (decimals have a point: 0.5) at character 3 of '2 voice', not 'voice'"),
        ("2*", "expected a source at the end of '2*'"),
        ("2", "expected * after a number (decimals have a point: 0.5) at the end of '2'"),
        ("2*3*zoom", "expected a source at character 3 of '2*3*zoom', not '3'"),
        ("voice*2", "expected + or - at character 6 of 'voice*2', not '*'"),
        ("voice[FL", "the [ at character 6 of 'voice[FL' is not closed; add a ]"),
        ("[FL]", "expected a source or a number at character 1 of '[FL]', not '[FL]'"),
        ("voice & zoom", "expected + or - at character 7 of 'voice & zoom', not '&'"),
    ],
)
def test_an_error_points_at_the_term(sum_text, message):
    assert refusal(recipe_of(sum_text)) == f"obs.toml: stream 1: {message}"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ('a = "sterio"', "source a: unknown layout 'sterio'; did you mean 'stereo'?"),
        ("a = 7.1", 'source a: write its layout, such as a = { layout = "stereo" }'),
        ("a = { layout = 7.1 }", "source a: layout must be text in quotes, not 7.1"),
        ('a = { title = "A" }', 'source a has no layout; add layout = "stereo", or whichever it is'),
        ('a = { layuot = "mono" }', "source a: unknown key 'layuot'; did you mean 'layout'?"),
        ('a = { layout = "mono", title = 3 }', "source a: title must be text in quotes, not 3"),
        (
            'desktop-audio = "mono"',
            "source name 'desktop-audio' would not read as one word in a sum; "
            "use letters, digits and _, and no digit first",
        ),
    ],
)
def test_an_error_points_at_the_source(sources, message):
    assert refusal(f'[sources]\n{sources}\n[streams]\n0 = "a"') == f"obs.toml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sources; name each with its layout under [sources]"),
        ('[sources]\na = "mono"', "no streams; write what each is a sum of under [streams]"),
        ('[source]\na = "mono"', "unknown table 'source'; did you mean 'sources'?"),
        ("sources = 3", "sources must be a table; write [sources] on a line of its own"),
        (
            '[sources]\na = "mono"\n[streams]\nfirst = "a"',
            "stream 'first' is not a number; audio streams are called 0, 1, 2, ... as in ffmpeg's 0:a:1",
        ),
        (
            '[sources]\na = "mono"\n[streams]\n01 = "a"',
            "stream '01' is not a number; audio streams are called 0, 1, 2, ... as in ffmpeg's 0:a:1",
        ),
        (
            '[sources]\na = "mono"\n[streams]\n0 = ["a"]',
            'stream 0: the sum must be text in quotes, such as 0 = "voice + 1/2*music"',
        ),
        (
            '[sources]\na = "mono"\nb = "mono"\n[streams]\n0 = "a"',
            "source 'b' is in no stream, so nothing can determine it; add it to a stream or leave it out",
        ),
    ],
)
def test_a_recipe_that_lacks_a_part_is_refused(text, message):
    assert refusal(text) == f"obs.toml: {message}"


def test_broken_toml_is_refused_with_its_line():
    message = refusal('[sources]\na = "mono\n')
    assert message.startswith("obs.toml is not valid TOML: ")
    assert "line 2" in message


def test_a_recipe_built_by_hand_is_checked_too():
    with pytest.raises(UsageError, match="2 sources are called 'a'"):
        Recipe((Source("a", "mono"), Source("a", "stereo")), {0: (Term(Fraction(1), "a"),)})
    with pytest.raises(UsageError, match="stream 0: unknown source 'b'"):
        Recipe((Source("a", "mono"),), {0: (Term(Fraction(1), "b"),)})


# --- recipes that do not fit the file ---


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        (range(3), "recipe needs stream 3, but the file has 3 audio streams (0, 1, 2)"),
        ([0], "recipe needs stream 3, but the file has 1 audio stream (0)"),
        ([], "recipe needs stream 3, but the file has no audio stream"),
    ],
)
def test_a_stream_that_the_file_lacks_is_refused(streams, message):
    recipe = parse_recipe('[sources]\na = "stereo"\n[streams]\n3 = "a"')
    with pytest.raises(RefusedError) as caught:
        mixing_equations(recipe, dict.fromkeys(streams, STEREO))
    assert str(caught.value) == message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("sum_text", "layout", "channels", "message"),
    [
        (
            "2*a", "stereo", ("FC",),
            "'2*a' needs FL, FR, but the stream has only FC; "
            "a mono stream takes mono sources; write one for each channel of a",
        ),
        (
            "a", "5.1", STEREO,
            "'a' needs FC, LFE, BL, BR, but the stream has only FL, FR; write a[FL,FR]",
        ),
        (
            "a[FL,FR] + a[LFE]", "5.1", STEREO,
            "'a[LFE]' needs LFE, but the stream has only FL, FR; leave the term out",
        ),
        (
            "a[SL]", "mono", STEREO,
            "'a[SL]' needs SL, but the stream has only FL, FR; name the channels it goes to, such as a[FL]",
        ),
        (
            "a", "mono", ("BL", "BR"),
            "'a' needs FC, but the stream has only BL, BR; name the channels it goes to, such as a[BL]",
        ),
    ],
)  # fmt: skip
def test_a_channel_that_the_stream_lacks_is_refused(sum_text, layout, channels, message):
    with pytest.raises(RefusedError) as caught:
        row_of(sum_text, channels, layout)
    assert str(caught.value) == f"stream 0: {message}"
