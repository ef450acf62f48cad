#!/usr/bin/env python3
"""SignedRetirement: what is accepted has one spelling, and only the key that signed it verifies."""

from fuzz.harness import main, round_trip
from tests.keys import mldsa_key, witness_key
from tlog.retirement import Retirement, SignedRetirement

OLD, NEW, OTHER = witness_key(), witness_key(seed=2), mldsa_key(witness_key().name)
RECORDS = [
    Retirement(OLD.verifier_key, (NEW.verifier_key,), 1767139200),
    Retirement(OLD.verifier_key, (NEW.verifier_key, OTHER.verifier_key), 0),
]
SEEDS = [SignedRetirement(record, OLD.sign(record.message)).format() for record in RECORDS]

target = round_trip(SignedRetirement.parse)

if __name__ == "__main__":
    main(target, SEEDS)
