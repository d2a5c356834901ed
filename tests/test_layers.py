"""Imports point one way; a module that looks up the tree fails here."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "unsum"

# Each layer with the layers it may import from unsum.
ALLOWED = {
    "errors": set(),
    "progress": set(),
    "layouts": {"errors"},
    "timecode": set(),
    "model": set(),
    "dsp": {"errors", "layouts", "model"},
    "problem": {"errors", "layouts", "dsp"},
    "engine": {"progress", "errors", "layouts", "model", "dsp", "problem"},
    "analysis": {"errors", "model", "dsp"},
    "estimators": {"progress", "errors", "model", "dsp", "problem", "engine", "analysis"},
    "climb": {"progress", "errors", "model", "dsp", "problem", "engine", "analysis", "estimators"},
    "echoes": {"estimators", "climb"},
    "retry": {"progress", "model", "problem", "estimators", "climb"},
    "skips": {"model", "dsp", "problem", "engine", "estimators", "climb", "retry"},
    "hearing": {"model", "problem", "estimators", "climb", "retry", "skips"},
    "ladder": {
        *{"progress", "errors", "model", "dsp", "problem", "engine", "analysis", "estimators", "climb"},
        *{"retry", "hearing", "echoes"},
    },
    "describe": {"model", "dsp"},
    "rounded": {"progress", "model", "dsp", "problem", "engine", "describe"},
    "remnant": {"analysis"},
    "metering": {"progress", "problem", "engine", "analysis", "remnant"},
    "reasons": {"timecode", "problem", "analysis", "describe", "media", "metering"},
    "removal": {"progress", "errors", "model", "problem", "engine", "analysis", "metering", "reasons", "media"},
    "alignment": {
        "progress",
        "errors",
        "model",
        "problem",
        "engine",
        "estimators",
        "climb",
        "retry",
        "describe",
        "media",
    },
    "rendering": {"progress", "errors", "model", "problem", "engine", "media", "removal"},
    "scene": {"errors", "layouts", "dsp"},
    "mixdown": {"progress", "errors", "model", "dsp", "problem", "engine", "media", "removal", "rendering", "scene"},
    "automation": {"progress", "errors", "model", "problem", "engine", "analysis", "estimators", "describe"},
    "alike": {"model", "problem", "analysis", "automation"},
    "explanation": {
        *{
            "alike",
            "progress",
            "model",
            "dsp",
            "problem",
            "engine",
            "analysis",
            "ladder",
            "describe",
            "metering",
            "reasons",
            "rounded",
        },
        *{"automation"},
    },
    "explanation_files": {"progress", "layouts", "problem", "engine", "media", "removal", "explanation"},
    "streams": {"errors", "layouts", "dsp"},
    "media": {"errors", "layouts", "problem"},
    "recovery": {"progress", "errors", "layouts", "timecode", "dsp", "streams", "media"},
    "inspection": {"progress", "errors", "layouts", "dsp", "streams", "media"},
    "report": {
        *{"errors", "layouts", "timecode", "model", "analysis", "describe", "streams"},
        *{"media", "recovery", "inspection", "removal", "alignment", "rendering"},
        *{"automation", "explanation"},
    },
    "export": {"progress", "errors", "layouts", "streams", "media", "recovery"},
    "api": {
        *{"errors", "layouts", "model", "problem", "ladder", "removal", "alignment", "rendering", "streams", "media"},
        *{"recovery", "inspection", "report", "export", "describe", "explanation", "explanation_files"},
        *{"progress", "scene", "mixdown", "reasons"},
    },
    "cli": {"errors", "progress", "layouts", "api", "report", "export"},
}
ALLOWED["__init__"] = {"api", "errors"}
ALLOWED["__main__"] = {"cli"}
ONLY_IN_MEDIA = {"av", "soundfile"}
NEVER = {"pedalboard", "matchering", "pyfftw", "ducc0"}

FILES = sorted(SOURCE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full, from unsum"
            assert node.module
            found.add(node.module)
            if node.module == "unsum":
                found |= {f"unsum.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path):
    layer = layer_of(path)
    assert layer in ALLOWED, f"{layer} has no place among the layers: give it one"
    for module in imported_modules(path):
        root, *rest = module.split(".")
        assert root not in NEVER, f"{path.name} imports {root}, which is GPL"
        if root in ONLY_IN_MEDIA:
            assert layer == "media", f"{path.name} imports {root}; only media does"
        if root == "unsum" and rest and rest[0] not in (layer, "__version__"):
            assert rest[0] in ALLOWED[layer], f"{layer} may not import {rest[0]}"


def test_no_file_is_named_after_nothing():
    empty_names = {"utils", "util", "common", "helpers", "misc", "base", "manager"}
    assert not [path for path in FILES if path.stem in empty_names]
