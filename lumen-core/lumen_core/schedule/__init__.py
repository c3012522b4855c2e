"""Builders of kernels: ordinary functions from (what to compute, Target) to kernel IR.

How the step program calls them (all pointers are `ptr`, all numbers `i64`, strides and offsets in bytes):

matmul     name(weights, activations, output, stride, length, first, last, tokens)      see matmul.py
rows       name(table, ids, output, stride, length, first, last)                        see rows.py
rowwise    name((operand, stride) of every operand, (output, stride) of every result,
                cos, sin, slots, staging, first, last, head_first, head_last)
           works on tokens first <= t < last (and heads head_first <= h < head_last in head space, or
           so many pieces of the rows where it is built for pieces).
           operand    token-wise f32 (first dimension T): stride is the distance between tokens, a head
                      lies at h * E * 4 within it; else shared by all tokens (weights, [D], [E], [H, E]):
                      stride unused.
                      `positions` is i32 [T], where every token stands in its sequence.
           result     f32: like an operand. Quantized (`i8g32`, `i8g256`, `f32` of a matmul): start of the
                      panels (quant.layout.ActivationLayout, `columns` fixed when built), stride = bytes of
                      a panel.
                      append: start of the layer's keys or values in page 0 (quant.cache_layout), stride
                      unused; `slots` is i32 [T], page * tokens of a page + place in it, of every token.
                      `staging`: where page -1 ends.
           cos, sin   f32 tables [context][R / 2], row = position; already divided by the factors.
experts    topk, pick, group: see routing.py; gather, bytoken, blend: see experts.py
attention  name(queries, output, stride, cache, staging, pages, partials, parts, arrivals, segments,
                segment_count, first, last)
           queries and output are f32 [T][H][E], `stride` between tokens; `cache` is the layer's page 0;
           pages, segments: see segments.py. New keys and values are already in the cache.
           Items first <= i < last as `segments.Items` cuts the segments. partials: room for `parts` parts of
           every token, arrivals: i64 [T][G], zeros; both are used between items of the same token.
returns    name(cache, staging, returns, first, last)
           copies pages of a layer from staging into the pool; returns: see segments.py.
"""
