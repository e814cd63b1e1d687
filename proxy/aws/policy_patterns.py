"""Patterns in IAM policies: wildcards, and policy variables such as ``${aws:username}``.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

Values = tuple[str, ...]
"""The values of a condition key in one request; none when the key is absent from it."""

Lookup = Callable[[str], Values | None]
"""Finds the values of a condition key, whose name is given in lower case. None: this service cannot tell."""

_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"\s*([^\s,']+)\s*(?:,\s*'([^']*)'\s*)?")
_ARN_COMPONENTS: Final = 6


class Matcher(Protocol):
    """One value in a policy, which values of requests are held against."""

    keys: frozenset[str]
    """The condition keys that its variables name, in lower case."""

    def matches(self, value: str, lookup: Lookup) -> bool | None:
        """None: this service cannot tell. A variable without a value matches nothing."""
        ...

    def is_complete(self, lookup: Lookup) -> bool:
        """Whether each of its variables has a value."""
        ...


class _Wildcard(Enum):
    ANY = "*"
    ONE = "?"


class _Variable(NamedTuple):
    key: str
    default: str | None

    def values(self, lookup: Lookup) -> Values | None:
        """At most one: a key with several has none that could be put in its place."""
        found = lookup(self.key)
        if found is None or len(found) > 1:
            return None
        return found or (() if self.default is None else (self.default,))


_Token = str | _Wildcard | _Variable


class Pattern(Matcher):
    """A pattern whose regular expression is made once, or at each use where it has variables."""

    def __init__(self, tokens: Iterable[_Token], *, ignore_case: bool = False) -> None:
        self._tokens = tuple(tokens)
        self._flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
        self._variables = tuple(token for token in self._tokens if isinstance(token, _Variable))
        self.keys = frozenset(variable.key for variable in self._variables)
        self.matches_all = self._tokens == (_Wildcard.ANY,)
        self._regex = None if self._variables else re.compile(_expression(self._tokens), self._flags)

    @property
    def text(self) -> str | None:
        """The only value that matches, when the pattern has neither wildcards nor variables."""
        return "".join(map(str, self._tokens)) if all(isinstance(token, str) for token in self._tokens) else None

    def matches(self, value: str, lookup: Lookup) -> bool | None:
        if self._regex is not None:
            return self._regex.fullmatch(value) is not None
        tokens: list[_Token] = []
        absent = False
        for token in self._tokens:
            if not isinstance(token, _Variable):
                tokens.append(token)
                continue
            values = token.values(lookup)
            if values is None:
                return None
            absent = absent or not values
            tokens += values
        return not absent and re.fullmatch(_expression(tokens), value, self._flags) is not None

    def is_complete(self, lookup: Lookup) -> bool:
        return all(variable.values(lookup) for variable in self._variables)


class ArnPattern(Matcher):
    """A pattern for ARNs, whose six components match each for itself. ``*`` alone matches every ARN."""

    def __init__(self, tokens: Iterable[_Token]) -> None:
        whole = tuple(tokens)
        self._every = whole == (_Wildcard.ANY,)
        self._components = tuple(map(Pattern, _components(whole)))
        self.keys = frozenset().union(*(component.keys for component in self._components))

    def matches(self, value: str, lookup: Lookup) -> bool | None:
        parts = value.split(":", _ARN_COMPONENTS - 1)
        if len(parts) != _ARN_COMPONENTS:
            return False
        if self._every:
            return True
        if len(self._components) != _ARN_COMPONENTS:
            return False
        pairs = zip(self._components, parts, strict=True)
        return all_of([component.matches(part, lookup) for component, part in pairs])

    def is_complete(self, lookup: Lookup) -> bool:
        return all(component.is_complete(lookup) for component in self._components)


def exact(text: str, *, variables: bool, ignore_case: bool = False) -> Pattern:
    """A value without wildcards. Raises ValueError for a variable that is none."""
    return Pattern(_tokens(text, wildcards=False, variables=variables), ignore_case=ignore_case)


def wildcard(text: str, *, variables: bool, ignore_case: bool = False) -> Pattern:
    """A value in which ``*`` stands for any characters and ``?`` for one. Raises ValueError as ``exact`` does."""
    return Pattern(_tokens(text, wildcards=True, variables=variables), ignore_case=ignore_case)


def arn(text: str, *, variables: bool) -> ArnPattern:
    """An ARN with wildcards. Raises ValueError as ``exact`` does."""
    return ArnPattern(_tokens(text, wildcards=True, variables=variables))


def matches_any(matchers: Sequence[Matcher], value: str, lookup: Lookup) -> bool | None:
    """Whether at least one matches; None: this service cannot tell."""
    return any_of([matcher.matches(value, lookup) for matcher in matchers])


def matches_none(matchers: Sequence[Matcher], value: str, lookup: Lookup) -> bool | None:
    """Whether none matches; None: this service cannot tell, or a variable has no value to be compared with."""
    matched = matches_any(matchers, value, lookup)
    if matched is None or (not matched and not all(matcher.is_complete(lookup) for matcher in matchers)):
        return None
    return not matched


def all_of(answers: Sequence[bool | None]) -> bool | None:
    """And, where None is an answer that is not known."""
    if False in answers:
        return False
    return None if None in answers else True


def any_of(answers: Sequence[bool | None]) -> bool | None:
    """Or, where None is an answer that is not known."""
    if True in answers:
        return True
    return None if None in answers else False


def _tokens(text: str, *, wildcards: bool, variables: bool) -> Iterator[_Token]:
    position = 0
    if variables:
        for found in _VARIABLE.finditer(text):
            yield from _plain(text[position : found.start()], wildcards)
            yield _variable(found[1])
            position = found.end()
        if "${" in text[position:]:
            raise ValueError(f"the policy variable in {text} is not closed")
    yield from _plain(text[position:], wildcards)


def _plain(text: str, wildcards: bool) -> Iterator[_Token]:
    if not wildcards:
        if text:
            yield text
        return
    for part in re.split(r"([*?])", text):
        if part in ("*", "?"):
            yield _Wildcard(part)
        elif part:
            yield part


def _variable(inside: str) -> _Token:
    if inside in ("*", "?", "$"):
        return inside
    found = _NAME.fullmatch(inside)
    if found is None:
        raise ValueError(f"${{{inside}}} is no policy variable")
    return _Variable(found[1].lower(), found[2])


def _components(tokens: Iterable[_Token]) -> list[list[_Token]]:
    components: list[list[_Token]] = [[]]
    for token in tokens:
        if not isinstance(token, str):
            components[-1].append(token)
            continue
        first, *others = token.split(":", _ARN_COMPONENTS - len(components))
        components[-1].append(first)
        components += [[other] for other in others]
    return components


def _expression(tokens: Iterable[_Token]) -> str:
    """The regular expression. What stands between two ``*`` is taken where it first occurs and never sought again
    (atomic groups), so that matching takes linear time whatever the pattern."""
    parts = [""]
    for token in tokens:
        if token is _Wildcard.ANY:
            parts.append("")
        elif token is _Wildcard.ONE:
            parts[-1] += "."
        else:
            parts[-1] += re.escape(str(token))
    first, *middle = parts
    if not middle:
        return first
    last = middle.pop()
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last
