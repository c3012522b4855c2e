"""`lumen bench`: what is printed can be read by a program, and what cannot be measured is refused."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

SMALL = ("bench", "demo", "-p", "8", "-n", "2", "-r", "2", "-t", "1")


def test_csv_has_the_numbers_of_json(lumen: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(lumen(*SMALL, "-o", "csv").out)))
    results = json.loads(lumen(*SMALL, "-o", "json").out)["results"]
    assert [row["test"] for row in rows] == [result["test"] for result in results] == ["pp8", "tg2"]
    assert set(rows[0]) == set(results[0]) - {"samples"}
    for row, result in zip(rows, results, strict=True):
        assert int(row["size"]) == result["size"] and float(row["median"]) > 0 < result["median"]
        assert row["against"] == "" and result["against"] is None, "nothing was compared"


def test_a_profile_is_printed_in_every_form(lumen: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(lumen(*SMALL, "--profile", "-o", "csv").out)))
    shares = json.loads(lumen(*SMALL, "--profile", "--json").out)
    assert {(row["test"], row["work"]) for row in rows} == {
        (test, work) for test, found in shares.items() for work in found
    }
    for test in ("pp8", "tg2"):
        assert sum(float(row["share"]) for row in rows if row["test"] == test) == pytest.approx(1)
    assert "waiting" in lumen(*SMALL, "--profile").out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-p", "512-128"), "ends before it begins"),
        (("-b", "0"), "one sequence or more"),
        (("-p", "0", "-n", "0"), "nothing to measure"),
        (("--profile", "--against", "llama.cpp"), "not both"),
        (("--against", "another"), "unknown engine another"),
    ],
)
def test_what_cannot_be_measured_is_refused(lumen: Any, more: tuple[str, ...], words: str) -> None:
    found = lumen("bench", "demo", *more)
    assert found.code in (1, 2) and words in " ".join(found.err.replace("│", " ").split())
