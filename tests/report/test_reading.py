"""Sentences turn when the numbers turn."""

import pandas as pd

from pouta_lib.report.reading import ahead, modules_order, paired


def frame(nut, chip):
    """Pixel AP of two methods on two categories: pairs of percents, two seeds on the nut."""
    rows = [("nut", "POUTA", nut[0] - 1), ("nut", "POUTA", nut[0] + 1), ("nut", "Vanilla", nut[1])]
    rows += [("chip", "POUTA", chip[0]), ("chip", "Vanilla", chip[1])]
    names = ["category", "title", "percent"]
    return pd.DataFrame(rows, columns=names).assign(metric="pixel_ap")


def test_who_is_ahead_and_how_far():
    told = ahead(frame((45, 75), (26, 20)), "pixel_ap", "POUTA", "Vanilla")
    assert "By pixel AP, POUTA is above Vanilla in 1 of 2 categories (chip):" in told
    assert "from +6.0 on chip (26.0 against 20.0) to -30.0 on nut (45.0 against 75.0)." in told


def test_the_sentence_turns_with_the_numbers():
    told = ahead(frame((75, 45), (26, 20)), "pixel_ap", "POUTA", "Vanilla")
    assert "in all 2 categories: from +30.0 on nut (75.0 against 45.0) to +6.0 on chip" in told
    told = ahead(frame((45, 75), (20, 26)), "pixel_ap", "POUTA", "Vanilla")
    assert "in none of 2 categories: " in told


def test_a_category_without_both_is_left_out():
    kept = frame((45, 75), (26, 20)).query("category == 'nut' or title == 'POUTA'")
    assert ahead(kept, "pixel_ap", "POUTA", "Vanilla").endswith(
        "in none of 1 categories: -30.0 on nut (45.0 against 75.0)."
    )
    assert ahead(kept, "image_auroc", "POUTA", "Vanilla") == ""


def test_paired_differences_by_hand():
    rows = [("nut", 0, 60.0, 52.0), ("nut", 1, 64.0, 52.0), ("cap", 0, 81.0, 70.0)]
    rows += [("chip", 0, 92.0, 80.0)]
    found = pd.DataFrame(
        {"category": category, "seed": seed, "metric": "image_auroc", "title": t, "percent": p}
        for category, seed, one, other in rows
        for t, p in (("A", one), ("B", other))
    )
    # the nut's gap is the mean of 8 and 12, the others' are 11 and 12: mean 11, deviation 1; half
    # an interval is t(0.975, 2) / sqrt(3) = 2.484
    told = paired(found, "image_auroc", "A", "B")
    shown = "+11.0 (+8.5 to +13.5), above 0 in 3 of 3 categories: shown."
    assert told == f"*A* less *B*, image AUROC: {shown}"
    two = paired(found[found["category"] != "chip"], "image_auroc", "A", "B").partition(": ")[2]
    assert (
        two == "+11.0 on cap and +10.0 on nut, above 0 in 3 of 3 runs: too few categories to tell."
    )
    found.loc[0, "percent"] = 0.0  # the nut's gap is now the mean of -52 and 12
    told = paired(found, "image_auroc", "A", "B")
    assert told.endswith("above 0 in 2 of 3 categories: not shown.")
    assert paired(found, "image_auroc", "A", "C").endswith(": none: too few categories to tell.")


def test_a_quantity_that_is_no_metric_goes_by_its_own_name():
    found = frame((45, 75), (26, 20)).assign(metric="L_rec", seed=0)
    assert paired(found, "L_rec", "POUTA", "Vanilla").startswith("*POUTA* less *Vanilla*, L_rec: ")


def test_the_order_of_table_five_by_its_averages():
    rows = [("vanilla", 80.0), ("base", 82.0), ("base+hsg", 79.0), ("base+mss", 80.0)]
    table = pd.DataFrame([*rows, ("pouta", 80.0)], columns=["method", "measured"])
    table = table.assign(category="average", metric="pixel_ap", std=[0.5, 1.0, 1.0, 1.0, 1.5])
    other = table.assign(category="nut", measured=0.0)
    told = modules_order(pd.concat([table, other]), "pixel_ap")
    first, second, third = told.partition(". ")[0].split("; ")
    assert first == "Vanilla to POUTA-base +2.0" and second.endswith("POUTA-base+MSS -2.5")
    assert third == "POUTA-base+HSG/POUTA-base+MSS to POUTA +0.5"
    assert told.endswith("Of 3 steps 1 goes up by more than seeds lie apart (1.0), 1 down.")
    one_seed = table.assign(std=float("nan"))
    assert "From one seed" in modules_order(one_seed, "pixel_ap")
