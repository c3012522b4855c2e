"""Korean grammar for templates. In: words. Out: words with the particle that fits their last sound.

`Word` is a `str` whose format specification is a particle: `f"{name:은} {thing:을} 샀다"` gives "민준은 사과를 샀다".
"""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off

# (after a final consonant, after a vowel); a specification names either form, where the second is not two particles' form
_PAIRS = [
    ("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("아", "야"), ("이라는", "라는"), ("이라고", "라고"),
    ("이에요", "예요"), ("이었", "였"), ("이랑", "랑"), ("이나", "나"), ("이므로", "므로"), ("이고", "고"), ("이면", "면"),
    ("이야", "야"), ("이네요", "네요"), ("이란", "란"), ("이든", "든"), ("이며", "며"), ("이지요", "지요"), ("이군요", "군요"),
]
_PARTICLES = {form: pair for pair in reversed(_PAIRS) for form in reversed(pair)}
_RIEUL = 8                                          # index of the final consonant ㄹ
_DIGIT_FINALS = [21, 8, 0, 16, 0, 0, 1, 8, 8, 0]    # 영 일 이 삼 사 오 육 칠 팔 구; a trailing 0 is 십/백/천/만: closed too
_LATIN_FINALS = {"l": _RIEUL, "m": 16, "n": 4, "r": 0}


def final_consonant(word: str) -> int:
    """Number of the last syllable's final consonant (0: ends in a vowel), as Unicode orders them."""
    last = word[-1]
    if "가" <= last <= "힣":
        return (ord(last) - 0xAC00) % 28
    if last.isdigit():
        return _DIGIT_FINALS[int(last)]
    if last == ")":                                 # "루멘(Lumen)": what stands before the bracket is read
        return final_consonant(word[:word.rindex("(")])
    return _LATIN_FINALS.get(last.lower(), 0)


def with_particle(word: str, particle: str) -> str:
    final = final_consonant(word)
    if particle in ("으로", "로"):
        return word + ("로" if final in (0, _RIEUL) else "으로")
    closed, opened = _PARTICLES[particle]
    return word + (closed if final else opened)


class Word(str):
    """A word that takes particles in a format specification."""

    def __format__(self, particle: str) -> str:
        return with_particle(self, particle) if particle else str(self)


def words(text: str) -> list[Word]:
    """`words("사과 배 감")`, or separated by commas where a phrase holds blanks."""
    parts = text.split(",") if "," in text else text.split()
    return [Word(part.strip()) for part in parts if part.strip()]


_NATIVE_TENS = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
_NATIVE_ONES = ["", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉"]
_COUNTING = {"하나": "한", "둘": "두", "셋": "세", "넷": "네"}
_SINO = ["", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"]


def native_number(number: int) -> Word:
    """하나, 둘, ... 아흔아홉"""
    return Word(_NATIVE_TENS[number // 10] + _NATIVE_ONES[number % 10])


def counting_number(number: int) -> Word:
    """The form before a counter: 한 (개), 두, 세, 네, 다섯, ... 스무 (개)"""
    if number == 20:
        return Word("스무")
    ones = _NATIVE_ONES[number % 10]
    return Word(_NATIVE_TENS[number // 10] + _COUNTING.get(ones, ones))


def sino_number(number: int) -> Word:
    """일, 이, ... 구백구십구"""
    text = ""
    for unit, name in ((100, "백"), (10, "십"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += ("" if digit == 1 and name else _SINO[digit]) + name
    return Word(text or "영")
