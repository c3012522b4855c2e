"""Short stories. In: a random source. Out: a story of several sentences with its people, things and order kept straight.

The endings: every sentence of a story is in the past, whose stem ends in ㅆ; `e` is 습니다, 어요 or 다 for the whole story.
"""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import random
from collections.abc import Callable

from .korean import Word, counting_number, words

GIRLS = words("지우 서연 하은 수아 유나 민지 예린 소라 다은 가은 보라 하늘 나리 은서 채원 아라 세아 윤슬 미소 단비")
BOYS = words("민준 도윤 준호 시우 현우 지훈 태오 건우 동해 우진 재민 한결 정우 선우 은찬 바다 강산 성민 영수 철수")
NAMES = GIRLS + BOYS
FAMILY = words("할머니 할아버지 어머니 아버지 누나 형 이모 삼촌 고모 동생")
ELDERS = words("할머니 할아버지 어머니 아버지 이모 삼촌")
ANIMALS = words("토끼 다람쥐 여우 곰 사슴 고슴도치 너구리 거북이 참새 부엉이 오리 고양이 강아지 두더지 원숭이 염소 당나귀 생쥐")
TRAITS = words("착한, 용감한, 부지런한, 호기심 많은, 수줍은, 씩씩한, 정직한, 상냥한, 꾀 많은, 조용한, 장난꾸러기, 욕심 많은, 게으른")
GOOD_TRAITS = words("착한, 용감한, 부지런한, 호기심 많은, 씩씩한, 정직한, 상냥한, 지혜로운")
PLACES = words("공원, 시장, 바닷가, 강가, 도서관, 운동장, 언덕, 골목길, 놀이터, 들판, 과수원, 기차역, 박물관, 학교 앞, 다리 밑, 연못가")
WILD = words("숲, 산속, 골짜기, 들판, 강가, 바위 언덕, 대나무 숲, 소나무 숲, 호숫가, 눈 덮인 산")
THINGS = words("연필 우산 모자 장갑 공책 인형 목도리 열쇠 가방 시계 손수건 필통 지갑 구슬 팽이 연 피리 사진 편지 반지")
COLOURS = words("빨간 파란 노란 하얀 까만 초록색 분홍색 보라색 주황색 하늘색")
FRUITS = words("사과 배 귤 감 포도 복숭아 딸기 수박 참외 자두 살구 앵두")
FOODS = words("김밥 떡볶이 만두 비빔밥 잡채 부침개 칼국수 송편 된장찌개 미역국 볶음밥 호떡 군고구마 팥죽 수제비")
FLOWERS = words("해바라기 나팔꽃 봉숭아 코스모스 장미 튤립 국화 채송화 백일홍 민들레")
SEASONS = words("봄 여름 가을 겨울")
WEATHER = {"봄": ["따뜻한 바람이 불었", "벚꽃이 활짝 피었", "햇살이 포근했", "들판에 새싹이 돋았"],
           "여름": ["햇볕이 뜨거웠", "매미가 크게 울었", "소나기가 내렸", "나뭇잎이 짙은 초록색이었"],
           "가을": ["하늘이 높고 맑았", "단풍이 곱게 물들었", "시원한 바람이 불었", "들판이 노랗게 익었"],
           "겨울": ["하얀 눈이 내렸", "찬 바람이 불었", "강물이 꽁꽁 얼었", "온 마을이 눈에 덮였"]}
FEELINGS = words("기뻤, 행복했, 뿌듯했, 마음이 따뜻했, 즐거웠, 고마웠")
SAD = ["슬펐", "걱정이 되었", "속상했", "마음이 무거웠", "울고 싶었"]
WHEN = ["어느 날", "어느 날 아침", "어느 날 오후", "지난 토요일", "일요일 아침에", "방학 첫날", "학교가 끝난 뒤"]
LATER = ["잠시 뒤", "얼마 지나지 않아", "한참 뒤", "조금 있다가", "그때"]
OPENINGS = ["옛날 옛적에", "옛날에", "아주 먼 옛날에", "옛날 어느 마을에", "옛날 깊은 산골에"]
MORALS = ["그날부터 {0} 더욱 사이좋게 지냈{e}.", "그 뒤로 {0} 오래오래 행복하게 살았{e}.", "{0} 그 일을 오랫동안 잊지 않았{e}.",
          "그날 밤 {0} 웃는 얼굴로 잠이 들었{e}.", "{0} 서로를 보며 환하게 웃었{e}."]


class Story:
    """A story under way: its random source, its sentence ending and the sentences so far."""

    def __init__(self, random_source: random.Random) -> None:
        self.random = random_source
        self.e = random_source.choice(["습니다", "습니다", "어요", "다"])
        self.sentences: list[str] = []

    def say(self, *variants: str) -> None:
        """Append one of the variants."""
        self.sentences.append(self.random.choice(variants))

    def maybe(self, *variants: str) -> None:
        """Append one of the variants, or nothing."""
        if self.random.random() < 0.55:
            self.say(*variants)

    def moral(self, who: str) -> None:
        self.sentences.append(self.random.choice(MORALS).format(who, e=self.e))

    def setting(self) -> Word:
        season = self.random.choice(SEASONS)
        self.say(f"{season:이었}{self.e}. {self.random.choice(WEATHER[season])}{self.e}.",
                 f"어느 {season}날이었{self.e}. {self.random.choice(WEATHER[season])}{self.e}.")
        return season

    def text(self) -> str:
        """One paragraph, or two or three."""
        cut = self.random.choice([0, 0, 3, 4])
        if not cut:
            return " ".join(self.sentences)
        parts = [" ".join(self.sentences[i:i + cut]) for i in range(0, len(self.sentences), cut)]
        return "\n".join(parts)


Plot = Callable[[Story], tuple[str, ...]]
_PLOTS: dict[str, Plot] = {}


def plot(function: Plot) -> Plot:
    _PLOTS[function.__name__] = function
    return function


def two(r: random.Random, pool: list[Word]) -> tuple[Word, Word]:
    first, second = r.sample(pool, 2)
    return first, second


@plot
def lost_thing(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, friend), place, colour = two(r, NAMES), r.choice(PLACES), r.choice(COLOURS)
    thing = r.choice(THINGS)
    giver = r.choice(ELDERS)
    s.maybe(f"{hero:은} {giver}께 받은 {colour} {thing:을} 아주 아꼈{e}.", f"{hero}에게는 {colour} {thing:이} 하나 있었{e}.")
    s.say(f"{r.choice(WHEN)} {hero:은} {place}에서 {colour} {thing:을} 잃어버렸{e}.",
          f"{r.choice(WHEN)} {hero:은} {place}에 갔다가 {colour} {thing:을} 잃어버렸{e}.")
    s.say(f"{hero:은} {r.choice(SAD)}{e}.", f"{hero:은} {thing:을} 찾으려고 여기저기 뛰어다녔{e}.",
          f"아무리 찾아도 {thing:은} 보이지 않았{e}.")
    s.say(f"그때 {friend:이} 다가와서 물었{e}. \"{hero:아}, 무슨 일이야?\"",
          f"마침 {friend:이} 그 모습을 보고 달려왔{e}. \"{hero:아}, 내가 같이 찾아 줄게.\"")
    s.say(f"\"내 {thing:을} 잃어버렸어.\" {hero:이} 말했{e}.", f"{hero:은} {thing:을} 잃어버렸다고 말했{e}.")
    s.say(f"두 사람은 {place:을} 구석구석 살펴보았{e}.", f"{hero:과} {friend:은} 왔던 길을 천천히 되돌아갔{e}.")
    where = r.choice(["나무 밑", "긴 의자 아래", "풀숲", "돌 틈", "계단 옆", "꽃밭 가장자리"])
    s.say(f"{r.choice(LATER)} {friend:이} {where}에서 {colour} {thing:을} 찾았{e}.")
    s.say(f"\"찾았다!\" {friend:이} 소리쳤{e}.", f"\"여기 있어!\" {friend:이} {thing:을} 높이 들었{e}.")
    s.say(f"{hero:은} {friend}에게 고맙다고 말했{e}.", f"\"{friend:아}, 정말 고마워.\" {hero:이} 말했{e}.")
    s.moral("두 사람은")
    return hero, thing, place


@plot
def saved_animal(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    trait, animal, wild = r.choice(GOOD_TRAITS), r.choice(ANIMALS), r.choice(WILD)
    job = r.choice(words("나무꾼 농부 사냥꾼 어부 나그네 약초꾼 소년 소녀 선비 대장장이"))
    s.say(f"{r.choice(OPENINGS)} {trait} {job:이} 살고 있었{e}.", f"{r.choice(OPENINGS)} {trait} {job:이} 살았{e}.")
    s.maybe(f"{job:은} 가난했지만 늘 남을 도왔{e}.", f"{job:은} 날마다 열심히 일했{e}.")
    s.say(f"하루는 {job:이} {wild:을} 지나가다가 다친 {animal:을} 보았{e}.",
          f"어느 날 {job:은} {wild}에서 덫에 걸린 {animal:을} 만났{e}.")
    s.say(f"\"도와주세요.\" {animal:이} 작은 목소리로 말했{e}.", f"{animal:은} 눈물을 흘리며 {job:을} 바라보았{e}.")
    s.say(f"{job:은} {animal:이} 불쌍해서 얼른 도와주었{e}.", f"{job:은} 조심스럽게 {animal:을} 안아 집으로 데려갔{e}.")
    s.maybe(f"{job:은} {animal}에게 따뜻한 밥을 주고 상처를 돌보아 주었{e}.")
    gift = r.choice(["금이 가득 든 항아리", "신기한 씨앗", "빛나는 구슬", "마르지 않는 쌀독", "소원을 들어주는 피리"])
    s.say(f"며칠 뒤 {animal:은} {Word(gift):을} 물고 다시 찾아왔{e}.", f"얼마 뒤 {animal:이} 찾아와 {Word(gift):을} 주었{e}.")
    s.say(f"\"목숨을 구해 주셔서 고맙습니다.\" {animal:이} 말했{e}.")
    s.maybe(f"{job:은} 그 선물을 마을 사람들과 나누었{e}.", f"{job:은} 혼자 가지지 않고 이웃과 함께 썼{e}.")
    s.moral(f"{job:과} {animal:은}")
    return job, animal, wild


@plot
def rain(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, friend), place = two(r, NAMES), r.choice(["학교", "도서관", "학원", "박물관", "시장"])
    colour = r.choice(COLOURS)
    s.say(f"아침부터 하늘이 흐렸{e}.", f"{place}에서 나오려는데 갑자기 비가 내렸{e}.", f"오후가 되자 비가 쏟아졌{e}.")
    s.say(f"{hero:은} 우산을 가져오지 않아서 {place} 앞에 서 있었{e}.", f"{hero:은} 우산이 없어서 집에 갈 수 없었{e}.")
    s.say(f"그때 {friend:이} {colour} 우산을 들고 나왔{e}.", f"{r.choice(LATER)} {friend:이} {colour} 우산을 쓰고 다가왔{e}.")
    s.say(f"\"{hero:아}, 우산 같이 쓰자.\" {friend:이} 말했{e}.", f"\"{hero:아}, 집까지 데려다줄게.\" {friend:이} 웃으며 말했{e}.")
    s.say(f"두 사람은 우산을 함께 쓰고 걸었{e}.", f"{hero:은} 고마운 마음으로 우산 속에 들어갔{e}.")
    s.maybe("빗방울이 우산 위에서 톡톡 소리를 냈" + e + ".", f"길가에는 작은 물웅덩이가 생겼{e}.")
    s.maybe(f"{r.choice(LATER)} 비가 그치고 하늘에 무지개가 떴{e}.")
    food = r.choice(FOODS)
    s.say(f"{hero}의 집에 도착하자 {hero}의 어머니가 {food:을} 만들어 주셨{e}.",
          f"다음 날 {hero:은} {friend}에게 {food:을} 나누어 주었{e}.")
    s.say(f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, friend, place, colour


@plot
def market(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, elder = r.choice(NAMES), r.choice(ELDERS)
    a, b = two(r, FRUITS)
    n, m = r.randint(2, 9), r.randint(2, 9)
    s.setting()
    s.say(f"{hero:은} {elder:과} 함께 시장에 갔{e}.", f"{elder}께서 {hero}에게 시장에 다녀오라고 하셨{e}.")
    s.say(f"시장에는 사람들이 아주 많았{e}.", f"시장에는 싱싱한 {a:과} {b:이} 가득했{e}.")
    s.say(f"{hero:은} {a} {counting_number(n)} 개와 {b} {counting_number(m)} 개를 샀{e}.")
    s.say(f"모두 {counting_number(n + m)} 개였{e}.", f"{n} 더하기 {Word(m):은} "
          f"{Word(n + m):이므로} 과일은 모두 {n + m}개였{e}.")
    s.maybe(f"과일 가게 아주머니는 {a:을} 하나 더 주셨{e}. 그래서 과일은 {counting_number(n + m + 1)} 개가 되었{e}.")
    s.say(f"집에 와서 온 가족이 {a:을} 나누어 먹었{e}.", f"{hero:은} {b:을} 가장 먼저 맛보았{e}.")
    s.say(f"과일은 달고 맛있었{e}.", f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, a, b, str(n), str(m)


@plot
def seed(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, flower, elder = r.choice(NAMES), r.choice(FLOWERS), r.choice(ELDERS)
    place = r.choice(["마당", "창가의 화분", "학교 꽃밭", "뒷산 아래", "텃밭"])
    s.say(f"봄이 되자 {hero:은} {Word(place)}에 {flower} 씨앗을 심었{e}.",
          f"{elder:이} {hero}에게 {flower} 씨앗을 주셨{e}. {hero:은} 그 씨앗을 {place}에 심었{e}.",
          f"{hero:은} {elder:과} 함께 {place}에 {flower} 씨앗을 심었{e}.")
    s.say(f"{hero:은} 날마다 물을 주었{e}.", f"{hero:은} 아침마다 씨앗에게 인사를 했{e}.")
    s.say(f"며칠이 지나도 싹이 나지 않았{e}.", f"하지만 일주일이 지나도 아무 일도 일어나지 않았{e}.")
    s.say(f"\"언제 나올까?\" {hero:은} 조금 걱정이 되었{e}.", f"\"기다리면 꼭 나올 거야.\" {elder:이} 말했{e}.")
    s.say(f"그러던 어느 날 작은 초록색 싹이 흙을 뚫고 나왔{e}.", f"비가 온 다음 날 드디어 싹이 돋았{e}.")
    s.say(f"싹은 햇빛을 받으며 쑥쑥 자랐{e}.", f"{hero:은} 싹이 다치지 않게 울타리를 만들어 주었{e}.")
    s.say(f"여름이 되자 예쁜 {flower:이} 피었{e}.", f"마침내 {flower:이} 활짝 피었{e}.")
    s.maybe(f"나비와 벌이 {flower:을} 찾아왔{e}.", f"지나가던 사람들이 {flower:을} 보고 예쁘다고 말했{e}.")
    s.say(f"{hero:은} {r.choice(FEELINGS)}{e}.", f"{hero:은} 기다림이 소중하다는 것을 배웠{e}.")
    return hero, flower, place


@plot
def race(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (fast, slow), wild = two(r, ANIMALS), r.choice(WILD)
    judge = r.choice([a for a in ANIMALS if a not in (fast, slow)])
    goal = r.choice(["언덕 위의 큰 나무", "강 건너 바위", "마을 입구의 다리", "산꼭대기", "호수 옆 오두막"])
    s.say(f"{r.choice(OPENINGS[:3])} {wild}에 {fast:과} {slow:이} 살았{e}.", f"{wild}에 사는 {fast:은} 달리기를 잘한다고 늘 자랑했{e}.")
    s.say(f"어느 날 {fast:이} {slow:을} 놀렸{e}. \"너는 왜 그렇게 느리니?\"", f"하루는 {fast:이} {slow}에게 말했{e}. \"나를 이길 수 있어?\"")
    s.say(f"{slow:은} 화를 내지 않고 경주를 하자고 말했{e}.", f"\"그럼 {goal}까지 누가 먼저 가는지 겨루어 보자.\" {slow:이} 대답했{e}.")
    s.say(f"{judge:이} 심판을 보기로 했{e}.", f"{judge:이} \"출발!\" 하고 외쳤{e}.")
    s.say(f"{fast:은} 바람처럼 달려 나갔{e}.", f"{fast:은} 금세 {slow:을} 멀리 앞질렀{e}.")
    s.say(f"{fast:은} {slow:이} 보이지 않자 나무 아래에서 낮잠을 잤{e}.", f"{fast:은} 마음을 놓고 풀밭에서 놀기 시작했{e}.")
    s.say(f"하지만 {slow:은} 쉬지 않고 한 걸음씩 걸어갔{e}.", f"{slow:은} 힘들어도 끝까지 멈추지 않았{e}.")
    s.say(f"{fast:이} 정신을 차렸을 때 {slow:은} 이미 결승점에 도착해 있었{e}.", f"결국 {slow:이} 먼저 도착했{e}.")
    s.maybe(f"{fast:은} 부끄러워서 고개를 숙였{e}.", f"\"내가 잘못했어.\" {fast:이} 사과했{e}.")
    s.say(f"꾸준히 노력하는 {slow:이} 이긴 것이었{e}.", f"모두가 {slow}에게 박수를 보냈{e}.")
    return fast, slow, judge, wild


@plot
def birthday(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, friend = two(r, NAMES)
    third = r.choice([n for n in NAMES if n not in (hero, friend)])
    colour, thing, food = r.choice(COLOURS), r.choice(THINGS), r.choice(FOODS)
    month, day, age = r.randint(1, 12), r.randint(1, 28), r.randint(7, 12)
    s.say(f"{month}월 {day}일은 {hero}의 생일이었{e}.", f"오늘은 {hero}의 {counting_number(age)} 번째 생일이었{e}.")
    s.say(f"{hero:은} {friend:과} {third:을} 집으로 초대했{e}.", f"{friend:과} {third:이} {hero}의 집에 놀러 왔{e}.")
    s.say(f"상 위에는 케이크와 {food:이} 놓여 있었{e}.", f"어머니는 아침에 미역국을 끓여 주셨{e}.")
    s.say(f"{friend:은} {hero}에게 {colour} {thing:을} 선물했{e}.")
    s.say(f"{third:은} 직접 쓴 편지를 주었{e}.", f"{third:은} 노래를 불러 주었{e}.", f"{third:은} 예쁜 그림을 그려 왔{e}.")
    s.say(f"\"생일 축하해, {hero:아}!\" 친구들이 말했{e}.", f"모두 함께 생일 축하 노래를 불렀{e}.")
    s.maybe(f"{hero:은} 눈을 감고 소원을 빌었{e}.", f"{hero:은} 촛불을 한 번에 껐{e}.")
    s.say(f"{hero:은} 정말 {r.choice(FEELINGS)}{e}.", f"\"모두 고마워.\" {hero:이} 말했{e}.")
    s.maybe(f"{hero:은} {colour} {thing:을} 책상 위에 올려 두었{e}.")
    return hero, friend, thing, colour


@plot
def trip(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, relative = r.choice(NAMES), r.choice(FAMILY)
    city = r.choice(words("부산 제주도 강릉 경주 전주 여수 속초 통영 안동 춘천 대전 광주"))
    by = r.choice(words("기차 버스 자동차")) if city != "제주도" else Word(r.choice(["비행기", "배"]))
    food = r.choice(FOODS)
    s.say(f"지난 주말에 {hero:은} {relative:과} 함께 {city}에 갔{e}.", f"여름 방학에 {hero:은} {relative:과} {city:로} 여행을 떠났{e}.")
    s.say(f"두 사람은 {by:을} 타고 갔{e}.", f"{by} 창밖으로 구름과 산이 보였{e}.")
    s.say(f"{city}에 도착하니 {r.choice(['바람이 시원했', '하늘이 맑았', '햇살이 따뜻했', '사람들이 많았'])}{e}.")
    if city in ("부산", "제주도", "강릉", "여수", "속초", "통영"):
        s.say(f"{hero:은} 바다를 보고 소리를 질렀{e}.", f"두 사람은 바닷가에서 조개껍데기를 주웠{e}.")
    elif city in ("경주", "전주", "안동"):
        s.say(f"두 사람은 오래된 기와집을 구경했{e}.", f"{hero:은} 한복을 입고 사진을 찍었{e}.")
    else:
        s.say(f"두 사람은 넓은 공원을 천천히 걸었{e}.", f"{hero:은} 호숫가에서 오리를 보았{e}.")
    s.say(f"점심으로 {food:을} 먹었{e}.", f"배가 고파서 {food:을} 사 먹었{e}. 아주 맛있었{e}.")
    s.maybe(f"저녁에는 붉은 노을을 보았{e}.", f"밤에는 별이 반짝였{e}.", f"{hero:은} 기념품으로 작은 종을 샀{e}.")
    s.say(f"집으로 돌아오는 길에 {hero:은} 금세 잠이 들었{e}.", f"{hero:은} 다음에도 {city}에 가고 싶었{e}.")
    return hero, str(relative), city, food


@plot
def learning(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, teacher = r.choice(NAMES), r.choice(ELDERS)
    skill = r.choice(words("자전거 피아노 스케이트 기타 줄넘기 수영 바둑 그림 피리 뜨개질 배드민턴 붓글씨"))
    s.say(f"{hero:은} {skill:을} 배우고 싶었{e}.", f"{hero:은} {skill:을} 잘하는 친구가 부러웠{e}.")
    s.say(f"그래서 {teacher}에게 가르쳐 달라고 부탁했{e}.", f"{teacher:이} {hero}에게 {skill:을} 가르쳐 주기로 했{e}.")
    s.say(f"처음에는 너무 어려웠{e}.", f"처음에는 자꾸 실수를 했{e}.", f"첫날에는 마음대로 되지 않았{e}.")
    s.say(f"\"나는 못 하겠어요.\" {hero:이} 말했{e}.", f"{hero:은} 그만두고 싶었{e}.")
    s.say(f"\"괜찮아. 천천히 하면 돼.\" {teacher:이} 말했{e}.", f"\"누구나 처음에는 서툴단다.\" {teacher:이} 웃으며 말했{e}.")
    s.say(f"{hero:은} 날마다 한 시간씩 연습했{e}.", f"{hero:은} 다시 용기를 내어 연습했{e}.")
    weeks = r.choice(["일주일", "보름", "한 달", "두 달", "석 달"])
    s.say(f"{Word(weeks):이} 지나자 {hero:은} {skill:을} 잘하게 되었{e}.",
          f"{Word(weeks):이} 지나자 {hero}의 실력이 몰라보게 늘었{e}.")
    s.say(f"{hero:은} 포기하지 않아서 {r.choice(FEELINGS)}{e}.", f"\"정말 잘했구나!\" {teacher:이} 손뼉을 쳤{e}.")
    return hero, skill, teacher


@plot
def quarrel(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (a, b), place, thing = two(r, NAMES), r.choice(PLACES), r.choice(THINGS)
    s.say(f"{a:과} {b:은} 가장 친한 친구였{e}.", f"{a:과} {b:은} 늘 {place}에서 함께 놀았{e}.")
    s.say(f"그런데 어느 날 두 사람은 {thing} 때문에 다투었{e}.", f"그런데 {a:이} 실수로 {b}의 {thing:을} 망가뜨렸{e}.")
    s.say(f"\"너랑 안 놀 거야!\" {b:이} 소리쳤{e}.", f"{b:은} 화가 나서 집으로 가 버렸{e}.")
    s.say(f"혼자 남은 {a:은} {r.choice(SAD)}{e}.", f"{a:은} 하루 종일 {b} 생각만 했{e}.")
    s.say(f"다음 날 {a:은} 사과의 편지를 썼{e}.", f"다음 날 {a:은} {b:을} 찾아가서 먼저 사과했{e}.")
    s.say(f"\"{b:아}, 어제는 내가 미안했어.\" {a:이} 말했{e}.", f"\"정말 미안해, {b:아}.\" {a:이} 작은 목소리로 말했{e}.")
    s.say(f"\"아니야, 나도 미안해.\" {b:이} 대답했{e}.", f"{b:은} 빙그레 웃으며 손을 내밀었{e}.")
    s.maybe(f"두 사람은 손을 잡고 {place:로} 갔{e}.", f"두 사람은 {r.choice(FOODS):을} 함께 먹었{e}.")
    s.moral("두 사람은")
    return a, b, thing, place
