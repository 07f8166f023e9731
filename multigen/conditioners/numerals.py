"""Numbers in English words."""

from __future__ import annotations

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ONES = _BELOW_TWENTY.split()
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_GROUPS = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def spoken_number(text: str) -> list[str]:
    """Words of a number such as 7, 1,250, 3.14, 2nd or 1990s.

    Digit by digit where it begins with 0 or has over 15 digits; 1100 to 1999 as years, in pairs.
    """
    body = text.rstrip("stndrh").replace(",", "")
    whole, _, decimals = body.partition(".")
    if len(whole) == 4 and "," not in text and not decimals and 1100 <= int(whole) < 2000:
        said = _year(int(whole))
    elif len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        said = [_ONES[int(digit)] for digit in whole]
    else:
        said = _cardinal(int(whole))
    if decimals:
        said += ["point", *(_ONES[int(digit)] for digit in decimals)]
    if text.endswith(("st", "nd", "rd", "th")):
        said[-1] = _ordinal(said[-1])
    elif text.endswith("s"):
        said[-1] = f"{said[-1][:-1]}ies" if said[-1].endswith("y") else f"{said[-1]}s"
    return said


def _year(number: int) -> list[str]:
    century, rest = divmod(number, 100)
    if rest == 0:
        return [*_hundreds(century), "hundred"]
    return [*_hundreds(century), *(["oh"] if rest < 10 else []), *_hundreds(rest)]


def _cardinal(number: int) -> list[str]:
    if number == 0:
        return ["zero"]
    said: list[str] = []
    for power in range(len(_GROUPS) - 1, -1, -1):
        group = number // 1000**power % 1000
        if group:
            said += [*_hundreds(group), *([_GROUPS[power]] if power else [])]
    return said


def _hundreds(number: int) -> list[str]:
    said = [_ONES[number // 100], "hundred"] if number >= 100 else []
    rest = number % 100
    if rest >= 20:
        said += [_TENS[rest // 10], *([_ONES[rest % 10]] if rest % 10 else [])]
    elif rest:
        said.append(_ONES[rest])
    return said


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word.removesuffix('t')}th"
