"""A test kit for witnesses: named cases, each citing what the witness protocol asks, run against anybody's witness.

The kit plays a log that the witness's operator has registered. It grows honestly, submits everything that a witness has
to refuse, and says of each case whether the answer was the specified one. Its tree of size n is always the same, so it
goes on from whatever size the witness has, in any run, from any machine.

The log lies while it is tested, and what it signs then is evidence against it: its key must be used for nothing else.

    outcomes   how a case ends                    cases/     the table
    tree       the kit's tree                     run        all of them, in order
    session    a conversation with the witness    report     text, JSON and JUnit XML
"""
