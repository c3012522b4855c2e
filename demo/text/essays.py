"""Short prose that is no story: likes and reasons, how to do things, verses, weather, notices, people and places.

In: a random source. Out: (key of the combination, text).
"""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import random

from .korean import Word, counting_number, words
from .stories import COLOURS, FLOWERS, FOODS, FRUITS, NAMES, SEASONS

Essay = tuple[str, str]
LIKED = {
    "봄": ["꽃이 피기 때문", "날씨가 따뜻하기 때문", "새 학년이 시작되기 때문"], "여름": ["바다에서 헤엄칠 수 있기 때문", "시원한 수박을 먹을 수 있기 때문", "방학이 길기 때문"],
    "가을": ["단풍이 아름답기 때문", "하늘이 높고 맑기 때문", "책을 읽기 좋기 때문"], "겨울": ["눈을 볼 수 있기 때문", "따뜻한 군고구마를 먹을 수 있기 때문", "썰매를 탈 수 있기 때문"],
    "바다": ["파도 소리가 듣기 좋기 때문", "넓고 푸르기 때문", "모래로 성을 쌓을 수 있기 때문"], "산": ["공기가 맑기 때문", "새소리를 들을 수 있기 때문", "꼭대기에서 마을을 볼 수 있기 때문"],
    "도서관": ["조용하기 때문", "재미있는 책이 많기 때문", "새로운 것을 배울 수 있기 때문"], "비 오는 날": ["빗소리가 듣기 좋기 때문", "우산을 쓰고 걷는 것이 즐겁기 때문"],
    "아침": ["공기가 상쾌하기 때문", "하루가 새로 시작되기 때문"], "밤": ["별을 볼 수 있기 때문", "조용히 생각할 수 있기 때문"], "고양이": ["털이 부드럽기 때문", "혼자서도 잘 놀기 때문"],
    "강아지": ["나를 반겨 주기 때문", "함께 산책할 수 있기 때문"], "음악": ["마음이 편안해지기 때문", "친구들과 함께 즐길 수 있기 때문"], "그림": ["마음을 색으로 나타낼 수 있기 때문", "시간이 가는 줄 모르기 때문"],
    "축구": ["친구들과 힘을 모을 수 있기 때문", "달리고 나면 기분이 좋기 때문"], "요리": ["가족이 맛있게 먹어 주기 때문", "여러 가지 맛을 만들 수 있기 때문"], "여행": ["새로운 곳을 볼 수 있기 때문", "낯선 사람을 만날 수 있기 때문"],
}
HOW_TO = {
    "라면을 끓이는 방법": ["냄비에 물을 넣고 끓입니다", "물이 끓으면 면과 수프를 넣습니다", "사 분쯤 더 끓입니다", "그릇에 담아 맛있게 먹습니다"],
    "손을 씻는 방법": ["손에 물을 묻힙니다", "비누로 거품을 냅니다", "손바닥과 손등과 손가락 사이를 문지릅니다", "깨끗한 물로 헹굽니다", "수건으로 물기를 닦습니다"],
    "씨앗을 심는 방법": ["화분에 흙을 담습니다", "손가락으로 작은 구멍을 냅니다", "구멍에 씨앗을 넣고 흙을 덮습니다", "물을 충분히 줍니다", "햇빛이 잘 드는 곳에 둡니다"],
    "김밥을 만드는 방법": ["따뜻한 밥에 소금과 참기름을 넣어 섞습니다", "김 위에 밥을 고르게 폅니다", "달걀, 당근, 시금치를 올립니다", "김을 돌돌 맙니다", "먹기 좋게 썹니다"],
    "눈사람을 만드는 방법": ["눈을 단단하게 뭉칩니다", "눈덩이를 굴려 크게 만듭니다", "작은 눈덩이를 큰 눈덩이 위에 올립니다", "나뭇가지와 돌로 얼굴과 팔을 만듭니다"],
    "이를 닦는 방법": ["칫솔에 치약을 조금 짭니다", "앞니와 어금니를 골고루 닦습니다", "혀도 부드럽게 닦습니다", "물로 입을 여러 번 헹굽니다"],
    "편지를 쓰는 방법": ["받는 사람의 이름을 씁니다", "첫인사를 씁니다", "하고 싶은 말을 씁니다", "끝인사와 날짜와 보내는 사람의 이름을 씁니다"],
    "길을 건너는 방법": ["횡단보도 앞에 멈춥니다", "초록불이 켜질 때까지 기다립니다", "왼쪽과 오른쪽을 살핍니다", "손을 들고 천천히 건넙니다"],
    "달걀을 삶는 방법": ["냄비에 달걀과 물을 넣습니다", "소금을 조금 넣습니다", "물이 끓기 시작하면 십 분쯤 더 삶습니다", "찬물에 식힌 뒤 껍데기를 벗깁니다"],
    "종이비행기를 접는 방법": ["종이를 길게 반으로 접었다가 폅니다", "위쪽의 두 모서리를 가운데 선에 맞추어 접습니다", "다시 가운데 선을 따라 반으로 접습니다", "양쪽 날개를 접어 내립니다"],
    "책을 빌리는 방법": ["도서관에서 읽고 싶은 책을 찾습니다", "책을 들고 안내하는 곳으로 갑니다", "도서관 카드를 보여 줍니다", "돌려줄 날짜를 확인합니다"],
    "떡국을 끓이는 방법": ["떡을 찬물에 불립니다", "국물을 냄비에 넣고 끓입니다", "국물이 끓으면 떡을 넣습니다", "떡이 떠오르면 달걀과 파를 넣습니다", "그릇에 담고 김 가루를 뿌립니다"],
}
ORDER = ["먼저", "그다음에", "이어서", "그런 뒤에", "마지막으로"]
SKY = {"봄": ["맑고 따뜻하겠습니다", "바람이 조금 불겠습니다", "한때 봄비가 내리겠습니다"], "여름": ["무덥겠습니다", "오후에 소나기가 내리겠습니다", "햇볕이 강하겠습니다"],
       "가을": ["맑고 선선하겠습니다", "아침에 안개가 끼겠습니다", "구름이 조금 끼겠습니다"], "겨울": ["춥고 건조하겠습니다", "많은 눈이 내리겠습니다", "찬 바람이 강하게 불겠습니다"]}
DEGREES = {"봄": (5, 20), "여름": (22, 34), "가을": (8, 22), "겨울": (1, 8)}
ADVICE = {"비": "우산을 챙기시기 바랍니다", "눈": "길이 미끄러우니 조심하시기 바랍니다", "춥": "따뜻한 옷을 입으시기 바랍니다", "무덥": "물을 자주 마시는 것이 좋겠습니다", "햇볕": "모자를 쓰는 것이 좋겠습니다",
          "소나기": "우산을 챙기시기 바랍니다", "안개": "운전하실 때 조심하시기 바랍니다", "바람": "창문을 잘 닫으시기 바랍니다"}
CITIES = words("서울 부산 대구 인천 광주 대전 울산 강릉 제주 전주 춘천 청주")
JOBS = words("의사 교사 요리사 화가 작가 과학자 소방관 농부 가수 건축가 조종사 수의사 목수 사서 기자")
HOBBIES = ["책을 읽는 것", "그림을 그리는 것", "산에 오르는 것", "자전거를 타는 것", "노래를 부르는 것", "요리를 하는 것", "사진을 찍는 것", "별을 보는 것", "꽃을 가꾸는 것", "강아지와 산책하는 것"]
VERSE_SUBJECTS = {
    "비": ["톡톡 지붕을 두드리고", "똑똑 창문에 앉았다가", "꽃잎마다 물을 주고", "우산 위에서 춤을 추고", "시냇물을 따라 노래하고"],
    "바람": ["나뭇잎을 흔들고", "빨래를 말려 주고", "내 머리를 쓰다듬고", "연을 높이 띄우고", "들판을 달려가고"],
    "달": ["까만 밤을 밝히고", "나를 따라 걸어오고", "구름 뒤에 숨었다가", "호수 위에 내려앉고", "우리 집 창문을 들여다보고"],
    "별": ["반짝반짝 눈을 뜨고", "밤하늘에 길을 내고", "내 소원을 들어 주고", "졸린 아이를 재우고", "새벽이 오면 숨고"],
    "눈": ["소리 없이 내려와서", "지붕마다 이불을 덮고", "온 세상을 하얗게 칠하고", "내 손에서 녹아 버리고", "아이들을 불러내고"],
    "꽃": ["햇살을 보고 웃고", "나비에게 손짓하고", "비를 맞고 자라나고", "들길을 곱게 꾸미고", "향기를 나누어 주고"],
    "나무": ["그늘을 만들어 주고", "새들에게 집을 주고", "봄마다 새잎을 내고", "바람과 이야기하고", "말없이 서서 기다리고"],
    "시냇물": ["졸졸 노래를 부르고", "조약돌을 씻어 주고", "물고기를 품어 주고", "바다를 꿈꾸며 흐르고", "햇빛을 싣고 가고"],
}


def liking(r: random.Random) -> Essay:
    thing = r.choice(list(LIKED))
    subject, polite = Word(thing), r.random() < 0.5
    reasons = r.sample(LIKED[thing], min(len(LIKED[thing]), r.randint(1, 3)))
    me, like, is_ = ("저는", "좋아합니다", "입니다") if polite else ("나는", "좋아한다", "이다")
    sentences = [r.choice([f"{me} {subject:을} {like}.", f"{me} {subject:을} 가장 {like}.", f"{me} {subject:을} 아주 {like}."])]
    link = ["왜냐하면", "또", "그리고"]
    for index, reason in enumerate(reasons):
        sentences.append(f"{link[index]} {reason}{is_}.")
    if r.random() < 0.6:
        sentences.append((f"그래서 {subject:은} 언제나 반갑습니다." if polite else f"그래서 {subject:은} 언제나 반갑다.") if thing in ("봄", "여름", "가을", "겨울", "비 오는 날", "아침", "밤")
                         else (f"{subject:을} 생각하면 기분이 좋아집니다." if polite else f"{subject:을} 생각하면 기분이 좋아진다."))
    return f"{thing}{reasons}{polite}", " ".join(sentences)


def how_to(r: random.Random, name: str | None = None) -> Essay:
    name = name or r.choice(list(HOW_TO))
    steps = HOW_TO[name]
    subject = Word(name)
    form = r.randrange(3)
    if form == 0:
        return f"{name}0{r.randrange(9)}", f"{subject:을} 알려 드리겠습니다.\n" + "\n".join(f"{i}. {step}." for i, step in enumerate(steps, 1))
    chosen = [*ORDER[:len(steps) - 1], ORDER[-1]]
    text = " ".join(f"{word} {step}." for word, step in zip(chosen, steps, strict=True))
    return f"{name}{form}{r.randrange(9)}", (f"{subject:은} 다음과 같습니다. {text}" if form == 1 else text)


def verse(r: random.Random, name: str | None = None) -> Essay:
    name = name or r.choice(list(VERSE_SUBJECTS))
    subject = Word(name)
    lines = r.sample(VERSE_SUBJECTS[name], r.randint(2, 4))
    end = r.choice([f"{name}, {name}, 고마운 {name}", f"오늘도 {subject:은} 나의 친구", f"나는 {subject:이} 참 좋아", f"{subject:은} 언제나 우리 곁에"])
    title = r.choice(["", f"제목: {name}\n"])
    return f"{lines}", title + f"{subject:은}\n" + "\n".join(lines) + f"\n{end}"


def weather(r: random.Random) -> Essay:
    season, city = r.choice(SEASONS), r.choice(CITIES)
    sky = r.choice(SKY[season])
    low, high = DEGREES[season]
    morning = r.randint(low, (low + high) // 2)
    noon = r.randint(morning + 2, high + 2)
    sentences = [r.choice([f"오늘 {Word(city):은} {sky}.", f"{city}의 오늘 날씨입니다. 오늘은 {sky}."])]
    sentences.append(f"아침 기온은 {morning}도, 낮 기온은 {noon}도가 되겠습니다.")
    advice = next((text for sign, text in ADVICE.items() if sign in sky), None)
    if advice:
        sentences.append(f"{advice}.")
    return f"{city}{sky}{morning}{noon}", " ".join(sentences)


def notice(r: random.Random) -> Essay:
    place = Word(r.choice(["도서관", "박물관", "체육관", "수영장", "미술관", "어린이 공원", "마을 회관"]))
    day = r.choice(words("월요일 화요일 수요일 목요일 금요일 토요일 일요일"))
    opening, closing = r.randint(8, 10), r.randint(5, 8)
    count = r.randint(2, 7)
    extra = {"도서관": f"책은 한 사람이 {counting_number(count)} 권까지 빌릴 수 있습니다.", "박물관": "전시실에서는 사진을 찍을 수 없습니다.", "체육관": "운동화를 신고 들어오시기 바랍니다.", "수영장": "수영모를 꼭 쓰시기 바랍니다.",
             "미술관": "작품을 손으로 만지지 마십시오.", "어린이 공원": "쓰레기는 쓰레기통에 버려 주시기 바랍니다.", "마을 회관": f"이번 주 {day}에 마을 잔치가 열립니다."}[place]
    sentences = [f"{place} 이용 안내입니다.", f"{place:은} 오전 {counting_number(opening)} 시에 열고 오후 {counting_number(closing)} 시에 닫습니다."]
    if place != "마을 회관":
        sentences.append(f"매주 {day:은} 쉽니다.")
    return f"{place}{day}{opening}{closing}", " ".join([*sentences, extra, r.choice(["감사합니다.", "많은 이용 바랍니다.", "고맙습니다."])])


def person(r: random.Random) -> Essay:
    name, job, hobby, city = r.choice(NAMES), r.choice(JOBS), r.choice(HOBBIES), r.choice(CITIES)
    age, food, colour = r.randint(8, 13), r.choice(FOODS + FRUITS), r.choice(COLOURS)
    if r.random() < 0.5:
        sentences = [f"제 이름은 {name}입니다.", f"저는 {counting_number(age)} 살이고 {city}에 삽니다.", f"제가 좋아하는 음식은 {food}입니다.", f"저의 취미는 {hobby}입니다.", f"저는 커서 {job:이} 되고 싶습니다."]
        sentences = [sentences[0], *r.sample(sentences[1:4], r.randint(1, 3)), sentences[4]]
        return f"{name}{job}{hobby}", " ".join(sentences) + r.choice(["", " 만나서 반갑습니다.", " 잘 부탁드립니다."])
    sentences = [f"{name:은} {city}에 사는 {job}입니다.", f"{name}의 취미는 {hobby}입니다.", f"{name:은} {food:을} 좋아합니다.", f"{name:은} 언제나 {colour} 모자를 쓰고 다닙니다.", f"사람들은 친절한 {name:을} 좋아합니다."]
    return f"{name}{job}{hobby}", " ".join([sentences[0], *r.sample(sentences[1:], r.randint(2, 4))])


def garden(r: random.Random) -> Essay:
    """A description of a place with counted things, and their sum."""
    place = r.choice(["우리 집 마당", "할머니 댁 마당", "학교 꽃밭", "마을 앞 들판", "도서관 뒤뜰"])
    a, b = r.sample(FLOWERS, 2)
    n, m = r.randint(2, 9), r.randint(2, 9)
    return (f"{a}{b}{n}{m}", f"{place}에는 꽃이 많습니다. {a:이} {counting_number(n)} 송이, {b:이} {counting_number(m)} 송이 피어 있습니다. 모두 합하면 {counting_number(n + m)} 송이입니다."
            + r.choice(["", " 아침마다 물을 줍니다.", " 벌과 나비도 자주 찾아옵니다."]))


ESSAYS = [liking, liking, how_to, how_to, verse, weather, notice, person, person, garden]


def essay(r: random.Random) -> Essay:
    return r.choice(ESSAYS)(r)
