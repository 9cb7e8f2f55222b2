"""One way to get a seed: derived from names, so that no two uses share a stream by accident."""

import hashlib


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts: `derive_seed(study_seed, "trial", 3, "fold", 0)`."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
