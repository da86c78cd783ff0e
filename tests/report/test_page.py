import json
import os
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hypermnesia import report
from hypermnesia.core.errors import HypermnesiaError

VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Tags in order, and a check that every one is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {name: value or "" for name, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self._open[-1], data))


@pytest.fixture
def page(full: Any) -> str:
    return report.render(report.load([full.root]), "html")


def test_every_part_is_there(page: str) -> None:
    outline = Outline(page)
    assert [words for level, words in outline.headings if level == "h1"] == ["Continual-learning report"]
    assert [words for level, words in outline.headings if level == "h2"] == [
        "split-digits",
        "Search: hnet on permuted-digits",
    ]
    assert [words for level, words in outline.headings if level == "h3"] == [
        "Accuracy and what it costs",
        "Summary",
        "Accuracy, forgetting and cost",
        "Average accuracy after each task",
        "Accuracy of every task over time",
        "Accuracy matrices",
        "Task inference",
        "Learning curves",
        "Task embeddings",
        "Masks",
        "Replay memory",
        "Configuration and environment",
    ]


def test_contents_lead_to_every_section(page: str) -> None:
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert len(outline.links) == 14 and {link.removeprefix("#") for link in outline.links} <= set(outline.ids)


def test_hostile_text_is_escaped_everywhere(page: str) -> None:
    assert "script" not in Outline(page).tags
    assert "<script" not in page.lower() and "onerror=alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20


def test_the_page_is_self_contained(page: str) -> None:
    assert "default-src 'none'" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_what_was_not_read_is_told(page: str) -> None:
    assert re.search(r"<code>broken/seed-0</code>: result.json is not JSON \(cut short\?\)", page)
    assert re.search(r"<code>newer/seed-0</code>: result.json has format 2", page)


def test_paths_of_the_machine_are_not_told(page: str, tmp_path: Path) -> None:
    assert str(tmp_path) not in page


def test_streams_that_differ_are_a_warning(runs: Any) -> None:
    for approach, stream in (("er", "a"), ("hnet", "b"), ("joint", "c")):
        runs.seed(approach, runs.result(approach, 0, stream_sha256=stream))
    page = report.render(report.load([runs.root]), "html")
    assert "<strong>Not all rows can be compared.</strong> The sets A, B differ" in page
    assert "data: the stream of equal seeds is number 1 in A and number 2 in B" in page


def test_environments_are_merged(runs: Any) -> None:
    for seed in range(6):
        directory = runs.seed("er", runs.result("er", seed))
        about = {"python": "3.11", "seed": seed, "host": f"h{seed}", "data_dir": "/home/me"}
        (directory / "environment.json").write_text(json.dumps(about), encoding="utf-8")
    page = report.render(report.load([runs.root]), "html")
    assert '<th scope="row">python</th><td>3.11</td>' in page
    assert '<th scope="row">host</th><td>h0 · h1 · h2 · h3 · and 2 more</td>' in page
    assert "/home/me" not in page


def test_the_same_runs_make_the_same_page(full: Any) -> None:
    assert report.render(report.load([full.root]), "html") == report.render(report.load([full.root]), "html")


@pytest.mark.parametrize(
    "scenario",
    [
        {"matrix": []},
        {"matrix": [[None]], "average_accuracy": None},
        {"matrix": [[0.5]], "average_accuracy": 0.5},
        {"matrix": [[None, None], [0.5, 0.25]], "average_accuracy": 0.375},
        {"matrix": [[0.5, 0.25]], "average_accuracy": 0.375},
        {"matrix": [[0.5] * 7] * 3, "average_accuracy": 0.5},
    ],
    ids=["none", "null", "one", "end only", "joint", "repetition"],
)
def test_any_matrix_makes_a_page(runs: Any, scenario: dict) -> None:
    result = runs.result("er", 0, scenarios={"class": scenario}, **runs.insides(2))
    runs.seed("er", result)
    Outline(report.render(report.load([runs.root]), "html"))


def test_a_run_without_any_optional_key_makes_a_page(runs: Any) -> None:
    runs.seed("er", runs.result("er", 0, costs={}, class_names=[], task_names=[]), events=False)
    Outline(report.render(report.load([runs.root]), "html"))


def test_links_and_pipes_are_written_to_and_stay(full: Any, tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target.html", tmp_path / "link.html", tmp_path / "pipe"
    target.write_text("older")
    link.symlink_to(target)
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    report.write([full.root], pipe)
    reader.join(10)
    report.write([full.root], link)
    assert pipe.is_fifo() and link.is_symlink()
    assert got == [target.read_text()] and "<!doctype html>" in got[0]
    assert report.write([full.root], Path("/dev/null")) and Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("name", "fault"), [("", "name a file, such as report.html"), ("n" * 300, "File name too long")]
)
def test_names_that_cannot_be_are_told(full: Any, name: str, fault: str) -> None:
    with pytest.raises(HypermnesiaError, match=f"cannot write the report to .*: {fault}"):
        report.write([full.root], Path(name))


def test_a_name_as_long_as_names_may_be(full: Any, tmp_path: Path) -> None:
    assert report.write([full.root], tmp_path / ("n" * 255)) == tmp_path / ("n" * 255)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"] == []
