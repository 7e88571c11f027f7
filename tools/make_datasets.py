"""Make the files of datasets/ from their sources, and bring hash, size and row count on their cards up to date.

Run it after a change to a source or a generator: `python tools/make_datasets.py`. The texts of the cards
(`datasets/*.json`) are written by hand. CDNOW comes from the text files in the PyPI package `lifetimes`.
"""

import hashlib
import importlib.util
import io
import json
from pathlib import Path

import pandas as pd

from crmlab import retention, simulate

FOLDER = Path(__file__).resolve().parents[1] / "datasets"

# Percent of 1000 customers still active in years 0-12 (Fader & Hardie 2007, table 1).
TWO_SEGMENTS = {
    "regular": [100, 63.1, 46.8, 38.2, 32.6, 28.9, 26.2, 24.1, 22.3, 20.7, 19.4, 18.3, 17.3],
    "high_end": [100, 86.9, 74.3, 65.3, 59.3, 55.1, 51.7, 49.1, 46.8, 44.5, 42.7, 40.9, 39.4],
}
# Five yearly cohorts with the same survivors at the same age, observed to 2007 (Fader & Hardie 2010).
FIVE_COHORTS = [10000, 8000, 6480, 5307, 4391]
# Donors by number of donations x, year of the last one t_x, in 6 years after the first (Fader, Hardie & Shang 2010).
DONATIONS = (
    "0,0:3464 1,1:1091 1,2:277 1,3:129 1,4:78 1,5:119 1,6:129 2,2:613 2,3:255 2,4:155 2,5:173 2,6:234 3,3:322 3,4:181 3,5:225 "
    "3,6:357 4,4:240 4,5:284 4,6:512 5,5:335 5,6:728 6,6:1203"
)
# Tenants of twelve areas of Copenhagen by satisfaction (low, medium, high), influence on management, type and contact with
# neighbours (Madsen 1976; the data set `housing` of R's MASS). One line a type and contact, one triple an influence.
HOUSING = {
    ("Tower", "Low"): "21 21 28, 34 22 36, 10 11 36",
    ("Apartment", "Low"): "61 23 17, 43 35 40, 26 18 54",
    ("Atrium", "Low"): "13 9 10, 8 8 12, 6 7 9",
    ("Terrace", "Low"): "18 6 7, 15 13 13, 7 5 11",
    ("Tower", "High"): "14 19 37, 17 23 40, 3 5 23",
    ("Apartment", "High"): "78 46 43, 48 45 86, 15 25 62",
    ("Atrium", "High"): "20 23 20, 10 22 24, 7 10 21",
    ("Terrace", "High"): "57 23 13, 31 21 13, 5 6 13",
}


def lifetimes_file(name):
    # find_spec does not import it: the package itself need not run on today's numpy.
    return Path(importlib.util.find_spec("lifetimes").origin).parent / "datasets" / name


def cdnow():
    names = ["customer_id", "date", "cds", "amount"]
    return read_cdnow("CDNOW_master.txt", names, skiprows=1)


def cdnow_sample():
    return read_cdnow("CDNOW_sample.txt", ["customer_id", "sample_id", "date", "cds", "amount"])


def read_cdnow(file, names, **options):
    text = lifetimes_file(file).read_text()
    frame = pd.read_csv(
        io.StringIO(text), sep=r"\s+", names=names, dtype={"customer_id": str, "sample_id": str}, **options
    )
    frame["date"] = pd.to_datetime(frame["date"].astype(str), format="%Y%m%d")
    return frame


def retention_two_segments():
    return pd.DataFrame(
        {"year": range(13)} | {name: [round(10 * share) for share in shares] for name, shares in TWO_SEGMENTS.items()}
    )


def retention_five_cohorts():
    rows = [
        (cohort, age, FIVE_COHORTS[0], FIVE_COHORTS[age])
        for cohort in range(2003, 2008)
        for age in range(2007 - cohort + 1)
    ]
    return pd.DataFrame(rows, columns=["cohort", "age_years", "customers", "survivors"])


def donations():
    cells = [cell.replace(",", ":").split(":") for cell in DONATIONS.split()]
    return pd.DataFrame(
        [(int(x), int(t_x), 6, int(donors)) for x, t_x, donors in cells], columns=["x", "t_x", "n", "donors"]
    )


def housing():
    rows = [
        (satisfaction, influence, type_, contact, int(tenants))
        for (type_, contact), cells in HOUSING.items()
        for influence, triple in zip(("Low", "Medium", "High"), cells.split(", "))
        for satisfaction, tenants in zip(("Low", "Medium", "High"), triple.split())
    ]
    return pd.DataFrame(rows, columns=["satisfaction", "influence", "type", "contact", "tenants"])


def company_case_log():
    return simulate.company_case()


def company_case():
    log = simulate.company_case()
    counts = retention.repeat_share(
        log[log["grade"] != "key account"], at_least=3, window="cumulative", base="ever", group="grade"
    )
    return counts.rename(columns={"period": "year", "group": "grade"})[["year", "grade", "customers", "repeaters"]]


def main():
    for make in (
        cdnow,
        cdnow_sample,
        retention_two_segments,
        retention_five_cohorts,
        donations,
        housing,
        company_case_log,
        company_case,
    ):
        card_file = FOLDER / f"{make.__name__}.json"
        card = json.loads(card_file.read_text(encoding="utf-8"))
        frame, file = make(), FOLDER / card["path"]
        if card["format"] == "parquet":
            frame.to_parquet(file, index=False, compression="zstd")
        else:
            frame.to_csv(file, index=False, lineterminator="\n", date_format="%Y-%m-%d")
        card |= {
            "hash": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
            "rows": len(frame),
        }
        card_file.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{file.name}: {len(frame):,} rows, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
