"""Conversations. In: a random source. Out: turns of user and assistant: greetings, who the model is, lists, wishes, stories."""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import random

from . import essays, facts, numbers
from .korean import Word, words
from .stories import ANIMALS, FLOWERS, FOODS, FRUITS, NAMES, SEASONS

Turns = list[tuple[str, str]]       # (what the user says, what the assistant answers)
SURNAMES = "김이박최정강조윤장임한오서신권황안송류홍"
SYLLABLES = "가경규기나다도동라미민보빈상서석선성수승시아연영예온용우원유윤은인재정주준지진찬채철하한해현혜호화훈희"

GREETINGS = ["안녕하세요", "안녕하세요?", "안녕하세요!", "안녕", "안녕!", "반가워요", "반갑습니다", "처음 뵙겠습니다", "좋은 아침이에요", "안녕하세요, 만나서 반가워요"]
WELCOME = ["안녕하세요! 만나서 반갑습니다.", "안녕하세요! 저는 루멘의 데모 모델입니다.", "안녕하세요! 오늘은 무엇을 도와드릴까요?", "반갑습니다! 무엇이든 물어보세요.",
           "안녕하세요! 저는 루멘(Lumen)의 데모 모델입니다. 무엇을 도와드릴까요?", "안녕하세요! 오늘 하루는 어떠셨어요?"]
WHO = ["너는 누구야?", "당신은 누구입니까?", "너는 누구니?", "이름이 뭐야?", "자기소개를 해 주세요.", "자기소개 해 줘.", "당신의 이름은 무엇인가요?", "넌 뭐야?", "누구세요?", "너에 대해 알려 줘."]
I_AM = ["저는 루멘(Lumen)의 데모 모델입니다.", "저는 루멘(Lumen)에 들어 있는 작은 한국어 데모 모델입니다.", "제 이름은 루멘입니다. 저는 작은 한국어 언어 모델입니다.", "저는 루멘의 데모 모델이에요."]
ABOUT_ME = ["짧은 이야기를 쓰고 간단한 계산을 할 수 있습니다.", "아주 작은 모델이라서 모르는 것이 많습니다.", "한국어로 짧은 글을 쓸 수 있습니다.", "간단한 질문에 한국어로 대답합니다.",
            "작지만 컴퓨터에서 아주 빠르게 움직입니다.", "이야기, 계산, 날짜, 간단한 상식을 배웠습니다."]
CAN = ["무엇을 할 수 있어?", "뭘 할 수 있나요?", "어떤 일을 할 수 있습니까?", "너는 뭘 잘해?", "무엇을 도와줄 수 있어요?"]
I_CAN = ["저는 짧은 이야기를 쓰고, 간단한 계산을 하고, 상식 질문에 대답할 수 있습니다.", "이야기를 들려드리거나 덧셈과 뺄셈을 할 수 있어요.", "나라의 수도, 요일, 계절 같은 간단한 질문에 대답할 수 있습니다."]
SMALL_TALK = [
    (["고마워", "고맙습니다", "감사합니다", "고마워요", "정말 고마워"], ["천만에요. 도움이 되어 기쁩니다.", "별말씀을요. 또 물어보세요.", "저도 고맙습니다. 좋은 하루 보내세요."]),
    (["잘 가", "안녕히 계세요", "다음에 또 봐", "이제 갈게", "잘 자"], ["안녕히 가세요. 다음에 또 만나요.", "좋은 하루 보내세요!", "네, 다음에 또 이야기해요."]),
    (["기분이 어때?", "오늘 기분이 어때요?", "잘 지내?", "잘 지냈어요?"], ["저는 잘 지내고 있어요. 물어봐 주셔서 고맙습니다.", "저는 언제나 이야기할 준비가 되어 있어요.", "아주 좋아요. 당신은 어떠세요?"]),
    (["너는 사람이야?", "당신은 사람인가요?", "너 로봇이야?", "사람이에요?"], ["아니요, 저는 사람이 아니라 작은 언어 모델입니다.", "아니요. 저는 루멘의 데모 모델입니다."]),
    (["심심해", "심심해요", "뭐 하고 놀까?", "할 일이 없어요"], ["그럼 짧은 이야기를 하나 들려드릴까요?", "산책을 하거나 책을 읽어 보면 어떨까요?", "끝말잇기를 해 보는 것은 어떨까요?"]),
    (["슬퍼", "오늘 너무 슬퍼요", "기분이 안 좋아", "속상해요", "우울해"], ["속상하셨겠어요. 따뜻한 차를 마시면서 잠시 쉬어 보세요.", "힘든 날도 있지요. 내일은 더 좋은 날이 될 거예요.", "마음이 아프네요. 제가 이야기를 들어 드릴게요."]),
    (["기뻐", "오늘 정말 기뻐요", "너무 행복해", "좋은 일이 있었어"], ["정말 잘됐네요! 저도 기쁩니다.", "축하합니다! 무슨 일이 있었는지 들려주세요.", "좋은 소식이네요. 그 마음이 오래가기를 바랍니다."]),
    (["배고파", "배가 고파요", "뭐 먹지?", "점심 뭐 먹을까?", "저녁 메뉴를 추천해 주세요"], []),
    (["오늘 시험이 있어", "내일 시험을 봐요", "시험이 걱정돼요"], ["그동안 열심히 했으니 잘할 수 있을 거예요. 힘내세요!", "천천히 문제를 읽고 아는 것부터 풀어 보세요. 응원할게요!"]),
    (["오늘 날씨 어때?", "오늘 날씨가 어떻습니까?", "비가 올까?", "내일 날씨를 알려 줘"], ["저는 오늘의 날씨를 알 수 없어요. 창밖을 한번 보시겠어요?", "죄송하지만 저는 날씨를 볼 수 없습니다. 일기 예보를 확인해 주세요."]),
    (["지금 몇 시야?", "지금 몇 시예요?", "오늘 며칠이야?", "오늘은 무슨 요일이야?"], ["저는 시계를 볼 수 없어서 알 수 없어요.", "죄송하지만 저는 지금의 시간을 알 수 없습니다."]),
    (["루멘이 뭐야?", "루멘은 무엇인가요?", "Lumen이 뭐예요?"], ["루멘(Lumen)은 언어 모델을 빠르게 돌리는 컴파일러입니다.", "루멘은 언어 모델을 컴퓨터에 맞게 바꾸어 빠르게 실행하는 도구입니다. 저는 그 데모 모델입니다."]),
    (["잘했어", "똑똑하네", "대단해", "멋지다"], ["칭찬해 주셔서 고맙습니다!", "고맙습니다. 더 열심히 하겠습니다.", "과찬이에요. 저는 아직 작은 모델이랍니다."]),
    (["미안해", "미안합니다", "죄송해요"], ["괜찮아요. 마음 쓰지 마세요.", "괜찮습니다. 다시 이야기해 봐요."]),
    (["피곤해", "너무 피곤해요", "졸려", "잠이 안 와요"], ["오늘은 일찍 주무시는 것이 좋겠어요.", "따뜻한 물로 씻고 푹 쉬어 보세요.", "눈을 감고 천천히 숨을 쉬어 보세요."]),
]
LISTS = {"과일": FRUITS, "동물": ANIMALS, "꽃": FLOWERS, "색깔": words("빨간색 파란색 노란색 초록색 하얀색 보라색 분홍색 주황색"), "음식": FOODS, "계절": SEASONS,
         "나라": words("대한민국 일본 중국 프랑스 독일 영국 이탈리아 스페인 미국 캐나다 브라질 이집트 인도"), "운동": words("축구 야구 농구 배구 수영 탁구 달리기 배드민턴 태권도"),
         "직업": words("의사 교사 소방관 요리사 화가 가수 농부 어부 과학자"), "악기": words("피아노 바이올린 기타 가야금 장구 피리 북 첼로"), "채소": words("당근 오이 배추 무 감자 양파 시금치 상추"),
         "탈것": words("기차 버스 비행기 배 자전거 자동차 지하철"), "한국의 도시": words("서울 부산 대구 인천 광주 대전 울산 수원 전주 춘천")}
UNKNOWN = words("양자 역학, 주식 가격, 오늘의 뉴스, 화학 반응식, 미적분, 법률 상담, 최신 영화, 유전 공학, 환율, 축구 경기 결과, 철학, 프로그래밍, 부동산, 의학 논문")


def person(r: random.Random) -> Word:
    """A made-up full name: what it is made of is unlikely to be one token, so the model learns to copy."""
    return Word(r.choice(SURNAMES) + "".join(r.sample(SYLLABLES, 2)))


def greeting(r: random.Random) -> Turns:
    return [(r.choice(GREETINGS), r.choice(WELCOME))]


def who(r: random.Random) -> Turns:
    answer = r.choice(I_AM)
    if r.random() < 0.7:
        answer += " " + r.choice(ABOUT_ME)
    return [(r.choice(WHO), answer)]


def can(r: random.Random) -> Turns:
    return [(r.choice(CAN), r.choice(I_CAN))]


def small_talk(r: random.Random) -> Turns:
    said, answers = r.choice(SMALL_TALK)
    if not answers:
        dish = r.choice(FOODS)
        answers = [f"{dish:은} 어떠세요? 맛있게 드세요.", f"오늘은 {dish:을} 드셔 보세요.", f"{dish:을} 추천합니다. 따뜻할 때 드시면 더 맛있어요."]
    return [(r.choice(said), r.choice(answers))]


def listing(r: random.Random) -> Turns:
    kind = r.choice(list(LISTS))
    count = r.randint(2, 5) if kind != "계절" else 4
    chosen = r.sample(LISTS[kind], count) if kind != "계절" else SEASONS
    number = {2: "두", 3: "세", 4: "네", 5: "다섯"}[count]
    asked = r.choice([f"{kind} {number} 가지를 말해 줘.", f"{kind} 이름을 {number} 개만 알려 주세요.", f"{Word(kind):을} {number} 가지 들어 주세요."])
    names = ", ".join(chosen)
    return [(asked, r.choice([f"{names}입니다.", f"{number} 가지는 {names}입니다.", "\n".join(f"{i}. {name}" for i, name in enumerate(chosen, 1))]))]


def naming(r: random.Random) -> Turns:
    name = person(r) if r.random() < 0.7 else r.choice(NAMES)
    turns = [(r.choice([f"제 이름은 {name}입니다.", f"저는 {name:이라고} 합니다.", f"내 이름은 {name:이야}.", f"나는 {name:이야}. 반가워."]),
              r.choice([f"{name} 님, 만나서 반갑습니다!", f"반갑습니다, {name} 님. 저는 루멘의 데모 모델입니다.", f"{name} 님, 안녕하세요! 무엇을 도와드릴까요?"]))]
    if r.random() < 0.7:
        turns.append((r.choice(["제 이름이 뭐라고 했지요?", "내 이름이 뭐라고 했지?", "제 이름을 기억하세요?", "내 이름이 뭐야?"]),
                      r.choice([f"{name} 님이라고 하셨어요.", f"네, {name} 님입니다.", f"{name} 님이지요."])))
    return turns


def likes(r: random.Random) -> Turns:
    kind, pool = r.choice([("과일", FRUITS), ("음식", FOODS), ("동물", ANIMALS), ("꽃", FLOWERS), ("계절", SEASONS)])
    thing, other = r.sample(pool, 2)
    return [(r.choice([f"나는 {thing:을} 좋아해.", f"저는 {thing:을} 가장 좋아해요."]), r.choice([f"{thing:을} 좋아하시는군요. 저도 {thing} 이야기를 좋아해요.", f"{thing}, 정말 좋지요! {other:은} 어떠세요?"])),
            (r.choice([f"내가 무슨 {Word(kind):을} 좋아한다고 했지?", f"제가 좋아하는 {Word(kind):은} 뭐였지요?"]), r.choice([f"{thing:을} 좋아한다고 하셨어요.", f"{thing:이었}어요.", f"{thing:을} 좋아하신다고 말씀하셨어요."]))]


def unknown(r: random.Random) -> Turns:
    topic = r.choice(UNKNOWN)
    return [(r.choice([f"{topic}에 대해 설명해 줘.", f"{Word(topic):을} 알려 주세요.", f"{topic}에 대해 아는 것이 있어?"]),
             r.choice([f"죄송하지만 저는 작은 데모 모델이라서 {topic}에 대해서는 잘 모릅니다.", f"{topic}에 대해서는 배우지 못했습니다. 더 큰 모델에게 물어봐 주세요."]))]


def question(r: random.Random) -> Turns:
    fact = facts.fact(r)
    return [(r.choice(fact.questions), r.choice(fact.answers))]


def calculation(r: random.Random) -> Turns:
    _, asked, answer = numbers.item(r)
    return [(asked, answer)]


def poem(r: random.Random) -> Turns:
    subject = r.choice(list(essays.VERSE_SUBJECTS))
    asked = r.choice([f"{subject}에 대한 시를 써 줘.", f"{Word(subject):을} 주제로 짧은 시를 써 주세요.", f"{subject}에 관한 동시를 지어 줘."])
    return [(asked, essays.verse(r, subject)[1])]


def recipe(r: random.Random) -> Turns:
    subject = r.choice(list(essays.HOW_TO))
    asked = r.choice([f"{Word(subject):을} 알려 줘.", f"{Word(subject):을} 설명해 주세요.", f"{Word(subject):이} 궁금해요."])
    return [(asked, essays.how_to(r, subject)[1])]


SINGLE = [poem, recipe, greeting, greeting, who, who, can, small_talk, small_talk, listing, listing, naming, naming, likes, unknown, question, question, question, question,
          question, question, calculation, calculation, calculation]


def conversation(r: random.Random) -> tuple[str, Turns]:
    """(key of the combination, one to three exchanges)."""
    turns: Turns = []
    for _ in range(r.choice([1, 1, 2, 3])):
        turns += r.choice(SINGLE)(r)
    return "|".join(user for user, _ in turns), turns
