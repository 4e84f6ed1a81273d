"""Actions: normal forms and refusals (triggers-and-actions.md §5, §6, §12 rows 18-20)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.actions import Action, FullJobAction, LightweightAction, validate_action
from domain.errors import DomainError, ErrorKind

JOB: dict[str, object] = {"type": "full_job", "title": "t", "description": "d"}


def lightweight(**fields: object) -> dict[str, object]:
    return {"type": "lightweight", "prompt": "p", **fields}


def paths(*given: object) -> list[str]:
    action = validate_action(lightweight(context_paths=list(given)))
    assert isinstance(action, LightweightAction)
    return action.context_paths


def refused(action: object) -> DomainError:
    with pytest.raises(DomainError) as caught:
        validate_action(action)
    return caught.value


class TestNormalForm:
    def test_a_prompt_alone_gets_all_defaults(self) -> None:
        assert validate_action({"type": " Lightweight ", "prompt": " p "}).model_dump() == {
            "type": "lightweight",
            "prompt": "p",
            "context_paths": [],
            "max_tokens": 4096,
            "use_tools": False,
            "max_tool_rounds": 3,
        }

    def test_everything_that_is_given_is_kept(self) -> None:
        given = lightweight(
            context_paths=["a.md"], max_tokens=200_000, use_tools=True, max_tool_rounds=20
        )
        assert validate_action(given).model_dump() == given

    def test_null_counts_as_absent(self) -> None:
        given = lightweight(
            context_paths=None, max_tokens=None, use_tools=None, max_tool_rounds=None
        )
        assert validate_action(given) == LightweightAction(prompt="p")

    def test_a_job_defaults_to_25_iterations(self) -> None:
        assert validate_action(JOB) == FullJobAction(title="t", description="d", max_iterations=25)

    def test_the_largest_values_are_accepted(self) -> None:
        job = {**JOB, "title": "ä" * 200, "description": "d" * 65_536, "max_iterations": 500}
        assert validate_action(job).model_dump() == job
        prompt = "ä" * 32_768
        assert validate_action(lightweight(prompt=prompt)).model_dump()["prompt"] == prompt

    @pytest.mark.parametrize("action", [lightweight(), JOB])
    def test_the_json_of_an_action_is_its_normal_form_again(self, action: object) -> None:
        adapter: TypeAdapter[Action] = TypeAdapter(Action)
        normal = validate_action(action)
        assert adapter.validate_json(normal.model_dump_json()) == normal
        assert validate_action(normal.model_dump()) == normal


class TestContextPaths:
    @pytest.mark.parametrize(
        ("given", "normal"),
        [
            pytest.param([" a/b.md", "", "./c.md", "a//b.md"], ["a/b.md", "c.md"], id="spec"),
            pytest.param(["./", ".", " "], [], id="the workspace itself is no file"),
            pytest.param(["a/./b", "a/b/", "a /b"], ["a/b"], id="dots, slashes, blanks"),
            pytest.param(["b", "a", "b"], ["b", "a"], id="each once, in the order given"),
            pytest.param(
                ["a..b", "..c", "d~", "ab:c", "ä 🙂"], None, id="names that only look odd"
            ),
        ],
    )
    def test_paths_are_brought_into_one_form(
        self, given: list[str], normal: list[str] | None
    ) -> None:
        assert paths(*given) == (normal if normal is not None else given)

    @pytest.mark.parametrize(
        "path",
        [
            "../x",
            "..",
            "a/../b",
            "a/../../b",
            "/etc/passwd",
            " /x",
            "//x",
            "~",
            "~/x",
            "~root/x",
            "./~/x",
            "./ ../x",
            "a\\b",
            "C:/x",
            "c:x",
            "./C:/x",
            "a\0b",
            "a\ud800",
            5,
            None,
            ["a"],
        ],
    )
    def test_nothing_leads_out_of_the_workspace(self, path: object) -> None:
        error = refused(lightweight(context_paths=["fine.md", path]))
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "action.context_paths")
        assert "workspace" in error.message

    def test_at_most_32_are_taken(self) -> None:
        many = [f"{number}.md" for number in range(33)]
        assert len(paths(*many[:32])) == 32
        assert "32" in refused(lightweight(context_paths=many)).message

    @pytest.mark.parametrize("value", ["a.md", {"a": 1}, 5, True])
    def test_only_a_list_is_a_list(self, value: object) -> None:
        assert "list" in refused(lightweight(context_paths=value)).message

    @given(st.lists(st.text(alphabet="ab./~ ", max_size=8), max_size=6))
    def test_normal_paths_stay_as_they_are(self, given: list[str]) -> None:
        try:
            normal = paths(*given)
        except DomainError:
            return
        assert paths(*normal) == normal
        assert len(set(normal)) == len(normal)
        assert not any(".." in path.split("/") or path.startswith("/") for path in normal)


class TestRefusals:
    @pytest.mark.parametrize(
        ("action", "kind", "field", "contains"),
        [
            pytest.param(
                {"type": "script"},
                ErrorKind.INVALID_FIELD,
                "action.type",
                ["lightweight", "full_job"],
                id="row 18",
            ),
            ({"prompt": "p"}, ErrorKind.MISSING_FIELD, "action.type", ["type", "full_job"]),
            ({"type": 5}, ErrorKind.INVALID_FIELD, "action.type", ["lightweight"]),
            (None, ErrorKind.INVALID_FIELD, "action", ["object"]),
            ("p", ErrorKind.INVALID_FIELD, "action", ["object"]),
            pytest.param(
                lightweight(max_tool_rounds=0),
                ErrorKind.INVALID_FIELD,
                "action.max_tool_rounds",
                ["1", "20"],
                id="row 20",
            ),
            (
                lightweight(max_tool_rounds=21),
                ErrorKind.INVALID_FIELD,
                "action.max_tool_rounds",
                ["1", "20"],
            ),
            (
                {**JOB, "max_iterations": 501},
                ErrorKind.INVALID_FIELD,
                "action.max_iterations",
                ["1", "500"],
            ),
            (
                {**JOB, "max_iterations": 0},
                ErrorKind.INVALID_FIELD,
                "action.max_iterations",
                ["1", "500"],
            ),
            (
                lightweight(max_tokens="4096"),
                ErrorKind.INVALID_FIELD,
                "action.max_tokens",
                ["integer"],
            ),
            (
                lightweight(max_tokens=True),
                ErrorKind.INVALID_FIELD,
                "action.max_tokens",
                ["integer"],
            ),
            (
                lightweight(max_tokens=200_001),
                ErrorKind.INVALID_FIELD,
                "action.max_tokens",
                ["200000"],
            ),
            (lightweight(use_tools=1), ErrorKind.INVALID_FIELD, "action.use_tools", ["true"]),
            (lightweight(prompt=" "), ErrorKind.MISSING_FIELD, "action.prompt", ["prompt"]),
            (lightweight(prompt=5), ErrorKind.INVALID_FIELD, "action.prompt", ["string"]),
            (
                lightweight(prompt="ä" * 32_769),
                ErrorKind.INVALID_FIELD,
                "action.prompt",
                ["65536"],
            ),
            ({**JOB, "title": ""}, ErrorKind.MISSING_FIELD, "action.title", ["title"]),
            ({**JOB, "title": "t" * 201}, ErrorKind.INVALID_FIELD, "action.title", ["200"]),
            ({**JOB, "description": None}, ErrorKind.MISSING_FIELD, "action.description", []),
            (
                {**JOB, "description": "d" * 65_537},
                ErrorKind.INVALID_FIELD,
                "action.description",
                ["65536"],
            ),
            ({**JOB, "prompt": "p"}, ErrorKind.UNKNOWN_FIELD, "action.prompt", ["description"]),
            (lightweight(title="t"), ErrorKind.UNKNOWN_FIELD, "action.title", ["max_tool_rounds"]),
        ],
    )
    def test_bad_input_is_named(
        self, action: object, kind: ErrorKind, field: str, contains: list[str]
    ) -> None:
        error = refused(action)
        assert (error.kind, error.field) == (kind, field)
        assert all(text in error.message for text in contains)

    def test_all_wrong_fields_are_listed_unknown_keys_first(self) -> None:
        error = refused(lightweight(prompt="", max_tokens=0, colour="red"))
        assert [problem.field for problem in error.errors] == [
            "action.colour",
            "action.prompt",
            "action.max_tokens",
        ]
