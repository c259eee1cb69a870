"""Values that PostgreSQL cannot hold, or read."""

from psycopg2 import DataError, errors

from synapse_lite.errors import MatrixError, invalid_param

UNSTORABLE = (
    errors.CharacterNotInRepertoire,
    errors.NumericValueOutOfRange,
    errors.UntranslatableCharacter,
)
BAD_VALUES = (DataError, errors.ProgramLimitExceeded)
"""What a statement is given, or reads, is at fault: it fails each time."""
_NUL = "NUL (0x00)"  # in what psycopg2 says of text that holds one


def refusal_of(error: Exception) -> MatrixError | None:
    """400 `M_INVALID_PARAM` for whoever gave such a value; None for other errors."""
    if isinstance(error, UNSTORABLE) or (isinstance(error, ValueError) and _NUL in str(error)):
        return invalid_param("The request holds a value that cannot be stored")
    return None
