"""What the warehouse says when it does not do what it is asked for.

Both sides import this, so each of these exceptions arrives at the web application as what it was.
"""

from __future__ import annotations

from gpyro import register_class


class Refusal(Exception):
    """The warehouse will not do this; the text says why."""


@register_class
class NoSuchArticle(Refusal):
    """The warehouse does not keep this article."""


@register_class
class NoSuchOrder(Refusal):
    """Nothing was booked under this id."""


@register_class
class NotEnough(Refusal):
    """There is less of the article than was ordered."""


@register_class
class OtherOrder(Refusal):
    """Something else was booked under this id."""
