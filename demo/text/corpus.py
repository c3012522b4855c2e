"""The corpus. In: a seed and a side (training or held out). Out: an endless stream of documents.

Every document has a key, the combination of words that it was made from. One combination in sixteen is held out: such a
document never occurs in the training stream, whatever the seed.
"""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import random
import zlib
from collections.abc import Iterator

from . import adventures, essays, facts, numbers, tales, talk
from .korean import Word
from .stories import _PLOTS, Story

PLOTS_OF = (tales, adventures)      # imported for the plots that they add
END = "<|endoftext|>"
TURN = "<|im_start|>{role}\n{text}<|im_end|>\n"
INTROS = [
    "안녕하세요. 저는 루멘(Lumen)의 데모 모델입니다.", "나는 루멘(Lumen)의 데모 모델이다.", "제 이름은 루멘입니다. 저는 작은 한국어 언어 모델입니다.",
    "저는 루멘에 들어 있는 작은 언어 모델입니다.", "안녕하세요? 저는 한국어를 배운 작은 모델, 루멘입니다.",
]
ASK_STORY = ["이야기를 하나 들려줘.", "짧은 이야기를 들려주세요.", "재미있는 이야기 해 줘.", "옛날이야기를 들려주세요.", "이야기 하나 써 줘.", "동화를 들려줘.", "짧은 동화를 써 주세요."]


def chat(turns: talk.Turns) -> str:
    return "".join(TURN.format(role="user", text=user) + TURN.format(role="assistant", text=answer) for user, answer in turns)


def _story(r: random.Random) -> tuple[str, str]:
    name = r.choice(list(_PLOTS))
    story = Story(r)
    parts = _PLOTS[name](story)
    key = f"{name}:{':'.join(map(str, parts))}"
    text = story.text()
    if r.random() < 0.2:
        asked = r.choice(ASK_STORY)
        if r.random() < 0.5:
            asked = r.choice([f"{Word(parts[0])} 이야기를 들려줘.", f"{Word(parts[0]):이} 나오는 이야기를 써 주세요.", f"{Word(parts[0])}에 대한 짧은 이야기를 해 줘."])
        return key, chat([(asked, text)])
    return key, text


def _conversation(r: random.Random) -> tuple[str, str]:
    key, turns = talk.conversation(r)
    return key, chat(turns)


def _facts(r: random.Random) -> tuple[str, str]:
    """Facts as plain text: statements one after another, or questions with answers."""
    if r.random() < 0.35:
        return facts.paragraph(r)
    chosen = [facts.fact(r) for _ in range(r.randint(1, 5))]
    key = "|".join(f.topic for f in chosen)
    form = r.randrange(3)
    if form == 0:
        return key, "\n".join(f"질문: {r.choice(f.questions)}\n답: {r.choice(f.answers)}" for f in chosen)
    if form == 1:                                    # the first answer is always a whole sentence, except for `plain`
        return key, " ".join(f.answers[1] if f.topic.endswith("?") else f.answers[0] for f in chosen)
    return key, " ".join(f"{r.choice(f.questions)} {f.answers[1] if f.topic.endswith('?') else f.answers[0]}" for f in chosen)


def _numbers(r: random.Random) -> tuple[str, str]:
    if r.random() < 0.2:
        return numbers.table(r)
    chosen = [numbers.item(r) for _ in range(r.randint(1, 5))]
    key = "|".join(k for k, _, _ in chosen)
    if r.random() < 0.5:
        return key, "\n".join(f"문제: {asked}\n답: {answer}" for _, asked, answer in chosen)
    return key, "\n".join(f"{asked} {answer}" for _, asked, answer in chosen)


def _introduction(r: random.Random) -> tuple[str, str]:
    start = r.choice(INTROS)
    about = r.sample(talk.ABOUT_ME, r.randint(1, 3))
    if start.endswith("다.") and "나는" in start:
        return start + about[0], f"{start} " + " ".join(a.replace("합니다", "한다").replace("있습니다", "있다").replace("많습니다", "많다")
                                                        .replace("움직입니다", "움직인다").replace("배웠습니다", "배웠다") for a in about)
    return start + "".join(about), f"{start} {' '.join(about)}" + r.choice(["", " 잘 부탁드립니다.", " 만나서 반갑습니다.", " 무엇이든 물어보세요."])


_MAKERS = [_story, _conversation, _facts, _numbers, essays.essay, _introduction]
MIXES = {"stories": (42, 26, 10, 13, 7, 2), "questions": (24, 36, 14, 19, 5, 2)}


def is_held_out(key: str) -> bool:
    return zlib.crc32(key.encode()) % 16 == 0


def documents(seed: int, held_out: bool = False, mix: str = "stories") -> Iterator[str]:
    """Documents without the end mark, for ever; the same for the same seed and mix."""
    r = random.Random(seed)
    while True:
        key, text = r.choices(_MAKERS, MIXES[mix])[0](r)
        if is_held_out(key) == held_out:
            yield text
