"""Manifests in files: what is read, what is refused, and that what was written is read back."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.manifest_files import (
    dump_json,
    dump_yaml,
    load_yaml,
    manifests_beside,
    read_manifests,
    write_manifests,
)
from client.manifests import Export
from domain.errors import DomainError

ROOT = Path(__file__).parents[2]
BODY: dict[str, Any] = {"id": "a", "prompt": "x", "schedule": {"cron_expr": "0 9 * * *"}}


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestReading:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.yaml", "id: a\nprompt: x\nschedule: {cron_expr: 0 9 * * *}\n"),
            ("a.yml", "\ufeff---\nid: a\nprompt: 'x'\nschedule:\n  cron_expr: '0 9 * * *'\n...\n"),
            ("a.json", json.dumps(BODY)),
            ("json-in-a.yaml", json.dumps(BODY)),
            ("flow.yaml", "{id: a, prompt: x, schedule: {cron_expr: 0 9 * * *}}"),
            ("export.json", json.dumps({"version": 1, "routines": [BODY], "goals": []})),
            ("export.yaml", dump_yaml([{"version": 1, "routines": [BODY]}])),
        ],
    )
    def test_each_form(self, tmp_path: Path, name: str, text: str) -> None:
        found = read_manifests([written(tmp_path, name, text)])

        assert found.problems == []
        assert [manifest.body for manifest in found.manifests] == [BODY]

    def test_the_goals_of_an_export_are_counted(self, tmp_path: Path) -> None:
        export = {"version": 1, "routines": [BODY], "goals": [{"id": "goal_1"}]}
        found = read_manifests([written(tmp_path, "export.json", json.dumps(export))])

        assert found.problems == []
        assert (len(found.manifests), found.goals) == (1, [{"id": "goal_1"}])

    def test_only_what_json_can_say(self) -> None:
        text = (
            "at: 2027-01-01T00:00:00Z\nday: 2027-01-01\noctal: 010\ntime: 12:30\nnorway: no\n"
            "number: 12\nhalf: 0.5\nnull: ~\nempty:\nyes: true\nquoted: '12'\nnan: NaN\nhex: 0x1F\n"
        )
        assert load_yaml(text) == [
            {
                "at": "2027-01-01T00:00:00Z",
                "day": "2027-01-01",
                "octal": "010",
                "time": "12:30",
                "norway": "no",
                "number": 12,
                "half": 0.5,
                "null": None,
                "empty": None,
                "yes": True,
                "quoted": "12",
                "nan": "NaN",
                "hex": "0x1F",
            }
        ]

    def test_several_documents_are_told_apart(self, tmp_path: Path) -> None:
        path = written(tmp_path, "many.yaml", "id: a\n---\n# nothing\n---\nid: b\n")

        found = read_manifests([path])

        assert [(item.source, item.body) for item in found.manifests] == [
            (f"{path}, document 1", {"id": "a"}),
            (f"{path}, document 2", {"id": "b"}),
        ]

    def test_a_folder_with_what_is_below_it(self, tmp_path: Path) -> None:
        for name in ("b.yaml", "sub/a.yml", "c.json", ".hidden.yaml", ".git/x.yaml", "notes.txt"):
            written(tmp_path, name, json.dumps({"id": name}))

        found = read_manifests([str(tmp_path)])

        assert [item.body["id"] for item in found.manifests] == ["b.yaml", "c.json", "sub/a.yml"]

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("id: a\n"))

        found = read_manifests(["-"])

        assert [(item.source, item.body) for item in found.manifests] == [
            ("standard input", {"id": "a"})
        ]

    def test_surrogate_pairs_of_json(self, tmp_path: Path) -> None:
        found = read_manifests(
            [written(tmp_path, "a.json", '{"id": "a", "title": "\\ud83d\\ude00"}')]
        )
        assert found.manifests[0].body["title"] == "\N{GRINNING FACE}"


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text", "field", "contains"),
        [
            ("a.yaml", "id: [a", "manifest", "line 1"),
            ("a.yaml", "id: a\nid: b\n", "manifest", "'id' stands twice"),
            ("a.yaml", "? [a]\n: b\n", "manifest", "plain text"),
            ("a.yaml", "id: !!python/object:os.system a\n", "manifest", "tag"),
            ("a.yaml", "id: !secret a\n", "manifest", "tag"),
            ("a.yaml", "a: \x01\n", "manifest", "not YAML"),
            ("a.yaml", "# nothing\n", "manifest", "empty"),
            ("a.yaml", "- id: a\n", "manifest", "object"),
            ("a.yaml", "just text\n", "manifest", "object"),
            ("a.yaml", "[" * 2000, "manifest", "nested"),
            ("a.json", "{'id': 1}", "manifest", "not JSON"),
            ("a.json", '{"id": 1, "id": 2}', "manifest", "'id' stands twice"),
            ("a.json", '{"id": NaN}', "manifest", "NaN"),
            ("a.json", "[" * 100_000, "manifest", "not JSON"),
            ("e.json", '{"version": 2, "routines": []}', "version", "must be 1"),
            ("e.json", '{"routines": []}', "version", "must be 1"),
            ("e.json", '{"version": 1, "routines": {}}', "routines", "list"),
            ("e.json", '{"version": 1, "routines": [1]}', "routines[0]", "object"),
            ("e.json", '{"version": 1, "routines": [], "goals": {}}', "goals", "list of goals"),
            ("e.json", '{"version": 1, "routines": [], "x": 1}', "x", "version"),
        ],
    )
    def test_what_cannot_be_read(
        self, tmp_path: Path, name: str, text: str, field: str, contains: str
    ) -> None:
        path = written(tmp_path, name, text)

        found = read_manifests([path])

        assert found.manifests == []
        problem = found.problems[0]
        assert (problem.kind, problem.field) == ("invalid_field", field)
        assert problem.message.startswith(f"{path}: ")
        assert contains in problem.message

    def test_one_bad_file_does_not_hide_the_next(self, tmp_path: Path) -> None:
        written(tmp_path, "a.yaml", "id: [")
        written(tmp_path, "b.json", "x")
        written(tmp_path, "c.yaml", "id: c")
        (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\xfa")
        empty = tmp_path / "empty"
        empty.mkdir()

        found = read_manifests([str(tmp_path / "nowhere.yaml"), str(empty)])
        one_by_one = read_manifests([str(path) for path in sorted(tmp_path.glob("?.*"))])

        assert [problem.field for problem in found.problems] == ["file", "file"]
        assert "nowhere.yaml" in found.problems[0].message
        assert "no manifest" in found.problems[1].message
        assert [item.body for item in one_by_one.manifests] == [{"id": "c"}]
        assert len(one_by_one.problems) == 3
        assert "UTF-8" in one_by_one.problems[2].message
        together = read_manifests([str(tmp_path)])
        assert (len(together.manifests), len(together.problems)) == (1, 3)


class TestWriting:
    def test_a_folder_gets_a_file_each(self, tmp_path: Path) -> None:
        export = Export(routines=[BODY, {"id": "b", "prompt": "one\ntwo\n"}])

        files = write_manifests(export, f"{tmp_path}/new/sub/")

        assert files == [f"{tmp_path}/new/sub/{name}.yaml" for name in "ab"]
        assert Path(files[1]).read_text(encoding="utf-8") == "id: b\nprompt: |\n  one\n  two\n"
        assert [item.body for item in read_manifests([str(tmp_path)]).manifests] == export.routines
        assert write_manifests(export, str(tmp_path / "new" / "sub")) == files

    def test_what_stands_beside_an_export(self, tmp_path: Path) -> None:
        old = written(tmp_path, "old.yaml", "id: old")
        written(tmp_path, "notes.txt", "x")

        files = write_manifests(Export(routines=[BODY]), str(tmp_path))

        assert manifests_beside(files, str(tmp_path)) == [old]
        single = write_manifests(Export(routines=[BODY]), str(tmp_path / "all.json"))
        assert manifests_beside(single, str(tmp_path / "all.json")) == []

    @pytest.mark.parametrize("name", ["all.yaml", "all.yml", "all.json", "all"])
    def test_one_file_for_all(self, tmp_path: Path, name: str) -> None:
        export = Export(routines=[BODY, {"id": "b", "prompt": "x"}])

        files = write_manifests(export, str(tmp_path / name))

        assert files == [str(tmp_path / name)]
        assert [item.body for item in read_manifests(files).manifests] == export.routines
        assert list(tmp_path.iterdir()) == [tmp_path / name]

    def test_what_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(DomainError) as caught:
            write_manifests(Export(routines=[BODY]), f"{tmp_path}/file/below/")

        assert (caught.value.kind, caught.value.field) == ("invalid_field", "output")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.from_regex(r"[-+0-9.eE:x_~]{1,6}", fullmatch=True)
    | st.sampled_from(["null", "True", "no", "y", "=", "<<", "- a", "a: b", " x\n y", "\n", "1e5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(bodies=st.lists(st.dictionaries(st.text(), VALUES, min_size=1, max_size=3), max_size=3))
def test_what_was_written_is_read_back(bodies: list[dict[str, Any]]) -> None:
    assert load_yaml(dump_yaml(bodies)) == bodies
    assert json.loads(dump_json(Export(routines=bodies)))["routines"] == bodies


def test_the_examples_are_read() -> None:
    found = read_manifests([str(ROOT / "examples" / "routines")])

    assert found.problems == []
    assert {item.body["id"] for item in found.manifests} == {
        "morning-brief",
        "inbox-watch",
        "weekly-notes",
        "month-end",
    }
