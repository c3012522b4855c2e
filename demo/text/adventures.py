"""Still more plots: school, sea, wise judges, robots. Importing this module adds them to the plots of `stories`."""

from __future__ import annotations

# tables of sentences: one entry a line would be a thousand lines
# fmt: off
from .korean import Word, words
from .stories import (
    ANIMALS,
    COLOURS,
    ELDERS,
    FEELINGS,
    FOODS,
    FRUITS,
    GOOD_TRAITS,
    LATER,
    NAMES,
    OPENINGS,
    SAD,
    THINGS,
    WILD,
    Story,
    plot,
    two,
)


@plot
def new_school(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, friend), city = two(r, NAMES), r.choice(words("서울 부산 대구 인천 광주 대전 강릉 전주"))
    play = r.choice(["줄넘기", "공기놀이", "술래잡기", "축구", "그림 그리기", "종이접기"])
    s.say(f"{hero:은} 봄에 {city}에 있는 학교로 전학을 갔{e}.", f"{hero:은} {city:로} 이사를 와서 새 학교에 가게 되었{e}.")
    s.say(f"아는 사람이 아무도 없어서 {hero:은} {r.choice(SAD)}{e}.", f"교실 문을 열 때 {hero}의 가슴은 콩닥콩닥 뛰었{e}.")
    s.say(f"\"안녕하세요. 저는 {hero:이라고} 합니다.\" {hero:은} 작은 목소리로 인사했{e}.", f"선생님은 {hero:을} 친구들에게 소개해 주셨{e}.")
    s.say(f"{hero:은} {friend}의 옆자리에 앉았{e}.", f"쉬는 시간에 {hero:은} 혼자 창밖만 보았{e}.")
    s.say(f"그때 {friend:이} 말을 걸었{e}. \"{hero:아}, 우리 같이 {play} 할래?\"", f"{r.choice(LATER)} {friend:이} 웃으며 다가왔{e}. \"나는 {friend:이야}. {play} 좋아해?\"")
    s.say(f"\"좋아!\" {hero:이} 대답했{e}.", f"{hero:은} 고개를 끄덕였{e}.")
    s.say(f"두 사람은 운동장에서 {Word(play):을} 했{e}.", f"다른 친구들도 하나둘 모여 함께 {Word(play):을} 했{e}.")
    s.say(f"점심시간에는 {r.choice(FOODS):이} 나왔{e}. {hero:과} {friend:은} 나란히 앉아 먹었{e}.", f"집에 가는 길도 {friend:과} 같은 방향이었{e}.")
    s.say(f"{hero:은} 새 학교가 좋아졌{e}.", f"그날 저녁 {hero:은} 가족에게 {friend} 이야기를 했{e}.")
    s.moral("두 사람은")
    return hero, friend, city, play


@plot
def sick_day(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    (hero, friend), elder = two(r, NAMES), r.choice(ELDERS)
    food = r.choice(words("팥죽 호박죽 전복죽 미역국 된장국 배숙"))
    s.say(f"{hero:은} 아침부터 머리가 아팠{e}.", f"{hero:은} 감기에 걸려 학교에 가지 못했{e}.")
    s.say(f"이마에 손을 대 보니 아주 뜨거웠{e}.", f"기침이 나고 목도 아팠{e}.")
    s.say(f"{elder:은} {hero:을} 데리고 병원에 갔{e}.", f"{elder:은} 걱정스러운 얼굴로 {hero}의 손을 잡아 주었{e}.")
    s.say(f"의사 선생님은 푹 쉬어야 한다고 말씀하셨{e}.", f"\"약을 잘 먹고 푹 쉬면 나을 거예요.\" 의사 선생님이 말씀하셨{e}.")
    s.say(f"집에 돌아와서 {elder:은} 따뜻한 {food:을} 끓여 주었{e}.", f"{hero:은} {food:을} 조금 먹고 약을 먹었{e}.")
    s.say(f"오후에 {friend:이} 찾아왔{e}. \"{hero:아}, 빨리 나아.\"", f"{friend:은} {hero}에게 오늘 배운 것을 적은 공책을 가져다주었{e}.")
    s.maybe(f"{friend:은} 직접 접은 종이꽃을 머리맡에 놓아 주었{e}.", f"{hero:은} 고마워서 눈물이 조금 났{e}.")
    s.say(f"며칠 뒤 {hero:은} 씩씩하게 학교에 갔{e}.", f"다음 날 아침 {hero:은} 몸이 한결 가벼웠{e}.")
    s.say(f"{hero:은} 건강이 얼마나 소중한지 알게 되었{e}.", f"{hero:은} {r.choice(FEELINGS)}{e}.")
    return hero, friend, elder, food


@plot
def judge(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    village = r.choice(words("강가, 산 아래, 바닷가, 언덕 위"))
    (first, second), animal = two(r, words("농부 상인 나무꾼 어부 대장장이 옹기장이")), r.choice(words("소 말 염소 당나귀 닭 거위"))
    wise = r.choice(words("원님 할머니 훈장 노인 아이"))
    s.say(f"{r.choice(OPENINGS[:3])} {village} 마을에서 {first:과} {second:이} 다투었{e}.", f"어느 날 {village} 마을의 {first:과} {second:이} {animal} 한 마리를 두고 싸웠{e}.")
    s.say(f"두 사람은 서로 그 {animal:이} 자기 것이라고 우겼{e}.", f"\"이 {animal:은} 내 것이오!\" {first:이} 말했{e}. \"아니오, 내 것이오!\" {second:이} 소리쳤{e}.")
    s.say(f"마을 사람들은 지혜로운 {wise}에게 물어보기로 했{e}.", f"두 사람은 마을의 지혜로운 {wise:을} 찾아갔{e}.")
    s.say(f"{wise:은} 한참 생각하더니 {animal:을} 풀어 주라고 했{e}.", f"{wise:은} 두 사람의 말을 끝까지 듣고 빙그레 웃었{e}. 그리고 {animal:을} 풀어 놓으라고 했{e}.")
    s.say(f"{animal:은} 곧장 {first}의 집으로 걸어갔{e}.", f"고삐가 풀린 {animal:은} 망설이지 않고 {first}의 집으로 들어갔{e}.")
    s.say(f"\"{animal:은} 제 주인의 집을 알고 있소.\" {wise:이} 말했{e}.", f"{wise:은} {animal:이} 거짓말을 하지 않는다고 말했{e}.")
    s.say(f"{second:은} 얼굴이 빨개져서 잘못을 빌었{e}.", f"{second:은} 고개를 숙이고 용서를 구했{e}.")
    s.say(f"{first:은} {second:을} 너그럽게 용서했{e}.", f"사람들은 {wise}의 지혜에 감탄했{e}.")
    s.maybe(f"그 뒤로 마을에서는 아무도 남의 것을 탐내지 않았{e}.")
    return first, second, animal, wise


@plot
def robot(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, job = r.choice(NAMES), r.choice(words("청소, 요리, 심부름, 꽃 가꾸기, 책 정리"))
    name = r.choice(words("반짝이 또봇이 삐삐 동글이 뚝딱이 씽씽이 로로 하루 누리 별이"))
    colour = r.choice(COLOURS)
    s.say(f"먼 미래에 {hero:은} {name:이라는} {colour} 로봇과 함께 살았{e}.", f"{hero}의 집에는 {name:이라는} {colour} 로봇이 있었{e}.")
    s.say(f"{name:은} {Word(job):을} 아주 잘했{e}.", f"{name}의 일은 {job:이었}{e}.")
    s.say(f"하지만 {name:은} 웃는 법을 몰랐{e}.", f"그런데 {name:은} 친구가 무엇인지 알지 못했{e}.")
    s.say(f"\"친구가 무엇입니까?\" {name:이} 물었{e}.", f"\"마음이 무엇입니까?\" 어느 날 {name:이} {hero}에게 물었{e}.")
    s.say(f"\"기쁠 때 함께 웃고 슬플 때 함께 있어 주는 거야.\" {hero:이} 대답했{e}.", f"{hero:은} 잠시 생각하다가 {name}의 차가운 손을 잡아 주었{e}.")
    s.say(f"며칠 뒤 {hero:이} 넘어져서 다리를 다쳤{e}. {name:은} 얼른 달려와 {hero:을} 업어 주었{e}.", f"어느 날 큰비가 내려 전기가 나갔{e}. {name:은} 가슴의 불을 켜서 {hero:을} 비추어 주었{e}.")
    s.say(f"\"고마워, {name:아}. 너는 내 친구야.\" {hero:이} 말했{e}.")
    s.say(f"그 순간 {name}의 얼굴에 처음으로 웃음이 떠올랐{e}.", f"{name:은} 가슴이 따뜻해지는 것을 느꼈{e}.")
    s.moral(f"{hero:과} {name:은}")
    return hero, name, job, colour


@plot
def sea(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, trait = r.choice(NAMES), r.choice(GOOD_TRAITS)
    creature = r.choice(words("고래 돌고래 거북이 문어 물개 갈매기"))
    treasure = r.choice(words("진주, 산호 목걸이, 소라 피리, 오래된 지도, 은빛 열쇠"))
    s.say(f"바닷가 마을에 {hero:이라는} {trait} 아이가 살았{e}.", f"{hero:은} 날마다 바닷가에 나가 파도를 바라보았{e}.")
    s.say(f"어느 날 {hero:은} 그물에 걸린 {creature:을} 보았{e}.", f"폭풍이 지나간 아침, 모래밭에 {creature:이} 쓰러져 있었{e}.")
    s.say(f"{hero:은} 조심조심 {creature:을} 도와 바다로 돌려보냈{e}.", f"{hero:은} 물을 떠다가 {creature:을} 살려 주었{e}.")
    s.say(f"\"고마워. 언젠가 꼭 은혜를 갚을게.\" {creature:이} 말했{e}.", f"{creature:은} 여러 번 뒤를 돌아보며 멀어졌{e}.")
    s.say(f"여름이 끝날 무렵 {hero}의 배가 큰 파도를 만났{e}.", f"얼마 뒤 {hero:은} 배를 타고 나갔다가 길을 잃었{e}.")
    s.say(f"그때 {creature:이} 나타나 배를 안전한 곳으로 이끌어 주었{e}.", f"무서워서 떨고 있을 때 {creature:이} 나타났{e}. 그리고 {hero:을} 마을까지 데려다주었{e}.")
    s.say(f"{creature:은} {hero}에게 {Word(treasure):을} 선물로 주고 떠났{e}.", f"헤어질 때 {creature:은} {Word(treasure):을} 남겼{e}.")
    s.maybe(f"{hero:은} 지금도 바다를 보면 {creature:을} 생각한다고 했{e}.")
    s.moral(f"{hero:과} {creature:은}")
    return hero, creature, treasure, trait


@plot
def picnic(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, friend = two(r, NAMES)
    third = r.choice([n for n in NAMES if n not in (hero, friend)])
    a, b = two(r, FOODS)
    place, fruit = r.choice(["동물원", "식물원", "강가의 공원", "산 아래 계곡", "넓은 잔디밭", "호숫가"]), r.choice(FRUITS)
    s.setting()
    s.say(f"{hero:은} {friend}, {third:과} 함께 {Word(place):로} 소풍을 갔{e}.", f"{hero}네 반은 {Word(place):로} 소풍을 갔{e}. {friend:과} {third}도 같은 모둠이었{e}.")
    s.say(f"{hero:은} {a:을} 싸 왔고 {friend:은} {b:을} 싸 왔{e}.", f"{hero}의 가방에는 {a:과} 물이 들어 있었{e}. {friend}의 가방에는 {b:이} 들어 있었{e}.")
    s.say(f"그런데 {third:은} 도시락을 집에 두고 왔{e}.", f"점심때가 되자 {third}의 얼굴이 어두워졌{e}. 도시락을 잊고 온 것이었{e}.")
    s.say(f"\"{third:아}, 우리 것을 나누어 먹자.\" {hero:이} 말했{e}.", f"{hero:과} {friend:은} {third}에게 자기 음식을 나누어 주었{e}.")
    s.say(f"세 사람은 {a:과} {b:을} 사이좋게 나누어 먹었{e}.", f"셋이 함께 먹으니 더 맛있었{e}.")
    s.say(f"{third:은} 고마워하며 {fruit:을} 꺼내 놓았{e}. 모두 세 개였{e}.", f"밥을 먹고 나서 세 사람은 {r.choice(['보물찾기를 했', '수건돌리기를 했', '꽃반지를 만들었', '사진을 찍었', '물수제비를 떴'])}{e}.")
    s.say(f"{third:은} 그날의 고마움을 잊지 않았{e}.", f"돌아오는 버스 안에서 모두 {r.choice(FEELINGS)}{e}.")
    return hero, friend, third, place


@plot
def magic(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, trait = r.choice(words("나무꾼 농부 옹기장이 대장장이 어부 소녀 소년 바느질꾼")), r.choice(GOOD_TRAITS)
    thing = r.choice(words("부채 맷돌 항아리 붓 방망이 거울 피리 주머니"))
    giver = r.choice(["흰 수염 할아버지", "산신령", "늙은 스님", "길 잃은 할머니", "작은 도깨비"])
    made = r.choice(words("쌀, 소금, 금, 떡, 약, 비단"))
    giver_word, made_word = Word(giver), Word(made)
    s.say(f"{r.choice(OPENINGS)} {trait} {hero:이} 살았{e}.")
    s.say(f"어느 날 {hero:은} 길에서 {giver_word:을} 만나 먹을 것을 나누어 주었{e}.", f"추운 겨울밤 {giver_word:이} {hero}의 집을 찾아왔{e}. {hero:은} 따뜻한 방을 내주었{e}.")
    s.say(f"{giver_word:은} 고맙다며 낡은 {thing:을} 주었{e}.", f"\"이 {thing:을} 받게. 꼭 필요할 때만 쓰게.\" {giver_word:이} 말했{e}.")
    s.say(f"그 {thing}에서는 {made_word:이} 끝없이 나왔{e}.", f"{hero:이} {thing:을} 세 번 두드리자 {made_word:이} 쏟아졌{e}.")
    s.say(f"{hero:은} {made_word:을} 가난한 이웃에게 나누어 주었{e}.", f"{hero:은} 꼭 필요한 만큼만 쓰고 나머지는 모두 나누었{e}.")
    s.say(f"욕심 많은 이웃이 그 소문을 듣고 {thing:을} 훔쳤{e}.", f"어느 날 욕심쟁이 부자가 {thing:을} 몰래 가져갔{e}.")
    s.say(f"그러나 {thing}에서는 {r.choice(['모래', '개구리', '검은 연기', '찬물'])}만 나왔{e}.", f"하지만 욕심을 부릴수록 {thing:은} 점점 무거워졌{e}.")
    s.say(f"깜짝 놀란 도둑은 {thing:을} 돌려주고 용서를 빌었{e}.", f"결국 {thing:은} 다시 {hero}에게 돌아왔{e}.")
    s.moral(f"마을 사람들과 {hero:은}")
    return hero, thing, giver, made


@plot
def clever_small(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    small, wild = r.choice(words("생쥐 다람쥐 참새 개미 토끼 두더지 고슴도치")), r.choice(WILD)
    big = r.choice(words("호랑이 곰 늑대 사자 멧돼지"))
    s.say(f"{r.choice(OPENINGS[:3])} {wild}에 힘센 {big:이} 살았{e}.", f"{wild}에 사는 {big:은} 날마다 작은 동물들을 괴롭혔{e}.")
    s.say(f"어느 날 {big:이} {small:을} 붙잡았{e}.", f"{small:은} 먹이를 찾다가 그만 {big:을} 만났{e}.")
    s.say(f"\"너를 잡아먹어야겠다.\" {big:이} 말했{e}.", f"{big:은} 입을 크게 벌리고 으르렁거렸{e}.")
    s.say(f"{small:은} 무서웠지만 꾀를 냈{e}.", f"{small:은} 떨리는 마음을 누르고 침착하게 생각했{e}.")
    trick = r.choice([("저 우물 속에 당신보다 힘센 짐승이 있어요", "우물"), ("저 굴속에 훨씬 맛있는 것이 숨어 있어요", "굴"), ("저 강 건너에 살찐 사슴이 많아요", "강")])
    s.say(f"\"{trick[0]}.\" {small:이} 말했{e}.")
    s.say({"우물": f"{big:은} 우물에 비친 제 모습을 보고 화가 나서 뛰어들었{e}.", "굴": f"{big:은} 좁은 굴에 머리를 넣었다가 꼼짝도 하지 못했{e}.", "강": f"{big:은} 욕심이 나서 깊은 강에 뛰어들었다가 멀리 떠내려갔{e}."}[trick[1]])
    s.say(f"그사이에 {small:은} 얼른 달아났{e}.", f"{small:은} 친구들에게 달려가 이 소식을 알렸{e}.")
    s.say(f"작은 동물들은 모두 {small:을} 칭찬했{e}.", f"그 뒤로 {wild}에는 평화가 찾아왔{e}.")
    s.maybe(f"힘보다 지혜가 더 셌던 것이었{e}.")
    return small, big, wild


@plot
def gift_work(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    hero, elder = r.choice(NAMES), r.choice(ELDERS)
    thing, colour = r.choice(words("목도리 장갑 모자 손수건 지갑 화분 머리핀 꽃병")), r.choice(COLOURS)
    price, week = r.choice([5, 6, 8, 9, 10, 12]), r.choice([1, 2, 3])
    s.say(f"{elder}의 생신이 다가오고 있었{e}.", f"{hero:은} {elder}께 드릴 선물을 고민하고 있었{e}.")
    cost = f"{price}천 원" if price < 10 else {10: "만 원", 12: "만 이천 원"}[price]
    s.say(f"{hero:은} 가게에서 {colour} {thing:을} 보았{e}. 값은 {cost}이었{e}.")
    s.say(f"하지만 {hero}에게는 돈이 모자랐{e}.", f"{hero}의 저금통에는 동전 몇 개뿐이었{e}.")
    s.say(f"{hero:은} 일주일에 {week}천 원씩 모으기로 했{e}.", f"그래서 {hero:은} 심부름을 해서 돈을 모았{e}.")
    s.say(f"먹고 싶은 {r.choice(FOODS)}도 꾹 참았{e}.", f"가지고 싶던 {r.choice([t for t in THINGS if t != thing])}도 사지 않았{e}.")
    s.say(f"드디어 {hero:은} {colour} {thing:을} 샀{e}.", f"마침내 돈이 다 모여서 {hero:은} {thing:을} 살 수 있었{e}.")
    s.say(f"{elder:은} 선물을 받고 활짝 웃었{e}.", f"\"세상에서 가장 좋은 선물이구나.\" {elder:이} {hero:을} 꼭 안아 주었{e}.")
    s.say(f"{hero:은} {r.choice(FEELINGS)}{e}.", f"{hero:은} 주는 기쁨이 더 크다는 것을 알았{e}.")
    return hero, elder, thing, colour


@plot
def clouds(s: Story) -> tuple[str, ...]:
    r, e = s.random, s.e
    animal, wild = r.choice(ANIMALS), r.choice(WILD)
    cloud = r.choice(words("흰 구름, 작은 구름, 먹구름, 분홍 구름, 아기 구름"))
    cloud_word = Word(cloud)
    s.say(f"하늘에 {cloud_word:이} 하나 떠 있었{e}.", f"{cloud_word:은} 높은 하늘을 혼자 떠다녔{e}.")
    s.say(f"{cloud_word:은} 친구가 없어서 {r.choice(SAD)}{e}.", f"{cloud_word:은} 땅에 사는 동물들이 부러웠{e}.")
    s.say(f"어느 날 {wild}에서 {animal:이} 하늘을 보며 말했{e}. \"목이 말라.\"", f"{wild}에 오랫동안 비가 오지 않아 {animal:이} 울고 있었{e}.")
    s.say(f"{cloud_word:은} {animal:을} 도와주고 싶었{e}.", f"\"내가 도와줄게.\" {cloud_word:이} 말했{e}.")
    s.say(f"{cloud_word:은} 힘껏 비를 내렸{e}. 몸은 점점 작아졌{e}.", f"{cloud_word:은} 제 몸을 빗방울로 만들어 땅으로 보냈{e}.")
    s.say(f"시든 풀이 다시 살아나고 꽃이 피었{e}.", f"{animal:은} 시원한 물을 마시고 기뻐서 춤을 추었{e}.")
    s.say(f"\"고마워, 구름아!\" {animal:이} 외쳤{e}.", f"{animal:은} 하늘을 향해 오래 손을 흔들었{e}.")
    s.say(f"며칠 뒤 물은 다시 하늘로 올라가 구름이 되었{e}.", f"비가 그친 하늘에는 일곱 빛깔 무지개가 떴{e}.")
    s.moral(f"{cloud_word:과} {animal:은}")
    return animal, cloud, wild
