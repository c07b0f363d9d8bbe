"""Every sentence exists in every language, with the same fields to fill in."""

import string

import pytest

from space.ui import text


def _fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("language", text.TEXT)
def test_languages_are_complete(language):
    english, other = text.TEXT["en"], text.TEXT[language]
    assert list(other) == list(english), "same keys in the same order"
    assert {key: _fields(other[key]) for key in other} == {key: _fields(english[key]) for key in english}
    assert all(sentence.strip() == sentence != "" for sentence in other.values())


def test_translations_differ_from_english():
    for language in ("vi", "zh-CN"):
        same = [key for key, sentence in text.TEXT[language].items() if sentence == text.TEXT["en"][key]]
        assert same == []


def test_every_language_has_its_own_path():
    assert set(text.PATHS) == set(text.TEXT)
    assert len(set(text.PATHS.values())) == len(text.PATHS)
    assert text.PATHS["en"] == ""


def test_no_sentence_can_become_code():
    """The stage's labels pass through a JavaScript template, where these would be evaluated."""
    sentences = [sentence for language in text.TEXT.values() for sentence in language.values()]
    assert not any(mark in sentence for sentence in sentences for mark in ("${", "`", "\\"))
