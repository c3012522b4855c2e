"""Lumen on 64-bit ARM: NEON, dotprod and SVE targets with their instruction rows."""
