"""Published models, recognized by their exact number of parameters, with vendor and kind of license.

Counts are those that were published to the digit, or follow from the published shapes. Licenses are in short:
read the text that comes with the weights. `verified` says how a family's numbers were checked.
"""

from __future__ import annotations

from lumen_core.plugins.sources import Release

_TINY = "small random models of its kind against transformers and llama.cpp"
_TRANSFORMERS = "small random models of its kind against transformers"
_RENAMED = "small random models against transformers' Llama under other names, and against llama.cpp"
_NC = "EXAONE (non-commercial)"
_HCX = "HyperCLOVA X SEED (commercial use with limits)"
_KANANA = "Kanana (commercial use with limits)"


def _all(vendor: str, license: str, verified: str, **counts: int) -> tuple[Release, ...]:
    """Releases of one vendor; in a name, `__` stands for a hyphen and `_` for a point."""
    return tuple(
        Release(name.replace("__", "-").replace("_", "."), count, vendor, license, verified)
        for name, count in counts.items()
    )


LLAMA = (
    *_all("NAVER", _HCX, _TINY,
          HyperCLOVAX__SEED__Text__Instruct__0_5B=566_281_216,
          HyperCLOVAX__SEED__Text__Instruct__1_5B=1_585_547_264),
    *_all("Kakao", "Apache-2.0", _TINY, Kanana__1_5__2_1B=2_316_824_832, Kanana__1_5__8B=8_030_285_824),
    *_all("SK Telecom", "Apache-2.0", _TINY, A_X__3_1__Light=7_264_800_768, A_X__3_1=34_670_911_488),
    *_all("KT", "MIT", _TINY, Midm__2_0__Mini=2_305_517_312, Midm__2_0__Base=11_545_743_360),
    *_all("Upstage", "Apache-2.0 (base), CC-BY-NC-4.0 (instruct)", _TINY, SOLAR__10_7B=10_731_524_096),
)  # fmt: skip
QWEN2 = (
    *_all("SK Telecom", "Apache-2.0", _TINY, A_X__4_0__Light=7_259_624_960),
    *_all("Alibaba Cloud", "Apache-2.0 (3B and 72B: Qwen)", _TINY,
          Qwen2_5__0_5B=494_032_768, Qwen2_5__1_5B=1_543_714_304, Qwen2_5__3B=3_085_938_688,
          Qwen2_5__7B=7_615_616_512, Qwen2_5__14B=14_770_033_664, Qwen2_5__32B=32_763_876_352,
          Qwen2_5__72B=72_706_203_648),
)  # fmt: skip
QWEN3 = (
    *_all("Kakao", _KANANA, _TINY, Kanana__2__3B=3_508_972_032),
    *_all("Alibaba Cloud", "Apache-2.0", _TINY,
          Qwen3__0_6B=596_049_920, Qwen3__1_7B=1_720_574_976, Qwen3__4B=4_022_468_096,
          Qwen3__8B=8_190_735_360, Qwen3__14B=14_768_307_200, Qwen3__32B=32_762_123_264),
)  # fmt: skip
EXAONE = (
    *_all("LG AI Research", _NC, _RENAMED, EXAONE__3_0__7_8B=7_818_448_896),
    *_all("LG AI Research", _NC, _RENAMED, EXAONE__3_5__2_4B=2_405_327_360,
          EXAONE__3_5__7_8B=7_818_448_896, EXAONE__3_5__32B=32_003_200_000),
    *_all("LG AI Research", _NC, _RENAMED, EXAONE__Deep__2_4B=2_405_327_360,
          EXAONE__Deep__7_8B=7_818_448_896, EXAONE__Deep__32B=32_003_200_000),
)  # fmt: skip
EXAONE4 = _all("LG AI Research", _NC, _TINY,
               EXAONE__4_0__1_2B=1_279_391_488, EXAONE__4_0__32B=32_003_216_384)  # fmt: skip
HYPERCLOVAX = _all("NAVER", _HCX, _TRANSFORMERS, HyperCLOVAX__SEED__Think__14B=14_748_112_896)
KANANA2_TINY = _all("Kakao", _KANANA, "an independent numpy reference", Kanana__2__1_3B=1_291_478_272)
QWEN3_MOE = _all("Alibaba Cloud", "Apache-2.0", _TINY,
                 Qwen3__30B__A3B=30_532_122_624, Qwen3__235B__A22B=235_093_634_560)  # fmt: skip
EXAONE_MOE = _all("LG AI Research", "K-EXAONE", _TRANSFORMERS, K__EXAONE__236B__A23B=236_571_156_352)
SOLAR_OPEN = _all("Upstage", "Solar (own license)", _TRANSFORMERS, Solar__Open__100B=102_651_799_552)
