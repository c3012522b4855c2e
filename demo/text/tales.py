"""More plots: fables, seasons and daily life. Importing this module adds them to the plots of `stories`."""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
from .korean import Word, counting_number, words
from .stories import (
    ANIMALS,
    COLOURS,
    ELDERS,
    FEELINGS,
    FLOWERS,
    FOODS,
    FRUITS,
    GOOD_TRAITS,
    LATER,
    NAMES,
    OPENINGS,
    PLACES,
    SAD,
    THINGS,
    TRAITS,
    WILD,
    Story,
    plot,
    two,
)


@plot
def snow(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, friend), place = two(r, NAMES), r.choice(["마당", "운동장", "공원", "골목", "언덕"])
    colour = r.choice(COLOURS)
    s.say(f"겨울 아침, {hero:이} 창문을 열자 온 세상이 하얬{e}.", f"밤사이 눈이 많이 내렸{e}.", f"올해 첫눈이 내린 날이었{e}.")
    s.say(f"{hero:은} 장갑을 끼고 {Word(place):로} 뛰어나갔{e}.", f"{hero:은} 두꺼운 옷을 입고 {Word(place):로} 나갔{e}.")
    s.say(f"{friend}도 벌써 나와 있었{e}.",
          f"{hero:은} {friend:을} 불렀{e}. \"{friend:아}, 눈사람 만들자!\"")
    s.say(f"두 사람은 눈을 굴려 커다란 눈사람을 만들었{e}.", f"두 사람은 눈을 뭉쳐 머리와 몸을 만들었{e}.")
    s.say(f"당근으로 코를 만들고 돌멩이로 눈을 만들었{e}.", f"나뭇가지로 팔을 만들고 단추로 눈을 붙였{e}.")
    s.say(f"{hero:은} 눈사람에게 {colour} 목도리를 둘러 주었{e}.", f"{friend:은} 눈사람에게 {colour} 모자를 씌워 주었{e}.")
    s.maybe(f"손이 시렸지만 두 사람은 {r.choice(FEELINGS)}{e}.", f"지나가던 강아지가 눈사람을 보고 멍멍 짖었{e}.")
    s.say(f"집에 돌아와서 따뜻한 {r.choice(['우유', '코코아', '유자차', '보리차', '식혜'])}" + f"를 마셨{e}.")
    s.say(f"다음 날 해가 뜨자 눈사람은 조금씩 녹았{e}. {hero:은} 내년 겨울을 기다리기로 했{e}.", f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, friend, place, colour


@plot
def cooking(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, elder, food = r.choice(NAMES), r.choice(ELDERS), r.choice(FOODS)
    guest = r.choice([n for n in NAMES if n != hero])
    s.say(f"{hero:은} {elder:과} 함께 {food:을} 만들기로 했{e}.", f"\"오늘은 {food:을} 만들어 볼까?\" {elder:이} {hero}에게 물었{e}.")
    s.say(f"두 사람은 먼저 손을 깨끗이 씻었{e}.", f"먼저 재료를 깨끗이 씻고 가지런히 놓았{e}.")
    s.say(f"{elder:은} 칼로 재료를 썰고 {hero:은} 그릇을 준비했{e}.", f"{hero:은} {elder:이} 하는 것을 잘 보고 따라 했{e}.")
    s.say(f"부엌에 맛있는 냄새가 가득했{e}.", f"냄비에서 하얀 김이 모락모락 올라왔{e}.")
    s.maybe(f"{hero:은} 실수로 소금을 너무 많이 넣었{e}. 하지만 {elder:은} 물을 더 넣으면 된다고 말했{e}.")
    s.say(f"드디어 {food:이} 완성되었{e}.", f"한 시간이 지나자 {food:이} 다 되었{e}.")
    s.say(f"{hero:은} 친구 {guest:을} 불러서 함께 먹었{e}.", f"이웃에 사는 {guest:이} 놀러 와서 같이 먹었{e}.")
    s.say(f"\"정말 맛있다!\" {guest:이} 말했{e}.", f"{guest:은} {food:을} 두 그릇이나 먹었{e}.")
    s.say(f"{hero:은} {r.choice(FEELINGS)}{e}.", f"{hero:은} 다음에는 {r.choice([f for f in FOODS if f != food]):을} 만들어 보고 싶었{e}.")
    return hero, food, guest, elder


@plot
def stars(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, elder, place = r.choice(NAMES), r.choice(ELDERS), r.choice(["옥상", "마당", "언덕", "들판", "바닷가"])
    wish = r.choice(["가족이 모두 건강하게", "친구와 다시 만나게", "시험을 잘 보게", "강아지를 키우게", "훌륭한 과학자가 되게", "책을 쓰는 사람이 되게"])
    s.say(f"어느 맑은 밤, {hero:은} {elder:과} {Word(place)}에 누워 별을 보았{e}.", f"{hero:은} 잠이 오지 않아서 {Word(place):로} 나갔{e}. {elder:이} 따라 나왔{e}.")
    s.say(f"하늘에는 별이 셀 수 없이 많았{e}.", f"까만 하늘에 별이 보석처럼 반짝였{e}.")
    s.say(f"\"저 별은 이름이 뭐예요?\" {hero:이} 물었{e}.", f"{hero:은} 손가락으로 가장 밝은 별을 가리켰{e}.")
    s.say(f"\"저것은 북극성이란다. 언제나 북쪽을 알려 주지.\" {elder:이} 대답했{e}.", f"\"저기 국자처럼 생긴 것이 북두칠성이란다.\" {elder:이} 말했{e}.")
    s.say(f"그때 별똥별 하나가 길게 떨어졌{e}.", f"그 순간 하늘에서 별똥별이 떨어졌{e}.")
    s.say(f"{hero:은} 얼른 눈을 감고 {wish} 해 달라고 빌었{e}.")
    s.maybe(f"{elder:은} {hero}의 어깨에 담요를 덮어 주었{e}.", f"멀리서 개구리 우는 소리가 들렸{e}.")
    s.say(f"{hero:은} 그 밤을 오래 기억했{e}.", f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, elder, place, wish


@plot
def honest(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, owner), place = two(r, NAMES), r.choice(PLACES)
    thing = r.choice(words("지갑 가방 시계 반지 열쇠 손수건"))
    s.say(f"{hero:은} {place}에서 낡은 {thing:을} 주웠{e}.", f"{r.choice(['어느 날', '하루는', '저녁 무렵'])} {hero:은} {place}에서 {thing:을} 발견했{e}.")
    s.say(f"주위를 둘러보았지만 아무도 없었{e}.", f"누구의 것인지 알 수 없었{e}.")
    s.say(f"{hero:은} 잠깐 망설였{e}. 하지만 주인이 찾고 있을 것이라고 생각했{e}.", f"\"주인이 얼마나 걱정하고 있을까?\" {hero:은} 생각했{e}.")
    s.say(f"{hero:은} {thing:을} 들고 파출소로 갔{e}.", f"{hero:은} 그 자리에서 주인을 기다렸{e}.")
    s.say(f"{r.choice(LATER)} 한 사람이 급하게 달려왔{e}. {owner:이었}{e}.", f"{r.choice(LATER)} {owner:이} 울먹이며 나타났{e}.")
    s.say(f"\"혹시 {thing:을} 못 보셨어요?\" {owner:이} 물었{e}.", f"\"제 {thing:을} 찾고 있어요.\" {owner:이} 말했{e}.")
    s.say(f"{hero:은} {owner}에게 {thing:을} 돌려주었{e}.", f"\"여기 있어요.\" {hero:이} {thing:을} 내밀었{e}.")
    s.say(f"{owner:은} 몇 번이나 고맙다고 인사했{e}.", f"{owner:은} 고마운 마음에 {r.choice(FRUITS):을} 나누어 주었{e}.")
    s.say(f"{hero:은} 정직하게 행동한 것이 {r.choice(['뿌듯했', '자랑스러웠', '기뻤'])}{e}.", f"그날 {hero:은} 발걸음이 가벼웠{e}.")
    return hero, owner, thing, place


@plot
def leaving_home(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    trait, (animal, helper), wild = r.choice(TRAITS[:6]), two(r, ANIMALS), r.choice(WILD)
    dream = r.choice(["바다를 보는 것", "가장 높은 산에 오르는 것", "무지개 끝을 찾는 것", "넓은 세상을 구경하는 것", "눈을 처음 만져 보는 것"])
    s.say(f"{r.choice(OPENINGS[:3])} {wild}에 {trait} {animal:이} 살았{e}.", f"{wild}에 {trait} {animal:이} 한 마리 있었{e}.")
    s.say(f"{animal}의 꿈은 {dream}이었{e}.")
    s.say(f"어느 날 {animal:은} 작은 보따리를 메고 길을 떠났{e}.", f"어느 봄날 {animal:은} 용기를 내어 집을 나섰{e}.")
    s.say(f"길에서 {animal:은} {helper:을} 만났{e}.",
          f"한참을 걷다가 {animal:은} 배고픈 {helper:을} 만났{e}. {animal:은} 가지고 있던 {r.choice(FRUITS):을} 나누어 주었{e}.")
    s.say(f"\"어디로 가니?\" {helper:이} 물었{e}. \"내 꿈을 찾으러 가.\" {animal:이} 대답했{e}.")
    s.say(f"\"나도 같이 갈래.\" {helper:이} 말했{e}. 그래서 둘은 함께 걸었{e}.", f"{helper:은} {animal}에게 길을 알려 주기로 했{e}.")
    s.say(f"둘은 강을 건너고 고개를 넘었{e}.", f"비가 오면 바위 밑에서 쉬고 해가 나면 다시 걸었{e}.")
    s.maybe(f"밤이 되면 무서웠지만 서로 손을 꼭 잡았{e}.", f"가끔은 {r.choice(SAD)}지만 포기하지 않았{e}.")
    s.say(f"마침내 {animal:은} 꿈을 이루었{e}.", f"여러 날이 지나고 {animal:은} 드디어 꿈을 이루었{e}.")
    s.say(f"\"와, 정말 아름답다!\" {animal:이} 외쳤{e}.", f"{animal:은} 기뻐서 눈물이 났{e}.")
    s.moral(f"{animal:과} {helper:은}")
    return animal, helper, wild, trait


@plot
def greedy(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    rich, poor = r.choice([("부자 영감", "가난한 농부"), ("욕심쟁이 형", "착한 동생"), ("욕심 많은 상인", "정직한 나무꾼"), ("심술궂은 이웃", "마음씨 고운 할머니")])
    rich_word, poor_word = Word(rich), Word(poor)
    animal, fruit = r.choice(words("제비 까치 학 두루미 사슴 잉어 거북이")), r.choice(words("박 호박 복숭아 감 참외 수박"))
    s.say(f"{r.choice(OPENINGS)} {rich_word:과} {poor_word:이} 살았{e}.")
    s.say(f"{rich_word:은} 쌀이 많았지만 남에게 한 톨도 나누어 주지 않았{e}.", f"{poor_word:은} 가진 것이 없어도 언제나 남을 도왔{e}.")
    s.say(f"어느 날 {poor_word:은} 다친 {animal:을} 정성껏 돌보아 주었{e}.", f"어느 추운 날 {poor_word:은} 쓰러진 {animal:을} 살려 주었{e}.")
    s.say(f"{animal:은} 고맙다며 씨앗 하나를 주었{e}. {poor_word:은} 그 씨앗을 마당에 심었{e}.")
    s.say(f"가을이 되자 커다란 {fruit:이} 열렸{e}. {fruit} 속에서 금과 은이 쏟아져 나왔{e}.", f"씨앗은 자라서 큰 {fruit:이} 되었{e}. 그 안에는 보물이 가득했{e}.")
    s.say(f"이 소식을 들은 {rich_word:은} 샘이 났{e}.", f"{rich_word:은} 배가 아파서 잠을 잘 수 없었{e}.")
    s.say(f"{rich_word:은} 멀쩡한 {animal:을} 잡아 일부러 다치게 했{e}. 그리고 치료하는 척했{e}.")
    s.say(f"{rich_word:이} 얻은 {fruit} 속에서는 벌 떼가 나왔{e}.", f"그러나 {rich_word}의 {fruit} 속에서는 흙탕물만 쏟아졌{e}.")
    s.say(f"{rich_word:은} 그제야 잘못을 뉘우쳤{e}. {poor_word:은} {rich_word:을} 용서해 주었{e}.")
    s.maybe(f"그 뒤로 두 사람은 서로 도우며 살았{e}.", f"마을 사람들은 욕심을 부리면 안 된다는 것을 배웠{e}.")
    return rich, animal, fruit


@plot
def letter(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, family = r.choice(NAMES), r.choice(words("할머니 할아버지 이모 삼촌 고모"))
    city, fruit = r.choice(words("강릉 여수 제주도 안동 춘천 목포 속초 남원 공주 진주")), r.choice(FRUITS)
    month, day = r.randint(1, 12), r.randint(1, 28)
    s.say(f"{hero:은} {city}에 사시는 {family}께 편지를 썼{e}.")
    s.say(f"\"보고 싶은 {family}께. 안녕하세요? 저 {hero:이에요}. 그동안 건강하셨어요?", f"\"사랑하는 {family}께. {family}, 저 {hero:이에요}. 잘 지내고 계세요?")
    s.say("저는 학교에 잘 다니고 있어요.", "저는 요즘 책을 많이 읽어요.", "여기는 날씨가 많이 따뜻해졌어요.", "저는 키가 조금 더 컸어요.")
    s.say(f"지난번에 보내 주신 {fruit:은} 정말 맛있게 먹었어요.", f"{family:이} 만들어 주신 {r.choice(FOODS):이} 생각나요.")
    s.say("방학이 되면 꼭 놀러 갈게요.", f"다음 달에 {city}에 가면 같이 산책해요.")
    s.say(f"그때까지 건강하세요. {month}월 {day}일, {hero} 올림.\"")
    s.say(f"며칠 뒤 {family}께서 답장을 보내 주셨{e}.", f"일주일 뒤에 반가운 답장이 왔{e}.")
    s.say(f"답장 속에는 작은 {r.choice(FLOWERS)} 꽃잎이 들어 있었{e}.", f"{hero:은} 답장을 읽고 또 읽었{e}.")
    s.say(f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, family, city, fruit


@plot
def stray(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, place = r.choice(NAMES), r.choice(PLACES)
    animal = r.choice(words("강아지 고양이 토끼 참새 다람쥐 오리"))
    name = r.choice(words("초롱이 구름이 콩이 보리 달이 별이 밤이 두부 호두 까미 뭉치 솔이"))
    colour = r.choice(words("하얀 까만 갈색 노란 회색 얼룩무늬"))
    s.setting()
    s.say(f"{hero:은} {place}에서 {colour} {animal} 한 마리를 보았{e}.")
    s.say(f"{animal:은} 다리를 다쳐서 걷지 못했{e}.", f"{animal:은} 배가 고픈지 힘없이 앉아 있었{e}.", f"{animal:은} 길을 잃은 것 같았{e}.")
    s.say(f"{hero:은} {animal:을} 품에 안고 집으로 왔{e}.", f"{hero:은} {animal}에게 물과 먹이를 주었{e}.")
    s.say(f"{hero:은} {animal}에게 {name:이라는} 이름을 지어 주었{e}.",
          f"\"오늘부터 너를 {name:이라고} 부를게.\" {hero:이} 말했{e}.")
    s.say(f"{name:은} {hero:을} 아주 잘 따랐{e}.", f"{name:은} 날마다 조금씩 기운을 차렸{e}.")
    s.say(f"{hero:이} 학교에서 돌아오면 {name:이} 가장 먼저 반겼{e}.", f"밤이 되면 {name:은} {hero}의 발밑에서 잠을 잤{e}.")
    s.maybe(f"어느 날 {name:이} 사라져서 {hero:은} {r.choice(SAD)}{e}. 하지만 {name:은} 저녁에 다시 돌아왔{e}.")
    s.moral(f"{hero:과} {name:은}")
    return hero, animal, name, place


@plot
def library(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, friend = two(r, NAMES)
    topic = r.choice(words("공룡, 별, 바다, 곤충, 우주, 로봇, 옛이야기, 식물, 화산, 세계 여러 나라"))
    count = r.randint(2, 6)
    s.say(f"{hero:은} 책 읽기를 아주 좋아했{e}.", f"{hero:은} 토요일마다 도서관에 갔{e}.")
    s.say(f"어느 날 {hero:은} 도서관에서 {topic}에 관한 책을 찾았{e}.", f"그날은 {topic}에 관한 책을 {counting_number(count)} 권 빌렸{e}.")
    s.say(f"책 속에는 신기한 그림이 가득했{e}.", f"{hero:은} 시간이 가는 줄도 모르고 책을 읽었{e}.")
    s.say(f"옆자리에 앉은 {friend}도 같은 책을 읽고 있었{e}.", f"그때 {friend:이} 다가와 물었{e}. \"너도 {Word(topic):을} 좋아해?\"")
    s.say(f"두 사람은 {topic}에 대해 오래 이야기했{e}.", f"\"응, 나는 {topic} 이야기가 제일 재미있어.\" {hero:이} 대답했{e}.")
    s.say(f"{hero:과} {friend:은} 금세 친구가 되었{e}.", f"두 사람은 다음 주에도 도서관에서 만나기로 했{e}.")
    s.maybe(f"집에 돌아온 {hero:은} 책에서 본 것을 공책에 적었{e}.")
    s.say(f"{hero:은} 커서 {topic}에 관한 책을 쓰고 싶었{e}.", f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, friend, topic


@plot
def diary(s: Story) -> tuple[str, ...]:
    r = s.random
    s.e = e = r.choice(["다", "다", "습니다"])
    me = Word("나는" if e == "다" else "저는")
    friend, place, food = r.choice(NAMES), r.choice(PLACES), r.choice(FOODS)
    month, day = r.randint(1, 12), r.randint(1, 28)
    weather = r.choice(["맑았", "흐렸", "따뜻했", "쌀쌀했", "아주 더웠" if 5 < month < 10 else "조금 추웠"])
    s.say(f"{month}월 {day}일. 오늘은 날씨가 {weather}{e}.", f"오늘은 날씨가 {weather}{e}.", f"오늘은 아침 일찍 일어났{e}. 날씨가 {weather}{e}.")
    s.say(f"{me} 아침을 먹고 {Word(place):로} 갔{e}.", f"{me} {friend:과} {place}에서 만나기로 했{e}.", f"오전에는 집에서 책을 읽었{e}. 오후에는 {place}에 갔{e}.")
    s.say(f"{place}에서 {friend:을} 만났{e}.", f"{friend:이} 먼저 와서 기다리고 있었{e}.")
    s.say(f"우리는 함께 {r.choice(['공놀이를 했', '그림을 그렸', '사진을 찍었', '자전거를 탔', '꽃을 구경했', '숨바꼭질을 했', '노래를 불렀'])}{e}.")
    s.say(f"점심에는 {food:을} 먹었{e}. 참 맛있었{e}.", f"배가 고파서 {food:을} 나누어 먹었{e}.")
    s.maybe(f"돌아오는 길에 {r.choice(ANIMALS[12:] + FLOWERS):을} 보았{e}.", f"저녁에는 가족과 이야기를 나누었{e}.", f"집에 와서 숙제를 하고 {r.choice(THINGS):을} 정리했{e}.")
    s.say(f"오늘은 정말 즐거운 하루였{e}.", f"내일도 오늘처럼 좋은 날이면 좋겠다고 생각했{e}.", f"{friend:과} 함께 있어서 {r.choice(FEELINGS)}{e}.")
    return friend, place, food, str(month), str(day)


@plot
def village(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    trait, hero, problem = r.choice(GOOD_TRAITS), r.choice(NAMES), r.choice(["가뭄", "홍수", "산불", "큰 눈", "흉년"])
    what = {"가뭄": "석 달 동안 비가 한 방울도 오지 않았", "홍수": "강물이 넘쳐 다리가 떠내려갔", "산불": "뒷산에 불이 나서 나무가 많이 탔",
            "큰 눈": "눈이 허리까지 쌓여 길이 막혔", "흉년": "벼가 익지 않아 먹을 것이 모자랐"}[problem]
    answer = {"가뭄": "산 너머 샘에서 물길을 내자고", "홍수": "모두 힘을 모아 돌다리를 놓자고", "산불": "한 사람이 한 그루씩 나무를 심자고",
              "큰 눈": "집집마다 나와서 함께 길을 내자고", "흉년": "곳간의 곡식을 똑같이 나누자고"}[problem]
    s.say(f"{r.choice(['옛날 어느 마을에', '강가의 작은 마을에', '산 아래 작은 마을에'])} {hero:이라는} {trait} 아이가 살았{e}.")
    s.say(f"어느 해 마을에 {Word(problem):이} 들었{e}. {what}{e}." if problem in ("가뭄", "흉년") else f"어느 해 {what}{e}.")
    s.say(f"마을 사람들은 모두 {r.choice(SAD[:2])}{e}.", f"어른들은 한숨만 쉬었{e}.")
    s.say(f"그때 {hero:이} {answer} 말했{e}.")
    s.say(f"처음에는 아무도 {hero}의 말을 듣지 않았{e}.", f"사람들은 어린아이의 말이라며 고개를 저었{e}.")
    s.say(f"그러나 {hero:은} 혼자서 일을 시작했{e}.", f"{hero:은} 실망하지 않고 먼저 나섰{e}.")
    s.say(f"그 모습을 본 사람들이 하나둘 돕기 시작했{e}.", f"이튿날에는 열 사람이, 그다음 날에는 온 마을이 함께했{e}.")
    s.say(f"마침내 마을은 다시 평화로워졌{e}.", f"한 달 뒤 마을에는 웃음이 돌아왔{e}.")
    s.say(f"사람들은 {hero:을} 자랑스럽게 생각했{e}.", f"\"{hero:아}, 네 덕분이다.\" 어른들이 말했{e}.")
    return hero, trait, problem
