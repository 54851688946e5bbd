from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, ConfigDict, Field, model_validator

import mass3d.apps
from mass3d.config import Config, build, differences, resolve, to_toml
from mass3d.errors import ConfigError


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("An even number")
    return value


class Entry(Config):
    name: str
    weight: float = 1.0


class Inner(Config):
    steps: int = Field(default=10, ge=1)
    """How long."""
    even: Annotated[int, AfterValidator(_even)] = 2
    crop: tuple[int, int, int] | None = None


class Settings(Config):
    output: Path
    """Folder to write,
    made where there is none."""
    spacing_mm: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    inputs: tuple[Path, ...] = Field(default=(Path("scans"),), min_length=1)
    names: dict[str, int] | None = None
    inner: Inner = Inner()
    maybe: Inner | None = None
    entries: tuple[Entry, ...] = ()


def refusal(**values: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(Settings, values)
    assert caught.value.exit_code == 2
    assert "validation error" not in str(caught.value)  # no dump of pydantic
    assert "https://" not in str(caught.value)
    return caught.value


# --- where values come from --------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('output = "from file"\nspacing_mm = 2\n[inner]\nsteps = 3\neven = 4\n')
    return path


def test_flags_go_before_assignments_before_the_file_before_defaults(file: Path) -> None:
    alone = resolve(Settings, file=file)
    assert (alone.output, alone.spacing_mm, alone.inner) == (
        Path("from file"),
        2.0,
        Inner(steps=3, even=4),
    )
    both = resolve(
        Settings,
        file=file,
        assignments=["spacing_mm=3", "inner.steps=5", "inner.steps = 6"],
        flags={"spacing_mm": 4.0, "output": None},
    )
    assert both.output == Path("from file")  # a flag that is not given changes nothing
    assert both.spacing_mm == 4.0
    assert both.inner == Inner(steps=6, even=4)
    assert both.inputs == (Path("scans"),)


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("output=run", "output", Path("run")),
        ("output=a=b", "output", Path("a=b")),
        ('output="7"', "output", Path("7")),
        ("output=2026-01-31", "output", Path("2026-01-31")),
        ("output=12:30:00", "output", Path("12:30:00")),
        ("output=", "output", Path()),
        ("spacing_mm=1.5", "spacing_mm", 1.5),
        ("spacing_mm=auto", "spacing_mm", "auto"),
        ("inputs=['a', 'b c']", "inputs", (Path("a"), Path("b c"))),
        ("names={liver=1, spleen=2}", "names", {"liver": 1, "spleen": 2}),
        ("inner.crop=[1, 2, 3]", "inner", Inner(crop=(1, 2, 3))),
        ("maybe.steps=4", "maybe", Inner(steps=4)),
        ('entries=[{name="a"}]', "entries", (Entry(name="a"),)),
    ],
)
def test_an_assignment_is_read_as_toml_or_as_text(assignment: str, key: str, value: object) -> None:
    flags = {} if key == "output" else {"output": Path("run")}
    found = resolve(Settings, assignments=[assignment], flags=flags)
    assert getattr(found, key) == value


@pytest.mark.parametrize("assignment", ["spacing_mm", "=3", " = 3", ""])
def test_an_assignment_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Settings, assignments=[assignment], flags={"output": Path("run")})
    told = caught.value
    assert (told.where, told.found, told.expected) == ("assignment", repr(assignment), "key=value")


def test_a_setting_within_a_single_value_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Settings, file=file, assignments=["inner=3", "inner.steps=4"])
    told = caught.value
    assert told.where == "setting 'inner.steps'"
    assert told.found == "inner = 3 before it"
    assert told.expected == "inner as a group of settings"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"steps = ", "invalid TOML (Invalid value"),
        (b"output = run", "invalid TOML (Invalid value"),
        (b"\xff\xfe", "invalid TOML ('utf-8' codec"),
        (b"a = 1\na = 2", "invalid TOML (Cannot overwrite"),
    ],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(Settings, file=path)
    told = caught.value
    assert told.where == str(path)
    assert told.found.startswith(found)
    assert (told.expected, told.fix) == ("a TOML file", "Correct the file.")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            resolve(Settings, file=path)
        assert caught.value.where == str(path)
        assert reason in caught.value.found
        assert caught.value.fix == "Check the path of the file of settings."


def test_files_are_utf8_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    path = tmp_path / "settings.toml"
    path.write_bytes('output = "größe"'.encode())
    assert resolve(Settings, file=path).output == Path("größe")


def test_settings_cannot_be_changed_later() -> None:
    settings = Settings(output=Path("run"))
    with pytest.raises(ValueError, match="frozen"):
        settings.spacing_mm = 3.0


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name", "closest"),
    [
        ({"outptu": "x"}, "outptu", "output"),
        ({"spacing": 3}, "spacing", "spacing_mm"),
        ({"step": 3}, "step", "inner.steps"),
        ({"iner": {"steps": 3}}, "iner", "inner"),
        ({"inner": {"stepz": 3}}, "inner.stepz", "inner.steps"),
        ({"maybe": {"stepz": 3}}, "maybe.stepz", "maybe.steps"),
        ({"entries": [{"nmae": "a"}]}, "entries.0.nmae", "entries.name"),
    ],
)
def test_an_unknown_key_is_refused_with_the_closest_one(
    values: dict[str, Any], name: str, closest: str
) -> None:
    told = refusal(**({"output": "run"} | values))
    assert told.where == f"setting {name!r}"
    assert told.found == "an unknown key"
    assert told.fix == f"Did you mean {closest!r}?"


def test_an_unknown_key_names_the_keys_beside_it() -> None:
    told = refusal(output="run", inner={"stepz": 3})
    assert told.expected == "one of inner.crop, inner.even, inner.steps"
    told = refusal(output="run", stepz=3)
    assert told.expected == "one of entries, inner, inputs, maybe, names, output, spacing_mm"


def test_a_mistyped_key_is_told_before_the_setting_that_it_leaves_missing() -> None:
    assert refusal(outptu="run").where == "setting 'outptu'"


def test_a_missing_setting_is_told_with_its_meaning() -> None:
    told = refusal()
    assert told.where == "setting 'output'"
    assert told.found == "no value"
    assert told.expected == "one (Folder to write, made where there is none)"
    assert (told.fix, told.setting) == ("Give it a value.", "output")


def test_a_missing_setting_without_a_description_and_in_a_list_is_told_too() -> None:
    told = refusal(output="run", entries=[{"name": "a"}, {"weight": 2}])
    assert told.where == "setting 'entries.1.name'"
    assert (told.found, told.expected) == ("no value", "one")
    assert told.fix == "Complete the value."


@pytest.mark.parametrize(
    ("values", "name", "found", "expected"),
    [
        ({"output": 3}, "output", "3", "not a valid path"),
        ({"spacing_mm": -1}, "spacing_mm", "-1", "greater than 0 or 'auto'"),
        ({"spacing_mm": "wide"}, "spacing_mm", "'wide'", "a valid number or 'auto'"),
        ({"inputs": []}, "inputs", "[]", "at least 1 item"),
        ({"inputs": "scans"}, "inputs", "'scans'", "a valid tuple"),
        ({"names": {"liver": "x"}}, "names.liver", "'x'", "a valid integer"),
        ({"names": 3}, "names", "3", "a valid dictionary"),
        ({"inner": 3}, "inner", "3", "a valid dictionary"),
        ({"inner": {"steps": 0}}, "inner.steps", "0", "greater than or equal to 1"),
        ({"inner": {"steps": "x"}}, "inner.steps", "'x'", "a valid integer"),
        ({"inner": {"even": 3}}, "inner.even", "3", "an even number"),
        ({"inner": {"crop": (1, "b", 3)}}, "inner.crop.1", "'b'", "a valid integer"),
        ({"entries": [{"name": 3}]}, "entries.0.name", "3", "a valid string"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(
    values: dict[str, Any], name: str, found: str, expected: str
) -> None:
    told = refusal(**({"output": "run"} | values))
    assert told.where == f"setting {name!r}"
    assert (told.found, told.expected) == (found, expected)
    assert told.fix == "Correct the value."


def test_a_long_wrong_value_is_cut_in_the_message() -> None:
    assert len(refusal(output="run", names=list(range(10_000))).found) <= 200


def test_settings_that_contradict_each_other_are_told_without_a_name() -> None:
    class Pair(Config):
        low: int = 0
        high: int = 1

        @model_validator(mode="after")
        def rising(self) -> Pair:
            if self.low > self.high:
                raise ValueError("low below high")
            return self

    with pytest.raises(ConfigError) as caught:
        build(Pair, {"low": 3})
    assert (caught.value.where, caught.value.expected) == ("settings", "low below high")


# --- written and read again --------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


class Anything(Config):
    model_config = ConfigDict(extra="allow")


@given(st.dictionaries(texts, plain_values, max_size=4))
def test_any_settings_come_back_from_the_file_they_were_written_to(values: dict[str, Any]) -> None:
    config = Anything.model_construct()
    object.__setattr__(config, "__pydantic_extra__", values)
    assert tomllib.loads(to_toml(config)) == values


def test_settings_of_every_kind_come_back(tmp_path: Path) -> None:
    settings = Settings(
        output=Path('a "quoted" folder'),
        spacing_mm=0.1,
        names={"left kidney": 1, "a.b": 2, "ä": 3},
        inner=Inner(crop=(1, 2, 3)),
        maybe=Inner(steps=7),
        entries=(Entry(name="one"), Entry(name="two", weight=1e-9)),
    )
    path = tmp_path / "config.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert resolve(Settings, file=path) == settings


def configs(module: str) -> list[type[Config]]:
    """All settings that a module of the package defines."""
    found = vars(importlib.import_module(module)).values()
    return [
        kind
        for kind in found
        if isinstance(kind, type) and issubclass(kind, Config) and kind.__module__ == module
    ]


APPS = sorted(path.stem for path in Path(mass3d.apps.__path__[0]).glob("[a-z]*.py"))


@pytest.mark.parametrize("app", APPS)
def test_what_none_leaves_out_of_a_file_is_none_by_default(app: str) -> None:
    """Otherwise a written config.toml would not say None and read back as something else."""
    for kind in configs(f"mass3d.apps.{app}"):
        for name, field in kind.model_fields.items():
            if not field.is_required() and type(None) in get_args(field.annotation):
                assert field.default is None, f"{kind.__name__}.{name}"


def test_settings_that_only_one_side_has_differ() -> None:
    assert differences({"a": 1, "b": {"c": 2, "e": {}}}, {"b": {"d": 4, "e": {}}}) == [
        ("a", 1, None),
        ("b.c", 2, None),
        ("b.d", None, 4),
    ]
    assert differences({"a": {}}, {}) == [("a", {}, None)]
