"""Numbers, texts, comments and identifiers as C writes them, in ASCII."""

import math
import re

import numpy as np

from sklearn_kd.export._columns import ExportError

_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t
char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
constinit continue decltype default delete do double dynamic_cast else enum explicit export extern
false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
operator or or_eq private protected public register reinterpret_cast requires restrict return short
signed sizeof static static_assert static_cast struct switch template this thread_local throw true
try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t
while xor xor_eq
"""
_MACROS = """
arm assert BIG_ENDIAN BUFSIZ BYTE_ORDER CLOCKS_PER_SEC complex DOMAIN EDOM EILSEQ EOF ERANGE errno
EXIT_FAILURE EXIT_SUCCESS far FD_SETSIZE HUGE HUGE_VAL HUGE_VALF HUGE_VALL hyper I i386 imaginary
INFINITY interface L_tmpnam linux LITTLE_ENDIAN MATH_ERREXCEPT math_errhandling MATH_ERRNO MAXFLOAT
MB_CUR_MAX mips NAN near NFDBITS noreturn NULL OVERFLOW PDP_ENDIAN pixel PLOSS RAND_MAX SEEK_CUR
SEEK_END SEEK_SET SING small stderr stdin stdout sun TLOSS TMP_MAX UNDERFLOW unix vector WCONTINUED
WEXITED win32 WNOHANG WNOWAIT WSTOPPED WUNTRACED
"""
#: Keywords of C23 and of C++23.
KEYWORDS = frozenset(_KEYWORDS.split())
#: Macros that compilers and common headers define for words that a column may have as its name.
MACROS = frozenset(_MACROS.split())
#: Names of macros of math.h.
MACROS_OF_MATH = re.compile("(M|FP|HUGE_VAL)_[A-Z0-9]\\w*|SNAN\\w*")
#: Bytes of a text that every compiler of C99 takes as one literal.
MAX_LITERAL = 4095
#: Characters of an identifier that every compiler of C99 tells apart, less those of a suffix.
MAX_IDENTIFIER = 56
#: Characters of a text in a comment.
MAX_COMMENT = 80


def double(number):
    """Return a number as a constant of the type double that reads as the same number."""
    number = float(number)
    if math.isinf(number):
        return "HUGE_VAL" if number > 0 else "-HUGE_VAL"
    return repr(number)


def single(number):
    """Return a number of float32 as a constant of the type float."""
    return f"{number!s}f"


def integer(number):
    """Return an integer as a constant of a type that holds it."""
    number = int(number)
    if abs(number) < 2**31:
        return str(number)
    if number == -(2**63):
        return "(-9223372036854775807LL - 1)"
    return f"{number}LL" if number < 2**63 else f"{number}ULL"


def as_bytes(text, what):
    """Return a text in UTF-8, or raise if no string of C holds it.

    Parameters
    ----------
    text : str
    what : str
        What the text is, for the message of the error.
    """
    try:
        found = text.encode()
    except UnicodeEncodeError:
        raise ExportError(f"{what} {text!r} has a character that UTF-8 has no code of") from None
    if 0 in found:
        raise ExportError(f"{what} {text!r} has a null character, which ends a string of C")
    return found


def _escaped(byte):
    """Return a byte of a literal. Escapes of three octal digits cannot continue in what follows."""
    if byte in b'"\\' or not 32 <= byte < 127:
        return f"\\{byte:03o}"
    return "\\?" if byte == ord("?") else chr(byte)  # two question marks may start a trigraph


def literal(text):
    """Return bytes as a literal, of at most MAX_LITERAL bytes."""
    return '"' + "".join(map(_escaped, text)) + '"'


def characters(text):
    """Return bytes and the null character as the values of an array of char."""
    escaped = ("\\047" if byte == ord("'") else _escaped(byte) for byte in text)
    return [*(f"'{each}'" for each in escaped), "0"]


def comment(text):
    """Return a text as a part of a comment, which it can neither end nor start."""
    shown = text if len(text) <= MAX_COMMENT else text[:MAX_COMMENT] + "..."
    shown = literal(shown.encode(errors="replace"))
    return shown.replace("*/", "*\\057").replace("/*", "\\057*")


def is_identifier(name):
    """Return whether a name is an identifier of C and C++ that neither reserves."""
    is_plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) is not None
    return is_plain and "__" not in name and name not in KEYWORDS


def _is_macro(name):
    return name in MACROS or MACROS_OF_MATH.fullmatch(name) is not None


def identifiers(names, reserved=()):
    """Return a different identifier of C and C++ for each name, the name itself if it is one.

    Parameters
    ----------
    names : list of str
    reserved : collection of str
        Identifiers that none may be.
    """
    found = [name if _is_member(name) and name not in reserved else None for name in names]
    taken = {*reserved, *(name for name in found if name is not None)}
    for i, name in enumerate(names):
        if found[i] is None:
            found[i] = _new_identifier(name, taken)
            taken.add(found[i])
    return found


def _is_member(name):
    return is_identifier(name) and not _is_macro(name) and len(name) <= MAX_IDENTIFIER


def _new_identifier(name, taken):
    base = re.sub("[^A-Za-z0-9]+", "_", name).strip("_")[:MAX_IDENTIFIER].strip("_")
    if not base or base[0].isdigit():
        base = f"x{base}"
    if base in KEYWORDS or _is_macro(base):
        base += "_"
    found, number = base, 1
    while found in taken:
        number += 1
        found = f"{base.rstrip('_')}_{number}"
    return found


def type_of(values):
    """Return the smallest type of C that holds the values of an ndarray."""
    if values.dtype.kind == "f":
        return "float" if values.dtype == np.float32 else "double"
    for kind, dtype in (("signed char", np.int8), ("short", np.int16), ("int", np.int32)):
        info = np.iinfo(dtype)
        if info.min <= values.min() and values.max() <= info.max:
            return kind
    raise ExportError("an array has integers of more than 32 bits")


def constants(values):
    """Return the values of an ndarray as constants of their type."""
    values = values.ravel()
    if values.dtype == np.float32:
        return [single(value) for value in values]
    return [double(x) if values.dtype.kind == "f" else str(x) for x in values.tolist()]
