"""What the pages say is what the code does: commands, options, exit codes, layers, and the example of mix.json."""

import json
import re
from pathlib import Path

import click
import jsonschema
import pytest
import test_layers

from unsum import errors
from unsum.cli import COMMANDS, group
from unsum.report.session import load_session, mix_schema

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

# Of other programs that the pages speak of.
FOREIGN_OPTIONS = {"--from", "--without-pip", "--python"}


def command(name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)  # pyright: ignore[reportAttributeAccessIssue]
    assert found is not None, f"there is no unsum {name}"
    return found


def options_of(name: str) -> set[str]:
    found = {"-h", "--help"}
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            found |= {*parameter.opts, *parameter.secondary_opts}
    return found


def code_blocks(text: str, *, language: str = r"\w*") -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [block for its_language, block in blocks if re.fullmatch(language, its_language)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_are_commands_with_those_options(page):
    text = page.read_text(encoding="utf-8")
    lines = [line.split("#  ")[0].split(" # ")[0] for block in code_blocks(text) for line in block.splitlines()]
    calls = [line for line in lines if re.match(r"unsum [a-z]+ ", line)]
    calls += re.findall(r"`(unsum [a-z]+ [^`]+)`", text)
    assert calls or page.name == "architecture.md" or "unsum" in text
    for call in calls:
        name = call.split()[1]
        assert name in COMMANDS, call
        for option in re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", call):
            assert option in options_of(name), f"{call}: unsum {name} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_the_pages_name_are_options_of_some_command(page):
    known = set().union(*(options_of(name) for name in COMMANDS), FOREIGN_OPTIONS, {"--version"})
    named = set(re.findall(r"`(--[a-z][a-z-]*)", page.read_text(encoding="utf-8")))
    assert named <= known, named - known


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "doctor"])
def test_the_readme_shows_every_command_with_what_it_prints_and_writes(name):
    sections = re.split(r"^## ", README, flags=re.MULTILINE)
    section = next(section for section in sections if re.search(rf"^unsum {name} ", section, flags=re.MULTILINE))
    words = " ".join(section.split())
    assert re.search(r"\bprints?\b", words)
    assert re.search(r"\bwrites?\b", words)


def test_every_exit_code_has_its_row():
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE))
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    assert codes | {0, 6} == set(map(int, rows))


def test_what_the_readme_says_is_printed_fits_a_terminal():
    for block in code_blocks(README, language=""):
        if not block.startswith(("unsum ", "python3 ", "pipx ", "cd ")):  # what a person types
            assert max(map(len, block.splitlines())) <= 80, block


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_every_command_fits_eighty_columns(name):
    context = click.Context(command(name), info_name=f"unsum {name}", terminal_width=80, max_content_width=80)
    assert max(map(len, command(name).get_help(context).splitlines())) <= 80


def test_links_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


# mix.json --------------------------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path) -> Path:
    (document,) = [block for block in code_blocks(MODEL) if block.startswith("{")]
    path = tmp_path / "party.mix.json"
    path.write_text(document)
    return path


def test_the_example_of_mix_json_is_what_the_reader_reads(example):
    session = load_session(example)
    part = session.analysis.model.contributions["song.flac"]
    assert part.filters.shape == (1, 1, 3)
    # 2 s late, a tenth of a second skipped; the clock and the bend add less than a hundredth.
    assert part.warp.reference_time(61.3) == pytest.approx(59.4, abs=0.01)
    assert part.warp.reference_time(61.2) == pytest.approx(59.2, abs=0.01)
    # A quarter of the level is -12.04 dB.
    assert session.mixers["song.flac"].gain_db == pytest.approx(-12.04, abs=0.01)
    assert part.filters.sum() == -0.25


def test_the_example_of_mix_json_obeys_the_schema(example):
    jsonschema.validate(json.loads(example.read_text()), mix_schema())


def test_every_field_of_mix_json_is_told():
    schema = mix_schema()
    definitions = schema["$defs"]
    told = [schema, *(definitions[name] for name in ("file", "contribution", "timing", "mixer", "room", "eq", "model"))]
    told += [definitions["bend"], definitions["jumps"]["items"], definitions["step"]]
    fields = {field for one in told for field in one["properties"]} - {"dynamics"}
    assert not {field for field in fields if not re.search(rf'["`\[ ]{field}\b', MODEL)}


# The tree --------------------------------------------------------------------------------------------


def test_the_table_of_the_tree_is_that_of_the_imports():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", ARCHITECTURE, flags=re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", imports)) for name, _, imports in rows}
    allowed = {name: imports for name, imports in test_layers.ALLOWED.items() if not name.startswith("__")}
    assert told == allowed


def test_the_table_of_the_tree_has_every_module():
    rows = set(re.findall(r"^\| `(\w+)` \|", ARCHITECTURE, flags=re.MULTILINE))
    source = ROOT / "src" / "unsum"
    modules = {path.stem for path in source.glob("*.py") if not path.stem.startswith("__")}
    assert rows == modules | {path.parent.name for path in source.glob("*/__init__.py")}
