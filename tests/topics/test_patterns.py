from __future__ import annotations

import random
import re
import time

import pytest

from gpyro.topics.patterns import MAX_PATTERN, Pattern, PatternError
from gpyro.topics.subjects import MAX_SUBJECT, fold


@pytest.mark.parametrize(
    ("text", "prefix", "matching", "other"),
    [
        ("^STOCKQUOTE\\.[A-Z]+\\..*$", "stockquote.", "Stockquote.IBM.price", "stockquote.ibm"),
        ("STOCKS_.*", "stocks_", "stocks_", "my stocks_"),
        ("news", "news", "newspaper", "new"),
        (".*", "", "", None),
        ("", "", "anything", None),
        (".*foo.*bar.*", "", "a foo at a bar", "a bar of foo"),
        ("(IBM|MSFT)\\..*", "", "msft.x", "sun.x"),
        ("\\w+\\.\\w+\\.\\w+", "", "a.b.c", "a.b"),
        ("(ab)*c", "", "ababc", "abab"),
        ("(a|b)+$", "", "abab", "abc"),
        ("(ab|ac)*d", "", "abacd", "aba"),
        ("chat.room[0-9]+$", "chat", "CHAT-ROOM17", "chatroom"),
        ("colou?r", "colo", "color", "colr"),
        ("(?>a+)b", "", "aaab", "aaa"),
        ("a*+b", "", "aab", "aac"),
        ("[^.]+\\.x$", "", "ab.x", "a.b.x"),
        ("k[a-s]*t", "k", "\u212ast", "kz"),
        ("(?s)a.b", "a", "a\nb", "ab"),
        ("(.*)foo(.*)bar(.*)x", "", "a foo bar x", "bar foo x"),
        (".*price.*[0-9]+$", "", "the price is 17", "17 is the price"),
        (".*stocks.*price.*tin.*", "", "my stocks: price of tin", "tin"),
    ],
)
def test_patterns_that_are_taken(text, prefix, matching, other):
    pattern = Pattern(text)
    assert pattern.prefix == prefix
    assert pattern.matches(fold(matching))
    assert fold(matching).startswith(prefix)
    assert other is None or not pattern.matches(fold(other))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a+)+b", "a repetition inside of a repetition"),
        ("(a*)*", "a repetition inside of a repetition"),
        ("(x+x+)+y", "a repetition inside of a repetition"),
        ("(\\w+\\.)*x", "a repetition inside of a repetition"),
        ("(?:a{0,2}){1,2}b", "a repetition inside of a repetition"),
        ("((ab){2})*c", "a repetition inside of a repetition"),
        ("(a|a)*b", "begin alike"),
        ("(a|ab)*b", "begin alike"),
        ("(ab|a.)*c", "begin alike"),
        ("(.|a)*b", "begin alike"),
        ("a?" * 25 + "a" * 25, "more than 3 places"),
        (".*a.*a.*a.*b", "more than 3 places"),
        ("(.a|ab)(.a|ab)(.a|ab)(.a|ab)c", "more than 3 places"),
        (".*.*.*(a|bb)+c", "what comes late in it"),
        (".*.*.*" + "a" * 60 + "b", "what comes late in it"),
        ("\\w*\\w*\\w*\\w+!", "what comes late in it"),
        ("(aa){0,255}\\w{0,255}(?>a|ab)*?(?>a|ab)+c", "what comes late in it"),
        ("(.)\\1", "references to groups"),
        ("(?P<n>a)(?P=n)", "references to groups"),
        ("(a)?(?(1)b|c)", "references to groups"),
        ("(?=a)b", "looking ahead or back"),
        ("(?<!a)b", "looking ahead or back"),
        ("(?i:a)b", "flags inside"),
        ("x{500}", "more often than a subject"),
        ("x{3,9999}", "more often than a subject"),
        ("[", "is no regular expression: unterminated character set at position 0"),
        ("*", "is no regular expression: nothing to repeat"),
        ("(", "is no regular expression"),
        ("x{99999999999999999999}", "too large"),
        ("(" * 240 + ")" * 240, ""),
        ("x" * (MAX_PATTERN + 1), f"{MAX_PATTERN} are allowed"),
    ],
)
def test_patterns_that_are_refused(text, why):
    if not why:  # deep, and harmless: whatever comes of it, it is one of the two
        try:
            Pattern(text)
        except PatternError:
            return
        return
    with pytest.raises(PatternError, match=re.escape(why)) as caught:
        Pattern(text)
    assert repr(text[:20])[:-1] in str(caught.value)
    assert caught.value.args == (text, caught.value.why)


_PARTS = ["a", "b", "ab", ".", "[ab]", "[^a]", "\\w", "(a|b)", "(a|ab)", "(ab)", "(a|)", "(?:a|bc)", "^", "$", "\\b"]
_REPEATS = ["", "", "*", "+", "?", "{2,5}", "*?", "{3}"]


def _random_pattern(random_: random.Random, depth: int = 2) -> str:
    parts = []
    for _ in range(random_.randint(1, 5)):
        part = random_.choice(_PARTS)
        if depth and random_.random() < 0.3:
            part = f"({_random_pattern(random_, depth - 1)})"
        parts.append(part + (random_.choice(_REPEATS) if part not in ("^", "$", "\\b") else ""))
    return "".join(parts)


def test_what_is_taken_is_quick_and_what_it_begins_with_is_so():
    random_ = random.Random(7)
    subjects = ["a" * MAX_SUBJECT, "ab" * 127, "a" * 254 + "c", "b" * MAX_SUBJECT, "aab" * 80, "abc", "c", ""]
    taken = 0
    for _ in range(3000):
        text = _random_pattern(random_)
        try:
            pattern = Pattern(text)
        except PatternError:
            continue
        taken += 1
        for subject in subjects:
            began = time.process_time()
            matches = pattern.matches(subject)
            # What would take exponential time would never come to an end.
            assert time.process_time() - began < 5, text
            assert not matches or subject.startswith(pattern.prefix), text
            assert matches == (re.match(text, subject, re.IGNORECASE) is not None)
    assert taken > 500


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        ("stocks.*", "stock.*s"),
        (".*a.*b", ".*a.*b.*c"),
        ("[a-z]+\\.", "[a-z]+a"),
        (".*a.*abc", ".*a.*aaa"),
        (".*a.*b", ".*a.*?b"),
        (".*a?b", ".*.*b"),
        (".*a+b", ".*(aa)+b"),
        (".*abc.*d", ".*aaa.*d"),
    ],
)
def test_what_can_go_more_ways_is_more_work(easier, harder):
    assert 0 < Pattern(easier).work < Pattern(harder).work


@pytest.mark.parametrize(
    ("lazy", "steps"),
    [
        # One on takes eight, whatever comes behind it, and looking at the character one, or five for a set.
        (".*?b", 255 * (8 + 1) + 255 * 1),
        (".*?[bc]", 255 * (8 + 1) + 255 * 5),
        ("[a-z]*?b", 255 * (8 + 5) + 255 * 1),
        (".+?b", 255 * (8 + 1) + 255 * 1),
        (".{0,9}?b", 9 * (8 + 1) + 9 * 1),
        (".??b", 1 * (8 + 1) + 1 * 1),
        ("a{2,9}?b", 9 * (8 + 1) + 1),  # one way: the b decides
        ("a.*?", 1 + 1 * (8 + 1)),  # nothing comes behind it: as few as may be is none
    ],
)
def test_what_is_taken_lazily_is_counted(lazy, steps):
    assert Pattern(lazy).work == steps


def test_lazy_repetitions_behind_each_other_multiply():
    for one, another in ((".*?b", ".*?a.*?b"), (".*?a.*?b", ".*?a.*?a.*?b")):
        assert 50 < Pattern(another).work / Pattern(one).work < 255
    # Dearer than the others where the next character decides, and cheaper where none does.
    assert Pattern(".*?a.*?b").work > 3 * Pattern(".*a.*b").work
    assert Pattern(".*?[ab].*?[bc]").work < Pattern(".*[ab].*[bc]").work
    with pytest.raises(PatternError, match="what comes late in it"):
        Pattern("\\w*?\\w*?\\w*?[cd]")
