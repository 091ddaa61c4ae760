"""``eval-router`` and ``calibrate-router`` on small files of our own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from llm_router.cli import main

EASY = [f"What is the capital of country number {i}?" for i in range(40)]
HARD = [f"Solve the equation x^{i} - {i}x + 1 = 0 and prove that the root is unique." for i in range(40)]


def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for i, prompt in enumerate(EASY + HARD):
        hard = prompt in HARD
        weak = 0.0 if hard and i % 4 else 1.0
        found.append(
            {
                "prompt": prompt,
                "task": "maths" if hard else "facts",
                "scores": {"small": weak, "large": 1.0},
                "costs": {"small": 0.0001, "large": 0.003},
            }
        )
    return found


def a_file(tmp_path: Path, lines: list[dict[str, Any]]) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_report_has_every_order_its_curve_and_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval-router", str(a_file(tmp_path, rows())), "--resamples", "40", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["weak_models"] == ["small"]
    assert report["strong_models"] == ["large"]
    assert report["prompts"] == 80
    assert [r["name"] for r in report["rankers"]] == ["router", "length only", "random", "oracle"]
    assert report["rankers"][2]["apgr"]["value"] == 0.5
    assert report["single"] == ["large", 1.0]
    assert len(report["curve"]) == 11
    assert report["curve"][0]["usd_per_1000"] == pytest.approx(0.1)
    assert report["curve"][10]["usd_per_1000"] == pytest.approx(3)
    assert {t["task"]: t["verdict"] for t in report["tasks"]}["facts"] == "not routable"
    assert report["verdict"] in ("routable", "not routable")
    again = main(["eval-router", str(tmp_path / "labels.jsonl"), "--resamples", "40", "--json"])
    assert again == 0
    assert json.loads(capsys.readouterr().out) == report


def test_people_get_tables_and_the_verdict_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval-router", str(a_file(tmp_path, rows())), "--resamples", "20"]) == 0
    out = capsys.readouterr().out
    assert "best single model: large, quality 1.000" in out
    assert "CPT80" in out
    assert "Verdict: " in out


def test_a_row_an_answer_and_tables_of_csv_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "task", "model", "score", "cost"])
        for row in rows():
            for model, value in row["scores"].items():
                table.writerow([row["prompt"], row["task"], model, value, row["costs"][model]])
    main(["eval-router", str(a_file(tmp_path, rows())), "--resamples", "20", "--json"])
    wide = json.loads(capsys.readouterr().out)
    main(["eval-router", str(path), "--resamples", "20", "--json"])
    assert json.loads(capsys.readouterr().out) == wide


def test_a_setting_is_found_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_file(tmp_path, rows())
    common = ["calibrate-router", str(path), "--resamples", "40", "--json"]
    assert main([*common, "--target-quality", "0.6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["met"] is True
    assert found["setting"]["quality"]["low"] >= 0.6
    impossible = [
        line | {"scores": {model: 0.7 * score for model, score in line["scores"].items()}} for line in rows()
    ]
    a_file(tmp_path, impossible)
    assert main([*common, "--target-quality", "0.9"]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert refused["met"] is False
    assert refused["setting"] is None
    assert refused["best"]["quality"]["value"] == pytest.approx(0.7)
    assert main([*common[:-1], "--target-quality", "0.9"]) == 1
    assert "refused" in capsys.readouterr().err


def test_no_dial_is_set_for_what_is_not_routable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = [line | {"scores": {"small": 0.9, "large": 0.9}} for line in rows()]
    common = ["calibrate-router", str(a_file(tmp_path, same)), "--resamples", "40", "--target-quality", "0.5"]
    assert main(common) == 1
    said = capsys.readouterr()
    assert "not routable" in said.err
    assert "dial =" not in said.out
    assert main([*common, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["met"], found["setting"], found["verdict"]) == (False, None, "not routable")


def test_prices_of_the_command_line_make_costs_of_lengths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"prompt": row["prompt"], "model": model, "score": score, "out_chars": 400}
        for row in rows()
        for model, score in row["scores"].items()
    ]
    path = a_file(tmp_path, lines)
    prices = ["--price", "small=0/1", "--price", "large=0/10"]
    assert main(["eval-router", str(path), *prices, "--resamples", "20", "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)["curve"]
    assert curve[0]["usd_per_1000"] == pytest.approx(0.1)
    assert curve[10]["usd_per_1000"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({"prompt": "p", "scores": {"a": 2, "b": 1}}, "not between 0 and 1"),
        ({"scores": {"a": 1, "b": 1}}, "'prompt' is missing"),
        ({"prompt": "p"}, "give 'scores'"),
        ({"prompt": "p", "model": "a", "score": 1, "cost": "dear"}, "no amount of US dollars"),
        ({"prompt": "p", "scores": "{"}, "no JSON object"),
        ({"prompt": "p", "scores": {"a": 1, "b": 0}}, "at least 20"),
        ({"prompt": "p", "model": "a", "score": 1}, "name the sides"),
    ],
)
def test_what_makes_no_sense_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: dict[str, Any], word: str
) -> None:
    assert main(["eval-router", str(a_file(tmp_path, [line])), "--json"]) == 1
    assert word in json.loads(capsys.readouterr().out)["error"]["message"]


def test_options_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(a_file(tmp_path, rows()))
    for words, said in (
        (["--weak", "nobody"], "No prompt was answered by nobody"),
        (["--price", "small"], "write MODEL=IN/OUT"),
        (["--price", "small=free"], "US dollars per million"),
        (["--where", "task"], "write COLUMN=VALUE"),
    ):
        assert main(["eval-router", path, *words]) == 1
        assert said in capsys.readouterr().err
    assert main(["eval-router", str(tmp_path / "none.jsonl")]) == 1
    assert "there is no file" in capsys.readouterr().err
    assert main(["calibrate-router", path, "--target-quality", "80"]) == 1
