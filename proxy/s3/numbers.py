"""Whole numbers in queries and headers, as S3 reads them."""

from typing import Final

from proxy.s3.errors import invalid_argument

LARGEST: Final = 2_147_483_647


def whole_number(value: str | None, name: str, default: int, *, said: str | None = None) -> int:
    """A number from 0 to 2,147,483,647; ``default`` where there is none. ``said``: what AWS calls it in one of the two
    messages.

    Raises:
        AwsError: InvalidArgument, in AWS's words.
    """
    if value is None or value == "":
        return default
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) > LARGEST:
        raise invalid_argument(f"Provided {name} not an integer or within integer range", name, value)
    if value.startswith("-") and int(digits):
        message = f"Argument {said or name} must be an integer between 0 and {LARGEST}"
        raise invalid_argument(message, said or name, value)
    return int(digits)
