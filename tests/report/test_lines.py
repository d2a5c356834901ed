"""Lines for a terminal: whole names, nothing that a terminal obeys, tables whose columns hold."""

import pytest

from unsum.report.lines import WIDTH, columns, harmless, in_columns, paragraphs, wrapped


def test_sentences_are_wrapped_between_words_and_names_stay_whole():
    name = "a-song-with-hyphens-and-a-name-" + "so-" * 30 + "long.flac"
    lines = wrapped(f"limit: {name} is damaged, and so this sentence goes on for some more words than fit a line")
    assert any(line.strip() == name for line in lines)
    assert all(len(line) <= WIDTH for line in lines if name not in line)
    assert all(line.startswith("  ") for line in lines[1:])


def test_an_empty_sentence_among_others_is_an_empty_line():
    assert paragraphs(["one", "", "two"], "  ") == ["  one", "", "  two"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.flac", "a b.flac"),
        ("tab\there", "tab here"),
        ("\x1b[31mred.flac", "\\x1b[31mred.flac"),
        ("bell\x07\x9b", "bell\\x07\\x9b"),
        ("caf\udce9.flac", "caf\\xe9.flac"),
        ("naïve 😀 日本.flac", "naïve 😀 日本.flac"),
    ],
)
def test_names_do_nothing_to_a_terminal(name, shown):
    assert harmless(name) == shown


@pytest.mark.parametrize("name", ["x", "日本の歌.flac", "e\u0301t\u00e9.wav", "😀" * 30, "a" * 70 + ".flac", "a\nb"])
def test_a_column_of_a_table_has_its_width_whatever_the_name(name):
    assert columns(in_columns(name, 26)) == 26


def test_of_a_long_name_the_beginning_and_the_end_are_shown():
    assert in_columns("a song with a name that is long.flac", 26) == "a song with a... long.flac"
