"""The three jobs and their tools as functions: paths in, frozen findings out."""

from unsum.api.aligning import align
from unsum.api.arguments import PathArgument
from unsum.api.explaining import explain, save_explanation
from unsum.api.looking import doctor, inspect, null
from unsum.api.recovering import (
    MEDIA_SUFFIXES,
    Outcome,
    Plan,
    check_batch,
    plan_recovery,
    recordings_in,
    recover,
    recover_all,
    save_recipe,
)
from unsum.api.removing import remove, save_removal
from unsum.api.rendering import render
from unsum.progress import Progress

__all__ = [
    "MEDIA_SUFFIXES",
    "Outcome",
    "PathArgument",
    "Plan",
    "Progress",
    "align",
    "check_batch",
    "doctor",
    "explain",
    "inspect",
    "null",
    "plan_recovery",
    "recordings_in",
    "recover",
    "recover_all",
    "remove",
    "render",
    "save_explanation",
    "save_recipe",
    "save_removal",
]
