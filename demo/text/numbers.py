"""Arithmetic and the calendar. In: a random source. Out: (key, prose or question and answer) with right answers only."""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import datetime
import random

from .korean import Word, counting_number, words
from .stories import FRUITS, NAMES, THINGS

WEEKDAYS = words("월요일 화요일 수요일 목요일 금요일 토요일 일요일")
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
Item = tuple[str, str, str]         # key of the combination, question, answer


def _steps_of_addition(a: int, b: int) -> str:
    ones, tens = a % 10 + b % 10, a // 10 + b // 10
    text = f"일의 자리는 {a % 10} + {b % 10} = {ones}입니다. "
    if ones > 9:
        text += f"{Word(ones % 10):을} 쓰고 1을 올립니다. 십의 자리는 {a // 10} + {b // 10} + 1 = {tens + 1}입니다. "
    else:
        text += f"십의 자리는 {a // 10} + {b // 10} = {tens}입니다. "
    return text + f"따라서 {a} + {b} = {a + b}입니다."


def addition(r: random.Random) -> Item:
    small = r.random() < 0.6
    a, b = (r.randint(0, 10), r.randint(0, 10)) if small else (r.randint(10, 99), r.randint(10, 99))
    total = a + b
    key = f"{a}+{b}"
    form = r.randrange(4)
    first, second = Word(a), Word(b)
    if not small and form < 2:
        return key, r.choice([f"{a} + {second:을} 풀어 주세요.", f"{a} 더하기 {second:을} 차근차근 계산해 줘."]), _steps_of_addition(a, b)
    question = [f"{a} + {second:은} 얼마입니까?", f"{a} 더하기 {second:은}?", f"{first:과} {second:을} 더하면 얼마예요?", f"{a} + {b} = ?"][form]
    return key, question, r.choice([f"{a} + {b} = {total}입니다.", f"{a} 더하기 {second:은} {total}입니다.", f"{total}입니다."])


def subtraction(r: random.Random) -> Item:
    b = r.randint(0, 10) if r.random() < 0.6 else r.randint(10, 60)
    a = b + (r.randint(0, 10) if r.random() < 0.7 else r.randint(10, 39))
    second = Word(b)
    question = r.choice([f"{a} - {second:은} 얼마입니까?", f"{a} 빼기 {second:은}?", f"{a}에서 {second:을} 빼면 얼마예요?", f"{a} - {b} = ?"])
    return f"{a}-{b}", question, r.choice([f"{a} - {b} = {a - b}입니다.", f"{a} 빼기 {second:은} {a - b}입니다.", f"{a - b}입니다."])


def multiplication(r: random.Random) -> Item:
    a, b = r.randint(2, 9), r.randint(1, 9)
    second = Word(b)
    question = r.choice([f"{a} × {second:은} 얼마입니까?", f"{a} 곱하기 {second:은}?", f"{Word(a):과} {second:을} 곱하면 얼마예요?", f"{a} × {b} = ?"])
    return f"{a}*{b}", question, r.choice([f"{a} × {b} = {a * b}입니다.", f"{a} 곱하기 {second:은} {a * b}입니다.", f"{a * b}입니다."])


def division(r: random.Random) -> Item:
    b, result = r.randint(2, 9), r.randint(1, 9)
    a = b * result
    question = r.choice([f"{a} ÷ {Word(b):은} 얼마입니까?", f"{Word(a):을} {Word(b):로} 나누면 얼마예요?"])
    return f"{a}/{b}", question, f"{a} ÷ {b} = {result}입니다. {b}에 {Word(result):을} 곱하면 {a}입니다."


def word_problem(r: random.Random) -> Item:
    (hero, friend), thing = r.sample(NAMES, 2), r.choice(FRUITS + THINGS[:5])
    a, b = r.randint(2, 15), r.randint(1, 9)
    form = r.randrange(4)
    if form == 0:
        return (f"{a}+{b}", f"{hero:은} {thing:을} {a}개 가지고 있습니다. {friend:이} {b}개를 더 주었습니다. {hero:은} {thing:을} 모두 몇 개 가지고 있습니까?",
                f"{a} + {b} = {Word(a + b):이므로} {hero:은} {thing:을} {a + b}개 가지고 있습니다.")
    if form == 1:
        a += b
        return (f"{a}-{b}", f"{hero:은} {thing:을} {a}개 가지고 있습니다. {friend}에게 {b}개를 주었습니다. 남은 {thing:은} 몇 개입니까?",
                f"{a} - {b} = {Word(a - b):이므로} 남은 {thing:은} {a - b}개입니다.")
    if form == 2:
        a = r.randint(2, 9)
        return (f"{a}*{b}", f"한 상자에 {thing:이} {a}개씩 들어 있습니다. {counting_number(b)} 상자에는 {thing:이} 모두 몇 개 있습니까?",
                f"{a} × {b} = {Word(a * b):이므로} {thing:은} 모두 {a * b}개입니다.")
    a, b = r.randint(2, 9), r.randint(2, 9)
    return (f"{a * b}/{b}", f"{thing} {a * b}개를 {counting_number(b)} 명이 똑같이 나누면 한 명이 몇 개씩 가집니까?",
            f"{a * b} ÷ {b} = {Word(a):이므로} 한 명이 {a}개씩 가집니다.")


def weekday(r: random.Random) -> Item:
    today, distance = r.randrange(7), r.choice([1, 1, 2, 3, 7, -1, -1, -2])
    other = WEEKDAYS[(today + distance) % 7]
    name = {1: "내일", 2: "모레", 3: "사흘 뒤", 7: "일주일 뒤", -1: "어제", -2: "그저께"}[distance]
    end = "이었습니까?" if distance < 0 else "입니까?"
    answer_end = "이었습니다." if distance < 0 else "입니다."
    return (f"{today}w{distance}", r.choice([f"오늘은 {WEEKDAYS[today]}입니다. {Word(name):은} 무슨 요일{end}", f"오늘이 {WEEKDAYS[today]:이면} {Word(name):은} 무슨 요일{end}"]),
            r.choice([f"{Word(name):은} {other}{answer_end}", f"오늘이 {WEEKDAYS[today]:이면} {Word(name):은} {other}{answer_end}"]))


def next_day(r: random.Random) -> Item:
    day = datetime.date(2023, 1, 1) + datetime.timedelta(days=r.randrange(365))      # a year without a leap day
    step = r.choice([1, 1, -1])
    other = day + datetime.timedelta(days=step)
    here, there = f"{day.month}월 {day.day}일", f"{other.month}월 {other.day}일"
    name = "다음 날" if step > 0 else "전날"
    return f"{here}{step}", r.choice([f"{here}의 {Word(name):은} 며칠입니까?", f"{here} {Word(name):은} 몇 월 며칠이에요?"]), r.choice([f"{here}의 {Word(name):은} {there}입니다.", f"{there}입니다."])


def month(r: random.Random) -> Item:
    number = r.randint(1, 12)
    days = MONTH_DAYS[number - 1]
    if r.random() < 0.4:
        after = number % 12 + 1
        return f"m{number}", f"{number}월 다음 달은 몇 월입니까?", f"{number}월 다음 달은 {after}월입니다."
    tail = " 윤년에는 29일까지 있습니다." if number == 2 else ""
    return f"md{number}", r.choice([f"{number}월은 며칠까지 있습니까?", f"{number}월은 며칠까지 있어요?"]), f"{number}월은 {days}일까지 있습니다.{tail}"


def clock(r: random.Random) -> Item:
    hour, later = r.randint(1, 12), r.randint(1, 5)
    result = (hour + later - 1) % 12 + 1
    minutes = r.choice(["", "", " 30분", " 10분", " 20분"])
    return (f"{hour}h{later}{minutes}", f"지금은 {counting_number(hour)} 시{minutes}입니다. {counting_number(later)} 시간 뒤는 몇 시입니까?",
            f"{counting_number(later)} 시간 뒤는 {counting_number(result)} 시{minutes}입니다.")


def sequence(r: random.Random) -> Item:
    start, step = r.randint(1, 20), r.choice([1, 1, 2, 2, 3, 5, 10])
    shown = [start + step * i for i in range(4)]
    return (f"{start}s{step}", f"{', '.join(map(str, shown))} 다음에 올 수는 무엇입니까?", f"{Word(step)}씩 커지므로 다음 수는 {start + 4 * step}입니다.")


def compare(r: random.Random) -> Item:
    a, b = r.sample(range(1, 100), 2)
    first, second = Word(a), Word(b)
    return f"{a}<>{b}", f"{first:과} {second} 가운데 더 큰 수는 무엇입니까?", f"더 큰 수는 {max(a, b)}입니다."


ITEMS = [addition, addition, addition, subtraction, subtraction, multiplication, multiplication, division, word_problem, word_problem,
         weekday, weekday, next_day, month, clock, sequence, compare]


def item(r: random.Random) -> Item:
    return r.choice(ITEMS)(r)


def table(r: random.Random) -> tuple[str, str]:
    """A piece of the multiplication table, or a count, as prose: (key, text)."""
    which = r.randrange(4)
    if which == 0:
        a = r.randint(2, 9)
        return f"table{a}.{r.randrange(10)}", f"구구단 {a}단입니다.\n" + "\n".join(f"{a} × {b} = {a * b}" for b in range(1, 10))
    if which == 1:
        start = r.randint(1, 40)
        return f"count{start}", f"{start}부터 {start + 9}까지 세어 봅시다. " + ", ".join(str(start + i) for i in range(10)) + "."
    if which == 2:
        today = r.randrange(7)
        names = [WEEKDAYS[(today + i) % 7] for i in range(-1, 3)]
        return f"week{today}.{r.randrange(10)}", (f"어제는 {names[0]:이었}습니다. 오늘은 {names[1]}입니다. 내일은 {names[2]}이고 모레는 {names[3]}입니다.")
    return f"weeks.{r.randrange(20)}", "일주일은 " + ", ".join(WEEKDAYS) + "입니다. 모두 7일입니다."
