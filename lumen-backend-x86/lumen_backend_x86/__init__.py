"""Lumen on x86: AVX-512 VNNI, AVX-VNNI and AVX2 targets with their instruction rows."""
