"""How text is cut into tokens."""

import pytest

from synapse_lite.matrix.words import (
    MAX_MARKS,
    MAX_TOKENS,
    MAX_WORD,
    Term,
    normalised,
    spellings,
    terms,
    tokens,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD hello", ["hello", "world"]),
        ("foo-bar_baz", ["foo", "bar", "baz"]),
        ("Tiếng Việt", ["tiếng", "việt"]),
        ("Straße", ["strasse"]),
        ("Vue组件化", ["vue", "组件", "件化", "化"]),
        ("東京タワーへ", ["東京", "京タ", "タワ", "ワー", "ーへ", "へ"]),
        ("ﾀﾜｰ \uff21\uff22\uff23", ["タワ", "ワー", "ー", "abc"]),
        ("학교에서", ["학교", "교에", "에서", "서"]),
        ("กินข้าว", ["กิน", "นข้", "ข้า", "าว", "ว"]),
        ("中。文", ["中", "文"]),
        ("🎉 !?", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    """Words between spaces, overlapping pairs in scripts without, cut where the script changes."""
    assert tokens(normalised(text)) == [normalised(token) for token in expected]


def test_tokens_are_bounded() -> None:
    """However much text there is."""
    found = tokens(" ".join(str(number) for number in range(2 * MAX_TOKENS)) + " " + "x" * 100)
    assert len(found) == MAX_TOKENS
    assert tokens("x" * 100) == ["x" * MAX_WORD]


def test_marks_are_bounded() -> None:
    """To put many in a row into their order takes time without end; what comes behind them is found."""
    text = "sun" + "\u0301\u0316" * 10_000 + " \ufb01sh"
    folded = normalised(text)
    assert len(folded) <= len("sun fish") + MAX_MARKS
    assert tokens(folded)[1:] == ["fish"]
    sun, fish = spellings(text, terms("fish su"))
    assert len(sun) <= len("sun") + MAX_MARKS
    assert fish == "\ufb01sh"


def test_terms() -> None:
    """A run is looked for as it stands; the last word may be unfinished; one character begins a pair."""
    assert terms("who are") == [
        Term("who", ("who",), is_run=False),
        Term("are", ("are",), is_run=False, is_prefix=True),
    ]
    assert terms("天气好") == [Term("天气好", ("天气", "气好"), is_run=True, is_prefix=True)]
    assert terms("天") == [Term("天", ("天",), is_run=True, is_prefix=True)]


@pytest.mark.parametrize(
    ("asked", "text", "expected"),
    [
        ("strasse", "Die Straße, die STRASSE", ["Straße", "STRASSE"]),
        ("who kett", "Who? Kettles! who's whose", ["Who", "Kettles", "who"]),
        ("kettle", "kettle-bell", ["kettle"]),
        ("kettle", "bell", []),
        ("タワー", "東京ﾀﾜｰへ", ["ﾀﾜｰ"]),
        ("ガス", "ｶﾞｽ", ["ｶﾞｽ"]),
        ("학교", normalised("학교에서"), ["학교"]),
        ("학교", "\u1112\u1161\u11a8\u1100\u116d에서", ["\u1112\u1161\u11a8\u1100\u116d"]),
        ("会社", "㍿です", ["㍿"]),
        ("abc", "\uff21\uff22\uff23", ["\uff21\uff22\uff23"]),
        ("tiếng", "TIE\u0302\u0301NG", ["TIE\u0302\u0301NG"]),
        ("x" * 100, "X" * 100, ["X" * 100]),
        ("vue 组件", "用Vue组件写", ["Vue", "组件"]),
    ],
)
def test_spellings(asked: str, text: str, expected: list[str]) -> None:
    """What is found, as the text has it."""
    assert spellings(text, terms(normalised(asked))) == expected
