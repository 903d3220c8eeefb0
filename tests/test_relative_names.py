"""Names of files from outside: which are joined to a directory, and which are refused."""

from __future__ import annotations

import pytest

from tf_hfwb.validation.relative_paths import check_path, check_paths

pytestmark = pytest.mark.core


@pytest.mark.parametrize("name", ["a", "a/b.txt", ".hidden", "...", "a..b/c", "größer", "日本/語.txt", "a b:c", "null"])
def test_a_plain_name_passes_as_it_is(name):
    assert check_path(name) == name


OUTSIDE = "outside of its directory"
MORE = "in more than one way"
CHARACTER = "a character that no name has"
BAD = [
    *[(name, OUTSIDE) for name in ("", "..", "../a", "a/../../b", "a/..", "/", "/etc/passwd", "//host/share")],
    *[(name, OUTSIDE) for name in ("..\\a", "a\\b", "C:a", "c:/a", "\\\\host\\share")],
    *[(name, MORE) for name in (".", "./a", "a/./b", "a//b", "a/", "a/.")],
    *[(name, CHARACTER) for name in ("a\0b", "a\nb", "a\x1b[2J", "\x9b", "a\ud800", "\udcff")],
    *[(name, "no text") for name in (None, 1, b"a", ["a"])],
]


@pytest.mark.parametrize(("name", "message"), BAD)
def test_any_other_name_is_refused_and_shown(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_path(name)
    assert repr(name) in str(caught.value)
    with pytest.raises(ValueError, match=message):
        check_paths(["good", name])


def test_a_name_that_no_system_takes_is_refused_and_not_shown():
    with pytest.raises(ValueError, match="a name of 5000 characters"):
        check_path("a/" * 2500)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "a"], "twice, 'a' and 'a'"),
        (["Vocab.txt", "vocab.txt"], "twice, 'Vocab.txt' and 'vocab.txt'"),
        (["straße", "STRASSE"], "twice"),
        (["caf\xe9", "cafe\u0301"], "twice"),
        (["a/b", "A/B"], "twice"),
        (["a/b/c", "a/b"], "within a file, 'a/b' and 'a/b/c'"),
        (["a", "A/b"], "within a file"),
        (["a/b/c/d", "a!", "a", "a/b!"], "within a file"),
    ],
)
def test_two_names_of_one_file_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_paths(names)


def test_names_of_different_files_pass_in_their_order():
    names = ["b", "a/b", "a/c", "ab", "a.txt"]
    assert check_paths(iter(names)) == names
