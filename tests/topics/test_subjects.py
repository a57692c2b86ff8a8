from __future__ import annotations

import pytest

from gpyro.topics.subjects import MAX_SUBJECT, MAX_TOGETHER, SubjectError, fold, subjects_of


@pytest.mark.parametrize("nothing", ["", [], (), None, 0])
def test_what_is_empty_is_none(nothing):
    assert subjects_of(nothing) == []


def test_one_or_several():
    assert subjects_of("News") == ["News"]
    assert subjects_of(["a", "B"]) == ["a", "B"]
    assert subjects_of(("a",)) == ["a"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (17, "not int"),
        ({"a": 1}, "not dict"),
        ({"a"}, "not set"),
        (["a", 1], "subject 2 of 2 is no string but int"),
        (["", "a"], "subject 1 of 2 is empty"),
        (["a"] * (MAX_TOGETHER + 1), f"at most {MAX_TOGETHER:,} subjects"),
    ],
)
def test_what_is_no_subject(wrong, text):
    with pytest.raises(SubjectError, match=text):
        subjects_of(wrong)
    with pytest.raises(SubjectError, match=text.replace("subject", "pattern")):
        subjects_of(wrong, "pattern")


def test_case_does_not_count():
    assert fold("STOCK.Ibm") == fold("stock.ibm") == "stock.ibm"
    assert fold("\u017ftock\u212a\u0131") == "stockki"  # characters that regular expressions take for s, k and i
    assert fold("x" * MAX_SUBJECT)
    with pytest.raises(SubjectError, match=f"{MAX_SUBJECT + 1} characters; {MAX_SUBJECT} are allowed"):
        fold("x" * (MAX_SUBJECT + 1))
