"""A Korean text by which vocabularies and speeds are compared: a token is worth three times as much in one
vocabulary as in another, a character is the same in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lumen_core.text.tokenizer import Tokenizer

SENTENCE = "대한민국의 수도는 서울이고, 오늘 날씨는 맑습니다. ㅋㅋㅋ 2026년 12,345개!"
PARAGRAPH = (
    "어제저녁에는 오랜만에 친구를 만나 시장 골목의 작은 국숫집에서 늦도록 이야기를 "
    "나누었다. 그는 다음 달부터 부산에 있는 연구소로 출근한다며, "
    "바다가 보이는 방을 구했다고 자랑했다.\n"
    "정부는 2026년 하반기 예산안에서 반도체와 인공지능(AI) 분야의 지원 규모를 "
    "전년보다 17.5% 늘린 3조 4,200억 원으로 확정했다. "
    "大韓民國의 산업 정책이 크게 바뀌고 있다는 평가가 나온다.\n"
    "ㅋㅋㅋ 진짜? 나도 그거 봤는데 ㅠㅠ 내일 몇 시에 볼까? "
    "OK, 그럼 오후 3시에 강남역 11번 출구에서 보자!\n"
)


def characters_per_token(tokenizer: Tokenizer) -> float:
    """How many characters of Korean one token of a vocabulary holds, on average over `PARAGRAPH`."""
    return len(PARAGRAPH) / max(1, len(tokenizer.encode(PARAGRAPH, add_special=False)))
