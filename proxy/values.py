"""Values: classes whose instances never change after they are made.

The type checker holds these classes to it, as it does frozen dataclasses. Nothing checks it at run time, for that
makes an instance five times as dear to make, and a request makes dozens. ``dataclass(frozen=True)`` stays where few
instances are made.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[T]) -> type[T]:
    """Makes a class a value: a dataclass that is compared and hashed by its fields."""
    return dataclass(unsafe_hash=True)(cls)
