"""Judgements as tables, against a hand-made set of them."""

from dataclasses import replace

import pytest

from pouta_lib.ground.profiles import load_profile
from pouta_lib.ground.validation import checked
from pouta_lib.report.judged import (
    UNTOUCHED,
    choose_setting,
    course_frame,
    judged_frame,
    setting_letters,
    setting_names,
    strength_frame,
)
from pouta_lib.study.judgements import Judgement


def judgement(both, category="nut", seed=0, variant="pouta", label="toy", **settings):
    def all_damages(auroc):
        return {"all": {"image_auroc": auroc, "pixel_auroc": 0.9, "pixel_ap": 0.25}}

    alarms = {"unchanged": 0.05, "changed": {"darker": [0.1, 0.2, 0.6], "blur": [0.0, 0.1, 0.2]}}
    detections = {"unchanged": 0.5, "changed": {"darker": [0.5, 0.6, 0.9], "blur": [0.4, 0.3, 0]}}
    moment = {f"image_auroc_{name}": both for name in ("unchanged", "changed", "both")}
    values = {
        "schema_version": 1,
        "run": {"dataset": "mini-mvtec", "category": category, "variant": variant, "seed": seed},
        "label": label,
        "profile": replace(load_profile("smoke"), **{"name": "toy", "lr": 0.1} | settings),
        "commit": None,
        "dirty": None,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "versions": {},
        "data": {"manifest_hash": "", "num_train": 6, "num_whole": 2, "num_damaged": 10},
        "steps": 2,
        "seconds": {"train": 1, "judge": 1},
        "unchanged": all_damages(0.9),
        "changed": all_damages(0.7),
        "both": all_damages(both),
        "threshold": 0.1,
        "strengths": [0.25, 0.5, 1.0],
        "false_alarms": alarms,
        "detections": detections,
        "watched": [{"step": 1, "pixel_ap_unchanged": 0.1} | moment],
    }
    return checked(Judgement, values, "here")


def test_settings_are_named_by_what_differs():
    own, wide = judgement(0.8), judgement(0.9, label="toy~width=16", width=16)
    assert setting_names([own, wide]) == [UNTOUCHED, "width=16"]
    fast = judgement(0.9, label="toy~lr=0.2", lr=0.2)
    assert setting_names([wide, fast]) == ["width=16, lr=0.1", "width=8, lr=0.2"]
    assert setting_names([wide, wide]) == [UNTOUCHED] * 2


def test_settings_beyond_z_have_two_letters():
    many = [judgement(0.8, label=f"toy~steps={n}", steps=n) for n in range(1, 54) for _ in "ab"]
    letters = setting_letters(judged_frame(many))
    assert list(letters)[::26] == ["steps=1", "steps=27", "steps=53"]
    assert list(letters.values())[:28:9] == ["A", "J", "S", "AB"]
    assert len(set(letters.values())) == 53


def test_numbers_are_in_percent():
    (row,) = judged_frame([judgement(0.8)]).to_dict("records")
    assert row["both"] == 80 and row["found"] == 90 and row["changed"] == 70
    assert row["pixel AP"] == 25 and row["false alarms"] == pytest.approx(20)
    lines = strength_frame([judgement(0.8)])
    darker = lines[(lines["change"] == "darker") & (lines["shown"] == "false alarms")]
    assert darker["strength"].tolist() == [0, 0.25, 0.5, 1]
    assert darker["percent"].tolist() == pytest.approx([5, 10, 20, 60])
    assert course_frame([judgement(0.8)])["image AUROC, both, %"].tolist() == [80]


def test_the_setting_with_the_highest_mean_over_categories_is_chosen():
    wide = {"label": "toy~width=16", "width": 16}
    half = {"label": "toy~lr=0.2", "lr": 0.2}
    frame = judged_frame(
        [
            judgement(0.6),
            judgement(0.8, seed=1),
            judgement(0.8, "cap"),
            judgement(0.7, **wide),
            judgement(0.9, "cap", **wide),
            judgement(1.0, "cap", **half),  # tried on the easy category alone
            judgement(0.5, variant="vanilla"),
        ]
    )
    order = choose_setting(frame)
    assert order["setting"].tolist() == ["width=16", UNTOUCHED, UNTOUCHED]
    assert order["merit"].tolist() == pytest.approx([80, 75, 50])
    assert order["categories"].tolist() == [2, 2, 1]
    assert order["judgements"].tolist() == [2, 3, 1]


def test_settings_that_were_tried_on_other_categories_are_not_compared():
    wide = {"label": "toy~width=16", "width": 16}
    frame = judged_frame([judgement(0.6), judgement(0.9, "cap", **wide)])
    assert choose_setting(frame).empty
