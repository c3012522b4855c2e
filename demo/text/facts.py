"""General facts. In: a random source. Out: questions with their true answers, as `Fact`s; and prose that states them."""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
import random
from dataclasses import dataclass

from .korean import Word, counting_number, native_number, sino_number, words


@dataclass(frozen=True)
class Fact:
    """One fact: ways to ask for it, ways to answer, and a longer statement for prose."""
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    topic: str


CAPITALS = {
    "대한민국": "서울", "일본": "도쿄", "중국": "베이징", "몽골": "울란바토르", "베트남": "하노이", "태국": "방콕", "인도": "뉴델리",
    "필리핀": "마닐라", "인도네시아": "자카르타", "캄보디아": "프놈펜", "라오스": "비엔티안", "네팔": "카트만두", "터키": "앙카라",
    "이란": "테헤란", "이라크": "바그다드", "사우디아라비아": "리야드", "프랑스": "파리", "독일": "베를린", "영국": "런던",
    "이탈리아": "로마", "스페인": "마드리드", "포르투갈": "리스본", "네덜란드": "암스테르담", "벨기에": "브뤼셀", "스위스": "베른",
    "오스트리아": "빈", "폴란드": "바르샤바", "체코": "프라하", "헝가리": "부다페스트", "그리스": "아테네", "스웨덴": "스톡홀름",
    "노르웨이": "오슬로", "핀란드": "헬싱키", "덴마크": "코펜하겐", "아일랜드": "더블린", "러시아": "모스크바", "우크라이나": "키이우",
    "미국": "워싱턴", "캐나다": "오타와", "멕시코": "멕시코시티", "쿠바": "아바나", "브라질": "브라질리아", "아르헨티나": "부에노스아이레스",
    "칠레": "산티아고", "페루": "리마", "콜롬비아": "보고타", "이집트": "카이로", "케냐": "나이로비", "에티오피아": "아디스아바바",
    "가나": "아크라", "모로코": "라바트", "오스트레일리아": "캔버라", "뉴질랜드": "웰링턴",
}
CONTINENT = {"아시아": words("대한민국 일본 중국 몽골 베트남 태국 인도 필리핀 인도네시아 캄보디아 라오스 네팔 이란 이라크"),
             "유럽": words("프랑스 독일 영국 이탈리아 스페인 포르투갈 네덜란드 벨기에 스위스 오스트리아 폴란드 체코 헝가리 그리스 스웨덴 노르웨이 핀란드 덴마크 아일랜드"),
             "아프리카": words("이집트 케냐 에티오피아 가나 모로코"), "북아메리카": words("미국 캐나다 멕시코"),
             "남아메리카": words("브라질 아르헨티나 칠레 페루 콜롬비아")}
SOUNDS = {"강아지": "멍멍", "고양이": "야옹", "참새": "짹짹", "오리": "꽥꽥", "닭": "꼬끼오", "병아리": "삐악삐악", "돼지": "꿀꿀",
          "소": "음매", "개구리": "개굴개굴", "매미": "맴맴", "귀뚜라미": "귀뚤귀뚤", "뻐꾸기": "뻐꾹뻐꾹", "까마귀": "까악까악", "호랑이": "어흥"}
BABIES = {"개": "강아지", "소": "송아지", "말": "망아지", "닭": "병아리", "개구리": "올챙이"}
LEGS = {2: words("닭 오리 참새 타조 펭귄"), 4: words("개 고양이 소 말 토끼 사자 코끼리 기린 돼지"), 6: words("개미 나비 벌 잠자리 메뚜기"), 8: words("거미")}
KINDS = {"포유류": words("고래 박쥐 사자 코끼리 토끼 개 고양이 말 원숭이 돌고래"), "조류": words("참새 독수리 펭귄 닭 오리 비둘기 타조 까치"),
         "파충류": words("뱀 악어 거북이 도마뱀"), "양서류": words("개구리 도롱뇽 두꺼비"), "어류": words("상어 고등어 잉어 연어 붕어 참치"),
         "곤충": words("나비 개미 벌 매미 잠자리 메뚜기 사슴벌레")}
COLOUR_OF = {"바나나": "노란색", "딸기": "빨간색", "하늘": "파란색", "눈": "하얀색", "숯": "검은색", "포도": "보라색", "귤": "주황색", "잔디": "초록색",
             "우유": "하얀색", "개나리": "노란색", "진달래": "분홍색", "당근": "주황색", "시금치": "초록색", "소금": "하얀색", "까마귀": "검은색", "토마토": "빨간색"}
MIXES = [("빨간색", "노란색", "주황색"), ("파란색", "노란색", "초록색"), ("빨간색", "파란색", "보라색"), ("하얀색", "검은색", "회색"), ("빨간색", "하얀색", "분홍색")]
FOOD_OF = {"김치": "배추와 고춧가루", "두부": "콩", "떡": "쌀", "빵": "밀가루", "치즈": "우유", "된장": "콩", "묵": "도토리나 메밀", "잡채": "당면과 채소",
           "김밥": "김과 밥", "버터": "우유", "식혜": "쌀과 엿기름", "국수": "밀가루", "미역국": "미역", "콩나물국": "콩나물", "수제비": "밀가루", "송편": "쌀가루"}
TASTES = {"설탕": "단맛", "소금": "짠맛", "레몬": "신맛", "고추": "매운맛", "식초": "신맛", "꿀": "단맛", "간장": "짠맛", "사탕": "단맛", "고추장": "매운맛"}
TOOLS = {"소방관": "불을 끄는 사람", "의사": "아픈 사람을 치료하는 사람", "교사": "학생을 가르치는 사람", "농부": "농사를 짓는 사람", "어부": "물고기를 잡는 사람",
         "요리사": "음식을 만드는 사람", "작가": "글을 쓰는 사람", "화가": "그림을 그리는 사람", "가수": "노래를 부르는 사람", "경찰관": "사람들의 안전을 지키는 사람",
         "과학자": "자연의 법칙을 연구하는 사람", "조종사": "비행기를 운전하는 사람", "약사": "약을 짓는 사람", "목수": "나무로 집이나 가구를 만드는 사람"}
THINGS_FOR = {"우산": "비를 막을 때", "연필": "글씨를 쓸 때", "가위": "종이를 자를 때", "시계": "시간을 볼 때", "칫솔": "이를 닦을 때", "빗": "머리를 빗을 때",
              "냉장고": "음식을 차갑게 보관할 때", "망치": "못을 박을 때", "지도": "길을 찾을 때", "온도계": "온도를 잴 때", "저울": "무게를 잴 때", "자": "길이를 잴 때", "비누": "손을 씻을 때"}
OPPOSITES = [("크다", "작다"), ("높다", "낮다"), ("길다", "짧다"), ("많다", "적다"), ("무겁다", "가볍다"), ("빠르다", "느리다"), ("덥다", "춥다"), ("밝다", "어둡다"),
             ("넓다", "좁다"), ("깊다", "얕다"), ("새롭다", "낡다"), ("열다", "닫다"), ("앉다", "서다"), ("웃다", "울다"), ("가다", "오다"), ("낮", "밤"), ("위", "아래"),
             ("앞", "뒤"), ("안", "밖"), ("남쪽", "북쪽"), ("동쪽", "서쪽"), ("시작", "끝"), ("질문", "대답"), ("왼쪽", "오른쪽"), ("두껍다", "얇다"), ("가깝다", "멀다"), ("쉽다", "어렵다")]
ENGLISH = {"사과": "apple", "물": "water", "책": "book", "학교": "school", "친구": "friend", "하늘": "sky", "바다": "sea", "집": "house", "고양이": "cat", "개": "dog",
           "꽃": "flower", "나무": "tree", "해": "sun", "달": "moon", "별": "star", "빵": "bread", "우유": "milk", "의자": "chair", "문": "door", "손": "hand",
           "눈": "snow", "비": "rain", "새": "bird", "물고기": "fish", "빨간색": "red", "파란색": "blue", "하나": "one", "둘": "two", "셋": "three", "어머니": "mother",
           "아버지": "father", "사랑": "love", "이름": "name", "시간": "time", "음악": "music", "빛": "light"}
SEASON_FACTS = {"봄": ("따뜻합니다", "3월부터 5월까지", "개나리와 진달래"), "여름": ("덥습니다", "6월부터 8월까지", "해바라기와 봉숭아"),
                "가을": ("시원합니다", "9월부터 11월까지", "국화와 코스모스"), "겨울": ("춥습니다", "12월부터 2월까지", "동백꽃")}
HOLIDAYS = {"삼일절": (3, 1), "어린이날": (5, 5), "어버이날": (5, 8), "현충일": (6, 6), "광복절": (8, 15), "개천절": (10, 3), "한글날": (10, 9), "성탄절": (12, 25), "식목일": (4, 5), "스승의 날": (5, 15), "제헌절": (7, 17)}
PLAIN = [
    ("한글을 만든 왕은 누구입니까?", "세종대왕입니다.", "한글은 세종대왕이 만들었습니다."),
    ("한글은 언제 만들어졌습니까?", "1443년에 만들어졌습니다.", "한글은 1443년에 만들어지고 1446년에 반포되었습니다."),
    ("대한민국에서 가장 높은 산은 무엇입니까?", "한라산입니다.", "한라산은 제주도에 있으며 높이는 1947미터입니다."),
    ("백두산의 높이는 얼마입니까?", "2744미터입니다.", "백두산은 한반도에서 가장 높은 산이며 높이는 2744미터입니다."),
    ("세계에서 가장 높은 산은 무엇입니까?", "에베레스트산입니다.", "세계에서 가장 높은 산은 에베레스트산입니다."),
    ("대한민국에서 가장 큰 섬은 어디입니까?", "제주도입니다.", "제주도는 대한민국에서 가장 큰 섬입니다."),
    ("서울을 지나는 강은 무엇입니까?", "한강입니다.", "한강은 서울을 동쪽에서 서쪽으로 지나 바다로 흐릅니다."),
    ("대한민국의 국화는 무엇입니까?", "무궁화입니다.", "무궁화는 대한민국을 상징하는 꽃입니다."),
    ("대한민국의 국기는 무엇이라고 부릅니까?", "태극기입니다.", "대한민국의 국기는 태극기입니다."),
    ("대한민국의 국가는 무엇입니까?", "애국가입니다.", "대한민국의 국가는 애국가입니다."),
    ("대한민국의 돈은 무엇이라고 합니까?", "원입니다.", "대한민국의 화폐 단위는 원입니다."),
    ("지구는 무엇의 둘레를 돕니까?", "태양의 둘레를 돕니다.", "지구는 일 년에 한 번 태양의 둘레를 돕니다."),
    ("달은 무엇의 둘레를 돕니까?", "지구의 둘레를 돕니다.", "달은 지구의 둘레를 도는 위성입니다."),
    ("태양계에서 가장 큰 행성은 무엇입니까?", "목성입니다.", "목성은 태양계에서 가장 큰 행성입니다."),
    ("태양에서 가장 가까운 행성은 무엇입니까?", "수성입니다.", "수성은 태양에서 가장 가까운 행성입니다."),
    ("태양계의 행성은 모두 몇 개입니까?", "여덟 개입니다.", "태양계에는 수성, 금성, 지구, 화성, 목성, 토성, 천왕성, 해왕성이 있습니다."),
    ("해는 어느 쪽에서 뜹니까?", "동쪽에서 뜹니다.", "해는 동쪽에서 떠서 서쪽으로 집니다."),
    ("물은 몇 도에서 업니까?", "섭씨 0도에서 업니다.", "물은 섭씨 0도에서 얼고 100도에서 끓습니다."),
    ("물은 몇 도에서 끓습니까?", "섭씨 100도에서 끓습니다.", "물은 섭씨 100도에서 끓어 수증기가 됩니다."),
    ("하루는 몇 시간입니까?", "24시간입니다.", "하루는 24시간이고 한 시간은 60분입니다."),
    ("한 시간은 몇 분입니까?", "60분입니다.", "한 시간은 60분이고 일 분은 60초입니다."),
    ("일주일은 며칠입니까?", "7일입니다.", "일주일은 월요일부터 일요일까지 7일입니다."),
    ("일 년은 몇 달입니까?", "열두 달입니다.", "일 년은 열두 달이고 보통 365일입니다."),
    ("일 년은 며칠입니까?", "보통 365일이고, 윤년은 366일입니다.", "윤년에는 2월이 29일까지 있어서 일 년이 366일입니다."),
    ("삼각형의 변은 몇 개입니까?", "세 개입니다.", "삼각형은 변이 세 개이고 각도 세 개입니다."),
    ("사각형의 꼭짓점은 몇 개입니까?", "네 개입니다.", "사각형은 변과 꼭짓점이 네 개씩 있습니다."),
    ("무지개의 색은 모두 몇 가지입니까?", "일곱 가지입니다.", "무지개의 색은 빨강, 주황, 노랑, 초록, 파랑, 남색, 보라입니다."),
    ("1킬로미터는 몇 미터입니까?", "1000미터입니다.", "1킬로미터는 1000미터이고 1미터는 100센티미터입니다."),
    ("1킬로그램은 몇 그램입니까?", "1000그램입니다.", "1킬로그램은 1000그램입니다."),
    ("설날에는 무엇을 먹습니까?", "떡국을 먹습니다.", "설날에는 어른들께 세배를 하고 떡국을 먹습니다."),
    ("추석에는 무엇을 먹습니까?", "송편을 먹습니다.", "추석에는 온 가족이 모여 송편을 빚고 보름달을 봅니다."),
    ("동지에는 무엇을 먹습니까?", "팥죽을 먹습니다.", "동지는 일 년 중 밤이 가장 긴 날이며 팥죽을 먹습니다."),
    ("세계에서 가장 넓은 바다는 무엇입니까?", "태평양입니다.", "태평양은 세계에서 가장 넓은 바다입니다."),
    ("세계에서 가장 넓은 나라는 어디입니까?", "러시아입니다.", "러시아는 세계에서 가장 넓은 나라입니다."),
    ("땅에서 가장 큰 동물은 무엇입니까?", "코끼리입니다.", "땅에서 가장 큰 동물은 코끼리이고 바다에서 가장 큰 동물은 대왕고래입니다."),
    ("세계에서 가장 큰 동물은 무엇입니까?", "대왕고래입니다.", "대왕고래는 지금까지 알려진 가장 큰 동물입니다."),
    ("목이 가장 긴 동물은 무엇입니까?", "기린입니다.", "기린은 목이 길어서 높은 나뭇잎을 먹을 수 있습니다."),
    ("나비의 애벌레는 자라서 무엇이 됩니까?", "번데기를 거쳐 나비가 됩니다.", "나비는 알, 애벌레, 번데기를 거쳐 어른벌레가 됩니다."),
    ("꿀벌은 무엇을 만듭니까?", "꿀을 만듭니다.", "꿀벌은 꽃에서 꿀과 꽃가루를 모읍니다."),
    ("식물은 무엇으로 양분을 만듭니까?", "햇빛과 물과 이산화탄소로 만듭니다.", "식물은 햇빛을 받아 광합성을 합니다."),
    ("사람의 손가락은 모두 몇 개입니까?", "열 개입니다.", "사람은 손가락이 열 개, 발가락이 열 개 있습니다."),
    ("우리 몸에서 피를 돌게 하는 것은 무엇입니까?", "심장입니다.", "심장은 온몸에 피를 보내는 일을 합니다."),
    ("숨을 쉬는 몸의 기관은 무엇입니까?", "폐입니다.", "사람은 폐로 숨을 쉬고 물고기는 아가미로 숨을 쉽니다."),
    ("이순신 장군이 만든 배는 무엇입니까?", "거북선입니다.", "이순신 장군은 거북선으로 바다에서 나라를 지켰습니다."),
    ("조선을 세운 왕은 누구입니까?", "태조 이성계입니다.", "조선은 1392년에 이성계가 세웠습니다."),
    ("신라의 수도는 어디였습니까?", "경주였습니다.", "경주는 신라의 수도였으며 불국사와 석굴암이 있습니다."),
    ("불국사는 어디에 있습니까?", "경주에 있습니다.", "불국사는 경주에 있는 오래된 절입니다."),
    ("경복궁은 어디에 있습니까?", "서울에 있습니다.", "경복궁은 서울에 있는 조선 시대의 궁궐입니다."),
    ("해운대는 어디에 있습니까?", "부산에 있습니다.", "해운대는 부산에 있는 유명한 바닷가입니다."),
    ("대한민국에서 두 번째로 큰 도시는 어디입니까?", "부산입니다.", "부산은 대한민국에서 두 번째로 큰 도시이며 큰 항구가 있습니다."),
    ("올림픽은 몇 년마다 열립니까?", "4년마다 열립니다.", "올림픽은 4년마다 열리는 세계적인 운동 경기입니다."),
    ("서울 올림픽은 언제 열렸습니까?", "1988년에 열렸습니다.", "1988년에 서울에서 올림픽이 열렸습니다."),
    ("축구는 한 팀이 몇 명입니까?", "열한 명입니다.", "축구는 한 팀에 열한 명이 뛰는 경기입니다."),
    ("야구는 한 팀이 몇 명입니까?", "아홉 명입니다.", "야구는 한 팀에 아홉 명이 수비를 하는 경기입니다."),
    ("바둑돌의 색은 무엇입니까?", "검은색과 하얀색입니다.", "바둑은 검은 돌과 흰 돌로 두는 놀이입니다."),
    ("피아노의 건반은 모두 몇 개입니까?", "88개입니다.", "피아노에는 건반이 88개 있습니다."),
    ("가장 작은 자연수는 무엇입니까?", "1입니다.", "자연수는 1부터 시작합니다."),
    ("빛과 소리 가운데 어느 것이 더 빠릅니까?", "빛이 더 빠릅니다.", "빛은 소리보다 훨씬 빠르므로 번개가 천둥보다 먼저 보입니다."),
    ("컴퓨터가 쓰는 두 숫자는 무엇입니까?", "0과 1입니다.", "컴퓨터는 모든 것을 0과 1로 나타냅니다."),
]


def _plain_forms(question: str) -> tuple[str, ...]:
    """The formal question and its friendlier forms."""
    forms = [question]
    for formal, soft in (("입니까?", "인가요?"), ("였습니까?", "였나요?"), ("습니까?", "나요?")):
        if question.endswith(formal):
            forms.append(question[:-len(formal)] + soft)
            break
    if question.endswith("무엇입니까?"):
        forms += [question[:-6] + "뭐예요?", question[:-6] + "무엇이에요?"]
    if question.endswith("어디입니까?"):
        forms += [question[:-6] + "어디예요?", question[:-6] + "어디야?"]
    if question.endswith("누구입니까?"):
        forms += [question[:-6] + "누구예요?", question[:-6] + "누구야?"]
    return tuple(forms)


def capital(r: random.Random) -> Fact:
    country = Word("대한민국" if r.random() < 0.08 else r.choice(list(CAPITALS)))
    city = Word(CAPITALS[country])
    if r.random() < 0.15:
        return Fact((f"{city:은} 어느 나라의 수도입니까?", f"{city:은} 어느 나라의 수도인가요?"), (f"{city:은} {country}의 수도입니다.", f"{country}입니다."), city)
    return Fact((*_plain_forms(f"{country}의 수도는 어디입니까?"), f"{country} 수도가 어디야?", f"{country}의 수도를 알려 주세요.", f"{country}의 수도를 말해 줘."),
                (f"{country}의 수도는 {city}입니다.", f"{city}입니다.", f"{country}의 수도는 {city:이에요}."), country)


def continent(r: random.Random) -> Fact:
    name = r.choice(list(CONTINENT))
    country = r.choice(CONTINENT[name])
    return Fact((f"{country:은} 어느 대륙에 있습니까?", f"{country:은} 어느 대륙에 있나요?", f"{country:이} 있는 대륙은 어디예요?"),
                (f"{country:은} {name}에 있습니다.", f"{name}에 있습니다."), country)


def animal(r: random.Random) -> Fact:
    which = r.randrange(4)
    if which == 0:
        creature, sound = r.choice(list(SOUNDS.items()))
        subject = Word(creature)
        return Fact((f"{subject:은} 어떻게 웁니까?", f"{subject:은} 어떻게 우나요?", f"{creature} 울음소리를 흉내 내 줘."),
                    (f"{subject:은} {Word(sound)} 하고 웁니다.", f"{sound} 하고 웁니다."), creature)
    if which == 1:
        creature, baby = r.choice(list(BABIES.items()))
        return Fact((f"{creature}의 새끼는 무엇이라고 부릅니까?", f"{creature}의 새끼를 뭐라고 해요?"), (f"{creature}의 새끼는 {Word(baby):이라고} 합니다.", f"{baby}입니다."), creature)
    if which == 2:
        legs = r.choice(list(LEGS))
        creature = r.choice(LEGS[legs])
        return Fact((f"{creature}의 다리는 몇 개입니까?", f"{creature:은} 다리가 몇 개예요?"),
                    (f"{creature}의 다리는 {counting_number(legs)} 개입니다.", f"{counting_number(legs)} 개입니다."), creature)
    kind = r.choice(list(KINDS))
    creature = r.choice(KINDS[kind])
    return Fact((f"{creature:은} 어떤 동물에 속합니까?", f"{creature:은} 어떤 종류의 동물인가요?"), (f"{creature:은} {kind}에 속합니다.", f"{kind}입니다."), creature)


def colour(r: random.Random) -> Fact:
    if r.random() < 0.3:
        a, b, mixed = r.choice(MIXES)
        first, second = (a, b) if r.random() < 0.5 else (b, a)
        return Fact((f"{Word(first):과} {Word(second):을} 섞으면 무슨 색이 됩니까?", f"{Word(first):과} {Word(second):을} 섞으면 무슨 색이 돼요?"),
                    (f"{Word(first):과} {Word(second):을} 섞으면 {Word(mixed):이} 됩니다.", f"{Word(mixed):이} 됩니다."), mixed)
    thing, shade = r.choice(list(COLOUR_OF.items()))
    subject = Word(thing)
    return Fact((f"{subject:은} 무슨 색입니까?", f"{subject:은} 무슨 색이에요?", f"{thing}의 색은 무엇인가요?"), (f"{subject:은} {shade}입니다.", f"{shade}입니다."), thing)


def food(r: random.Random) -> Fact:
    if r.random() < 0.35:
        thing, taste = r.choice(list(TASTES.items()))
        return Fact((f"{Word(thing):은} 어떤 맛이 납니까?", f"{Word(thing):은} 무슨 맛이에요?"), (f"{Word(thing):은} {Word(taste):이} 납니다.", f"{taste}입니다."), thing)
    thing, parts = r.choice(list(FOOD_OF.items()))
    return Fact((f"{Word(thing):은} 무엇으로 만듭니까?", f"{Word(thing):은} 무엇으로 만드나요?", f"{thing}의 재료는 무엇이에요?"),
                (f"{Word(thing):은} {Word(parts):로} 만듭니다.", f"{Word(parts):로} 만듭니다."), thing)


def use(r: random.Random) -> Fact:
    if r.random() < 0.5:
        job, what = r.choice(list(TOOLS.items()))
        return Fact((f"{Word(job):은} 어떤 사람입니까?", f"{Word(job):이란} 어떤 사람인가요?", f"{Word(job):은} 어떤 사람이에요?"), (f"{Word(job):은} {what}입니다.", f"{what}입니다."), job)
    thing, when = r.choice(list(THINGS_FOR.items()))
    return Fact((f"{Word(thing):은} 언제 씁니까?", f"{Word(thing):은} 언제 쓰나요?", f"{thing:s}, 어디에 쓰는 물건이에요?"), (f"{Word(thing):은} {when} 씁니다.", f"{when} 씁니다."), thing)


def word(r: random.Random) -> Fact:
    which = r.randrange(3)
    if which == 0:
        a, b = r.choice(OPPOSITES)
        if r.random() < 0.5:
            a, b = b, a
        return Fact((f"'{a}'의 반대말은 무엇입니까?", f"'{a}'의 반대말은 뭐예요?", f"'{a}'의 반대말을 알려 줘."),
                    (f"'{a}'의 반대말은 '{b}'입니다.", f"'{b}'입니다."), a)
    if which == 1:
        korean, english = r.choice(list(ENGLISH.items()))
        if r.random() < 0.4:
            return Fact((f"'{english}'의 뜻은 무엇입니까?", f"{english} 뜻이 뭐예요?"), (f"'{english}'의 뜻은 '{korean}'입니다.", f"'{korean}'입니다."), english)
        return Fact((f"'{korean}'의 영어 단어는 무엇입니까?", f"{Word(korean):을} 영어로 뭐라고 해요?", f"{Word(korean):은} 영어로 뭐야?"),
                    (f"{Word(korean):은} 영어로 {english}입니다.", f"{english}입니다."), korean)
    number = r.randint(1, 99)
    if r.random() < 0.5:
        return Fact((f"{Word(number):을} 한글로 어떻게 읽습니까?", f"숫자 {Word(number):을} 한글로 써 줘."), (f"{Word(number):은} '{sino_number(number)}'입니다.", f"'{sino_number(number)}'입니다."), str(number))
    return Fact((f"{Word(number):을} 우리말 수로 세면 무엇입니까?", f"{Word(number):을} 우리말로 세어 줘."), (f"{Word(number):은} '{native_number(number)}'입니다.", f"'{native_number(number)}'입니다."), str(number))


def season(r: random.Random) -> Fact:
    which = r.randrange(3)
    name, (feel, months, flowers) = r.choice(list(SEASON_FACTS.items()))
    subject = Word(name)
    if which == 0:
        return Fact((f"{subject:은} 몇 월부터 몇 월까지입니까?", f"{subject:은} 언제예요?"), (f"{subject:은} {months}입니다.", f"보통 {months}입니다."), name)
    if which == 1:
        return Fact((f"{name} 날씨는 어떻습니까?", f"{name} 날씨는 어때요?"), (f"{name} 날씨는 {feel}.", f"{subject:은} {feel}."), name)
    return Fact((f"{name}에는 어떤 꽃이 핍니까?", f"{name}에 피는 꽃을 알려 주세요."), (f"{name}에는 {Word(flowers):이} 핍니다.", f"{Word(flowers):이} 핍니다."), name)


def holiday(r: random.Random) -> Fact:
    name, (month, day) = r.choice(list(HOLIDAYS.items()))
    if r.random() < 0.3:
        return Fact((f"{month}월 {day}일은 무슨 날입니까?", f"{month}월 {day}일은 무슨 날이에요?"), (f"{month}월 {day}일은 {name}입니다.", f"{name}입니다."), name)
    return Fact((f"{Word(name):은} 언제입니까?", f"{Word(name):은} 몇 월 며칠이에요?", f"{Word(name):은} 언제야?"), (f"{Word(name):은} {month}월 {day}일입니다.", f"{month}월 {day}일입니다."), name)


def plain(r: random.Random) -> Fact:
    question, short, statement = r.choice(PLAIN)
    return Fact(_plain_forms(question), (short, statement, f"{short} {statement}"), question)


def paragraph(r: random.Random) -> tuple[str, str]:
    """A few sentences about one thing: (key, text)."""
    which = r.randrange(4)
    if which == 0:
        name = r.choice(list(CONTINENT))
        country = Word("대한민국") if r.random() < 0.15 else r.choice(CONTINENT[name])
        name, city = ("아시아", Word("서울")) if country == "대한민국" else (name, Word(CAPITALS[country]))
        sentences = [r.choice([f"{country:은} {name}에 있는 나라입니다.", f"{country:은} {name}의 나라입니다."]), f"{country}의 수도는 {city}입니다."]
        r.shuffle(sentences)
        if country == "대한민국":
            sentences += r.sample(["서울에는 한강이 흐릅니다.", "서울에는 경복궁과 남산이 있습니다.", "대한민국에서 가장 높은 산은 한라산입니다.", "두 번째로 큰 도시는 부산입니다.",
                                   "대한민국의 국화는 무궁화입니다.", "대한민국 사람들은 한국어를 씁니다."], r.randint(1, 4))
        elif r.random() < 0.6:
            sentences.append(r.choice([f"{city}에는 많은 사람이 삽니다.", f"많은 여행자가 {city:을} 찾습니다.", f"언젠가 {city}에 가 보고 싶습니다."]))
        return f"{country}{len(sentences)}{sentences[-1]}", " ".join(sentences)
    if which == 1:
        name, (feel, months, flowers) = r.choice(list(SEASON_FACTS.items()))
        doing = {"봄": "들판에 새싹이 돋고 새들이 노래합니다", "여름": "사람들은 바다와 계곡으로 놀러 갑니다", "가을": "나뭇잎이 빨갛고 노랗게 물듭니다", "겨울": "하얀 눈이 내리고 강물이 꽁꽁 업니다"}[name]
        sentences = [f"{Word(name):은} {months}입니다.", f"{name}에는 날씨가 {feel}.", f"{name}에는 {Word(flowers):이} 핍니다.", f"{Word(name):이} 되면 {doing}."]
        chosen = r.sample(sentences, r.randint(2, 4))
        return "".join(chosen), " ".join(chosen)
    if which == 2:
        kind = r.choice(list(KINDS))
        first, second, third = r.sample(KINDS[kind], 3) if len(KINDS[kind]) > 2 else (*KINDS[kind], KINDS[kind][0])
        about = {"포유류": "새끼에게 젖을 먹여 기릅니다", "조류": "몸이 깃털로 덮여 있고 알을 낳습니다", "파충류": "피부가 비늘로 덮여 있고 대부분 알을 낳습니다",
                 "양서류": "어릴 때는 물에서 살고 자라면 땅에서도 삽니다", "어류": "물속에서 아가미로 숨을 쉽니다", "곤충": "다리가 여섯 개이고 몸이 머리, 가슴, 배로 나뉩니다"}[kind]
        return f"{first}{second}{third}", f"{first:과} {second}, 그리고 {third:은} {kind}입니다. {Word(kind):은} {about}."
    name, (month, day) = r.choice(list(HOLIDAYS.items()))
    about = {"삼일절": "1919년의 독립 만세 운동을 기념하는 날입니다", "어린이날": "어린이의 행복을 위한 날입니다", "어버이날": "부모님께 감사하는 날입니다", "현충일": "나라를 위해 목숨을 바친 분들을 기리는 날입니다",
             "광복절": "1945년에 나라를 되찾은 것을 기념하는 날입니다", "개천절": "단군이 나라를 세운 것을 기념하는 날입니다", "한글날": "한글이 만들어진 것을 기념하는 날입니다", "성탄절": "예수의 탄생을 기념하는 날입니다",
             "식목일": "나무를 심는 날입니다", "스승의 날": "선생님께 감사하는 날입니다", "제헌절": "헌법이 만들어진 것을 기념하는 날입니다"}[name]
    end = r.choice(["", f" {month}월에는 {Word(name):이} 있습니다."])
    return f"{name}{len(end)}{r.randrange(4)}", f"{Word(name):은} {month}월 {day}일입니다. {Word(name):은} {about}.{end}"


KINDS_OF_FACT = [capital, capital, continent, animal, animal, colour, food, use, word, word, season, holiday, plain, plain, plain, plain]


def fact(r: random.Random) -> Fact:
    return r.choice(KINDS_OF_FACT)(r)
