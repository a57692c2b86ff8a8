"""Pyro 3's parser of command lines, for the programs that use it. gpyro's own tools use docopt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_REQUIRED: Final = object()


class ArgParser:
    """Parses options of one letter.

    Attributes:
        options: letter -> value; True for an option that takes none, None where the value is missing.
        args: the words that are no options.
        ignored: what looks like an option and is none, as in ``["-x", "-y"]``.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.args: list[str] = []
        self.ignored: list[str] = []

    def parse(self, args: str | Iterable[str], optionlist: str) -> None:
        """Parse a command line; what was parsed before is forgotten.

        Options without value may stand together (``-kx``). A value is the rest of its word or the next word, unless
        that begins an option. A lone ``-`` ends the options.

        Args:
            args: the words without the name of the program, or a text of them.
            optionlist: the letters, each with a colon behind it if it takes a value, as in ``"hp:"``.
        """
        self.options, self.args, self.ignored = {}, [], []
        words = args.split() if isinstance(args, str) else list(args)
        while words:
            word = words.pop(0)
            if word == "-":
                self.args += words
                return
            if word[:1] == "-":
                self._take(word[1:], words, optionlist)
            else:
                self.args.append(word)

    def _take(self, letters: str, words: list[str], optionlist: str) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            place = optionlist.find(letter) if letter != ":" else -1
            if place < 0:
                self.ignored.append("-" + letter)
            elif optionlist[place + 1 : place + 2] != ":":
                self.options[letter] = True
            else:
                next_is_value = bool(words) and words[0][:1] != "-"
                self.options[letter] = letters or (words.pop(0) if next_is_value else None)
                return

    def hasOpt(self, option: str) -> bool:
        """Whether an option was there."""
        return option in self.options

    def getOpt(self, option: str, default: Any = _REQUIRED) -> Any:
        """The value of an option, or `default`.

        Raises:
            KeyError: it was not there, and there is no default.
        """
        if option in self.options:
            return self.options[option]
        if default is _REQUIRED:
            raise KeyError("no such option")
        return default

    def printIgnored(self) -> None:
        """Print what looked like options and was none, if there was anything."""
        if self.ignored:
            print("Ignored options:", *self.ignored)
