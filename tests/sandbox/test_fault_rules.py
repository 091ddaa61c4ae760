"""Rules of faults: read from TOML with clear errors, and struck as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.sandbox.faults.load import load_faults, read_faults
from llm_router.sandbox.faults.names import check_names, told
from llm_router.sandbox.faults.presets import PRESETS
from llm_router.sandbox.faults.registry import KINDS
from llm_router.sandbox.faults.rules import Faults, Target
from llm_router.settings.problems import ConfigError


def target(provider: str = "openai", model: str = "gpt-x", *, stream: bool = False) -> Target:
    return Target(
        provider=provider,
        dialect=("openai_chat", "openai"),
        models=(model, "gpt"),
        deployments=(f"{provider}/{model}", f"{provider}/gpt"),
        stream=stream,
    )


def struck(faults: Faults, count: int = 1, now_s: float = 0.0, **asked: object) -> list[str | None]:
    """What so many requests are struck by, one after the other."""
    found = [faults.strike(target(**asked), now_s) for _ in range(count)]  # type: ignore[arg-type]
    return [None if one is None else one[0].name for one in found]


def rules(text: str) -> Faults:
    return read_faults(text, "faults.toml").begin()


def test_the_first_rule_that_holds_strikes() -> None:
    faults = rules(
        '[[fault]]\nkind="html"\nprovider="groq"\n[[fault]]\nkind="reset"\n[[fault]]\nkind="close"'
    )
    assert struck(faults) == ["reset"]
    assert struck(faults, provider="groq") == ["html"]


@pytest.mark.parametrize(
    ("said", "hit"),
    [
        ('provider = "openai"', True),
        ('provider = ["groq", "open*"]', True),
        ('provider = "groq"', False),
        ('model = "gpt-x"', True),
        ('model = "gpt"', True),
        ('model = "claude*"', False),
        ('deployment = "openai/gpt"', True),
        ('deployment = "openai/claude"', False),
        ('dialect = "openai_chat"', True),
        ('dialect = "anthropic_messages"', False),
        ("stream = false", True),
        ("stream = true", False),
        ("share = 0", False),
        ("to_s = 10", False),
        ("from_s = 20", True),
        ("from_s = 20\nto_s = 21", True),
        ("from_s = 21", False),
    ],
)
def test_conditions(said: str, hit: bool) -> None:
    assert struck(rules(f'[[fault]]\nkind = "reset"\n{said}'), now_s=20.5) == (["reset"] if hit else [None])


def test_counts() -> None:
    assert struck(rules('[[fault]]\nkind="reset"\nevery=3'), 7) == [None, None, "reset"] * 2 + [None]
    assert struck(rules('[[fault]]\nkind="reset"\nfirst=2'), 4) == ["reset", "reset", None, None]
    assert struck(rules('[[fault]]\nkind=["reset","close"]'), 3) == ["reset", "close", "reset"]
    only_matching = rules('[[fault]]\nkind="reset"\nprovider="groq"\nevery=2')
    assert struck(only_matching, 5) == [None] * 5
    assert struck(only_matching, 2, provider="groq") == [None, "reset"]


def test_a_share_is_drawn_the_same_way_each_time() -> None:
    text = '[[fault]]\nkind="reset"\nshare=0.3'
    first = struck(rules(f"seed = 1\n{text}"), 1000)
    assert first == struck(rules(f"seed = 1\n{text}"), 1000)
    assert first != struck(rules(f"seed = 2\n{text}"), 1000)
    assert 200 < first.count("reset") < 400


def test_what_only_streams_can_show_leaves_whole_replies_alone() -> None:
    faults = rules('[[fault]]\nkind="double-finish"')
    assert struck(faults) == [None]
    assert struck(faults, stream=True) == ["double-finish"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind = 1", "kind"),
        ("[[fault]]", "kind"),
        ('[[fault]]\nkind="rest"', "nearest: reset"),
        ('[[fault]]\nkind="reset"\nshar=1', "nearest: share"),
        ('[[fault]]\nkind="reset"\nshare=1.5', "share is from 0 to 1"),
        ('[[fault]]\nkind="reset"\nshare="half"', "share"),
        ('[[fault]]\nkind="reset"\nevery=0', "every is 1 or more"),
        ('[[fault]]\nkind="reset"\nfirst=0', "first is 1 or more"),
        ('[[fault]]\nkind="reset"\nfrom_s=3\nto_s=3', "less than to_s"),
        ('[[fault]]\nkind="reset"\nseconds=3', "seconds is not read by reset"),
        ('[[fault]]\nkind="stall"\nseconds=-3', "seconds is from 0"),
        ('[[fault]]\nkind="stall"\nevents=-3', "events is 0 or more"),
        ('[[fault]]\nkind="status"\nstatus=200', "status is from 400"),
        ("[[fault]]\nkind=[]", "names none"),
        ('[[fault]]\nkind=["refused","reset"]', "stands alone"),
        ('[[fault]]\nkind="refused"\nmodel="gpt*"', "takes provider, from_s and to_s alone"),
        ('[[fault]]\nkind="refused"\nshare=0.5', "takes provider, from_s and to_s alone"),
        ('[[fault]]\nkind="refused"\nprovider="open*"', "no patterns"),
        ("[[fault", "faults.toml:"),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_faults(text, "faults.toml")
    assert words in raised.value.message
    assert raised.value.message.startswith("faults.toml:")


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        read_faults('[[fault]]\nkind="x"\n[[fault]]\nkind="reset"\nevery=0\nshare=2', "faults.toml")
    assert [problem.split(": ")[1] for problem in raised.value.problems] == ["fault 1", "fault 2", "fault 2"]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset: str) -> None:
    everywhere, there = load_faults(preset).begin(), load_faults(f"{preset}:groq").begin()
    assert any(struck(everywhere, 10, stream=True))
    assert any(struck(there, 10, stream=True, provider="groq"))
    assert not any(struck(there, 10, stream=True))


def test_a_file_or_the_name_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('[[fault]]\nkind = "reset"')
    assert struck(load_faults(str(path)).begin()) == ["reset"]
    with pytest.raises(ConfigError, match="no such file, and no such preset"):
        load_faults(str(tmp_path / "missing.toml"))
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_faults(str(path))


@pytest.mark.parametrize("page", ["README.md", "docs/fault-lab.md"])
def test_the_pages_know_how_many_kinds_there_are(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    assert f"{len(KINDS)} kinds of faults" in text or f"There are {len(KINDS)}." in text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('provider = "opnai"', "fault 1: there is no provider 'opnai'; nearest: openai"),
        ('model = ["gpt-5", "gtp-5"]', "there is no model 'gtp-5'; nearest: gpt-5"),
        ('deployment = "openai/gpt-0"', "there is no deployment 'openai/gpt-0'"),
        ('provider = "zz*"', "there is no provider 'zz*'"),
    ],
)
def test_who_is_not_there_cannot_be_struck(said: str, words: str) -> None:
    snapshot = compile_snapshot(load_builtin())
    rules = read_faults(f'[[fault]]\nkind = "close"\n{said}\n', "x.toml").rules
    with pytest.raises(ConfigError) as raised:
        check_names(rules, "x.toml", snapshot)
    assert words in str(raised.value)
    good = read_faults('[[fault]]\nkind = "close"\nprovider = "open*"\nmodel = "gpt-5"\n', "x").rules
    check_names(good, "x", snapshot)
    assert told(good[0]) == "close; provider open*; model gpt-5"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '\n[[fault]]\nkind = "close"\nevery = "x"\n',
            "x.toml: line 2: fault 1: every must be a whole number, found text",
        ),
        ('[[fault]]\nkind = "close"\n[[fault]]\nevery = 2\n', "x.toml: line 3: fault 2: 'kind' is missing"),
        (
            '[[fault]]\nkind = "close"\nevry = 2\n',
            "x.toml: line 1: fault 1: unknown key 'evry'; nearest: every",
        ),
        ("sed = 2\n", "x.toml: unknown key 'sed'; nearest: seed"),
        ("seed = 1.5\n", "x.toml: seed must be a whole number, found a number"),
        ("[[fault]]\nkind = [1]\n", "must be text, found a whole number"),
    ],
)
def test_wrong_types_are_told_in_our_words(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_faults(text, "x.toml")
    assert says in str(raised.value)


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 150
    assert all(
        kind.about and not kind.about.endswith(".") and "\n" not in kind.about for kind in KINDS.values()
    )
    assert len({kind.about for kind in KINDS.values()}) == len(KINDS)
    assert all(kind.streams or kind.wholes for kind in KINDS.values())
